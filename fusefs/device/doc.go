// Package device is the kernel's side of a mount: it mounts, reads requests from /dev/fuse, has each answered, and
// writes the answers. It knows the frame of a request (its length, operation and number) and nothing of what
// is in it.
//
// What it is for is latency. A program that makes files asks for one thing after the other, so the time from
// an answer to the next request counts more than how many requests could be served at a time. Therefore one reader has
// the turn: it reads a request, answers it itself, and looks for the next for a while before it sleeps, so that a
// busy mount needs no wake-ups. When a request has to wait for something, or is one of those that may take
// long (reads and large writes), the turn passes to another reader.
//
// Start reading at Conn.Serve in serve.go; mount.go makes a Conn.
package device
