package fusefs

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// killable is the context of one request. It ends with the mount, or when the process that made the
// request is being killed; not at any other signal, although the kernel sends an interrupt for each: programs
// are not made for an fsync, a write or a page fault on a disk that fails with EINTR, and Go's runtime
// signals its own threads all the time.
//
// Nothing is started before somebody asks for Done, which quick requests don't.
type killable struct {
	context.Context                 // of the mount
	cancel          <-chan struct{} // closed by go-fuse at the first signal
	pid             uint32
	number          uint64              // of the request
	waits           func(number uint64) // told when somebody is about to wait; may be nil

	once    sync.Once
	started atomic.Bool     // whether what follows is set
	watched context.Context // ends with the mount and the process
	stop    context.CancelFunc
	ended   chan struct{}
}

// killPoll is how often a process that was signalled is looked at: the kernel doesn't tell of a second signal.
const killPoll = 200 * time.Millisecond

// Done implements context.Context.
func (k *killable) Done() <-chan struct{} {
	k.once.Do(k.start)
	return k.watched.Done()
}

// Err implements context.Context.
func (k *killable) Err() error {
	if k.started.Load() {
		return k.watched.Err()
	}
	return k.Context.Err()
}

func (k *killable) start() {
	k.watched, k.stop = context.WithCancel(k.Context)
	k.ended = make(chan struct{})
	k.started.Store(true)
	go k.watch()
	if k.waits != nil {
		k.waits(k.number)
	}
}

func (k *killable) watch() {
	defer close(k.ended)
	select {
	case <-k.watched.Done():
		return
	case <-k.cancel:
	}
	tick := time.NewTicker(killPoll)
	defer tick.Stop()
	for !dying(k.pid) {
		select {
		case <-k.watched.Done():
			return
		case <-tick.C:
		}
	}
	k.stop()
}

// end frees what the context holds. The handler calls it when it is done.
func (k *killable) end() {
	k.once.Do(func() {})
	if k.started.Load() {
		k.stop()
		<-k.ended
	}
}

// dying says whether SIGKILL is pending for a thread, or the thread is gone.
func dying(pid uint32) bool {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return os.IsNotExist(err) && pid != 0
	}
	const kill = 1 << (unix.SIGKILL - 1)
	for _, name := range []string{"SigPnd", "ShdPnd"} {
		if set, err := strconv.ParseUint(field(status, name), 16, 64); err == nil && set&kill != 0 {
			return true
		}
	}
	return false
}

// procStatus is a line of a thread's /proc/PID/status; empty where there is none.
func procStatus(pid uint32, name string) string {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return ""
	}
	return field(status, name)
}

func field(status []byte, name string) string {
	for line := range strings.Lines(string(status)) {
		if value, ok := strings.CutPrefix(line, name+":"); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}
