// Package channel is the way between two machines: who they are to each other, who gets in, and connections.
//
// A machine is known by an Ed25519 key of its own and by nothing else: no name, no authority. Each side of a
// connection (TLS 1.3) proves that it has its key, and the other compares it with the one that it has pinned. The
// first time, a client has an invitation: a link with the server's key in it and a secret that lets one client in,
// once, for a while.
//
// Everything goes through one port. Requests are HTTP; a connection for bulk data is upgraded out of a request, so
// that it has passed the same doors.
//
// What is asked for and answered is not its business: that is package mover's Destination, and package agent's on
// connections that were upgraded.
//
// Start reading at Server and Link; Registry keeps the clients of a server, Address is what a user types.
package channel
