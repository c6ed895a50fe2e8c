// Package forward is the background pipe of a spool: what a writer has put on the medium near by it ships, in the order
// of the log and sealed as it is, to the machine where it belongs, and removes it near by once it is stable there.
//
//	writer ▶ … ▶ store ─▶ chunks near by ─▶ read ▶ send×n ═══ receive×n ▶ store, on the server
//	                            ▲                    │
//	                            └── removed ◀── acknowledgements
//
// It is the second half of the way of what is written, and never touches the first: nothing that it waits for is waited
// for by a writer, but for room near by. Tags keep their numbers, so that the log far away becomes the same; sessions
// that an earlier process has left behind go first, each in a pipe of its own, as if their writers were still there.
//
// What a volume is, and who may write it, it does not know; how buffers get to another machine is package agent's.
//
// Start reading at Forwarder; read.go is the head of its pipes, clean.go what removes chunks.
package forward
