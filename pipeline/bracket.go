package pipeline

import "sync/atomic"

// bracket is the sequencer and the resequencer around consecutive ordered stages. The sequencer
// works in the queue before the first of them and under that queue's lock, the resequencer in the
// queue behind the last of them and under that one's.
//
// No more than a window of numbers is inside at a time, so the resequencer is a ring and the package
// comment's argument against deadlock holds.
type bracket struct {
	entry  *queue
	exit   *queue
	window uint64
	next   uint64        // number for the next buffer received; guarded by the entry queue's lock
	low    atomic.Uint64 // lowest number that has not left; written under the exit queue's lock

	pending []settled // by number modulo window; guarded by the exit queue's lock
}

// settled is what became of a number: the buffer sent for it, or nil when nothing was.
type settled struct {
	b    *Buffer
	done bool
}

func newBracket(entry, exit *queue, window int) *bracket {
	k := &bracket{entry: entry, exit: exit, window: uint64(window), next: 1, pending: make([]settled, window)}
	k.low.Store(1)
	entry.enter, exit.leave = k, k
	return k
}

// open says whether the next number is inside the window.
func (k *bracket) open() bool { return k.next-k.low.Load() < k.window }

func (k *bracket) stamp(b *Buffer) {
	b.Seq = k.next
	k.next++
}

// settle notes what became of seq, and passes on, in order, all that waited for it alone.
func (k *bracket) settle(seq uint64, b *Buffer, pass func(*Buffer)) {
	k.pending[seq%k.window] = settled{b, true}
	low := k.low.Load()
	for {
		s := &k.pending[low%k.window]
		if !s.done {
			break
		}
		if s.b != nil {
			s.b.Seq = 0
			pass(s.b)
		}
		*s = settled{}
		low++
	}
	k.low.Store(low)
}

// drop forgets what waits and hands it to reclaim.
func (k *bracket) drop(reclaim func(*Buffer)) {
	for i, s := range k.pending {
		if s.b != nil {
			reclaim(s.b)
		}
		k.pending[i] = settled{}
	}
}

func (k *bracket) waiting() int {
	n := 0
	for _, s := range k.pending {
		if s.b != nil {
			n++
		}
	}
	return n
}
