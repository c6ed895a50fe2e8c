// Package pipeline is the DataPipe: buffers of one shared memory segment that travel through a
// sequence of stages, each stage one or more instances of a module running in parallel.
//
// It knows nothing of what the bytes mean; the stages of an archive are in pipeline/stage, and
// pipeline/monitor keeps track of the pipes of a process. Start reading at Spec and Start, then
// Port, which is all that a module sees of the pipe.
//
// # The way of a buffer
//
//	         AllocBuf         ReceiveBuf SendBuf         ReceiveBuf
//	free list ──────▶ stage 0 ──queue 1──▶ stage 1 ──queue 2──▶ stage 2 (tail)
//	    ▲                                                          │
//	    └───────────────────────── FreeBuf ────────────────────────┘
//
// The input queue of a stage is the output queue of the one before. A queue holds as many buffers
// as there are, so SendBuf never waits. AllocBuf waits until its module holds fewer buffers than
// its share, Buffers/NA with NA the number of allocating modules. As the shares add up to no more
// than the buffers, a module below its share always finds one free: modules never wait for each
// other's shares. Each buffer records which module allocated it, and FreeBuf gives the share back
// to that one, whoever frees. Those who wait are served in the order in which they came.
//
// # Order
//
// Consecutive stages marked Ordered form a bracket. A buffer is numbered as an instance of the
// first of them receives it, under the queue's lock, so numbers follow the queue; behind the last
// of them buffers are put back into the order of their numbers. An instance settles every number
// that it receives exactly once, and before it receives another: it sends a buffer that carries the
// number (the one received, or another to which it copied Seq) or calls Skip. TryReceive is free of
// that rule, as it never waits.
//
// # No deadlock
//
// The lowest number in a bracket must never wait for a buffer that only higher ones could give
// back. So at most a window of numbers is in a bracket at a time, no larger than the smallest
// share of a module that allocates inside it, and such a module allocates no more than one buffer a
// number. Whether it does so before or after it receives does not matter, as long as all instances
// do it at all times alike: one that waits to receive with a buffer in reserve must not starve one
// that has received. Outside brackets a stage waits only for stages behind it, and the tail for
// none, so everything drains. What a module must see to itself: it does not wait for a further
// buffer while it keeps so many that no further one can come.
//
// # The end
//
// When all instances of a stage have returned nil its output queue is closed, and ReceiveBuf of the
// next gives io.EOF once the queue is empty. When an instance returns an error, panics, ends its
// goroutine, or misuses the pipe, everything stops: every wait ends with ErrStopped, whoever waits
// and whatever its context; queued buffers are reclaimed at once, those that modules hold when the
// modules have returned.
package pipeline
