// Package monitor is the Master_Monitor of a process: it starts pipes, knows
// which run, and lets other processes of the same user look at them and ask for
// what the owner of a mount can do.
//
// It does not know what the stages of a pipe do, what a mount is, or how its
// owner does what is asked: that is Control, which the owner gives.
//
// # The control API
//
// A process that serves a mount listens on a Unix socket of its own in the run
// directory ($XDG_RUNTIME_DIR/coffer, or /run/coffer for root, else a folder of
// the user's in the temporary directory). The directory is 0700, the socket 0600,
// and the peer's uid is checked. Requests are HTTP, bodies are JSON:
//
//	GET  /v1/info     what is mounted where, by which process: Info
//	GET  /v1/status   the owner's status of mount, tree, pipe and stages
//	POST /v1/sync     returns when all that was written before is stable
//	POST /v1/snapshot body: the label; seals an archive, and answers which
//	GET  /v1/archives the archives
//	POST /v1/forget   body: which archives, or what rules; answers which were forgotten
//	POST /v1/prune    body: how; gives back what nothing refers to, and answers how much
//	POST /v1/index    makes a copy of the index, and answers where
//	POST /v1/umount   drains, seals the archive, unmounts, ends the session
//	POST /v1/put      body: what to put; the answer is one JSON value a line,
//	                  progress first; the last is {"end":true,"error":null}, or
//	                  has what went wrong as its error
//
// so that, for example,
//
//	curl --unix-socket /run/coffer/1234.sock http://coffer/v1/status
//
// An error is status 500 with a JSON body that the owner chose. No request has a
// time limit. A client that goes away calls its request off, but for umount.
//
// Start reading at Monitor, then Listen and Client.
package monitor
