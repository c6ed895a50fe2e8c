// Package agent carries sealed buffers from the pipe of one machine into the pipe of another, over several connections,
// so that nothing is lost or doubled when connections, or the other machine, go away and come back.
//
//	… seal×p ▶ send×n ═══ receive×n ▶ store
//	             ▲                      │
//	             └──── acknowledgements ┘
//
// A buffer is known by the sequence number of its first tag. The sender holds it until it is acknowledged, which
// is when it is stable there. Each agent has a connection of its own, and holds what it has shipped on it; when that
// connection breaks it makes another and ships again what was not acknowledged, and nothing else. The receiver puts in
// order what comes over all connections, and drops what it has already. How many buffers may be under way at a
// time is what the receiver said that it has room for.
//
// It knows nothing of keys, media and files; how connections come about is package channel's business.
//
// Start reading at Sender and Receiver; the messages are in frame.go.
package agent
