package posix

import (
	"errors"
	"fmt"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// caller makes system calls with an identity, a umask and a working directory of its own. It is a thread:
// in Linux all three are a thread's, and changing them there costs no process a case.
type caller struct {
	name   string
	uid    int
	gid    int
	groups []int
	// effective makes it root who runs for somebody: only the real ids are those above.
	effective bool
	calls     chan func()
}

// identities are those that cases are told as. bob is in ann's group by his primary group, sue by a
// supplementary one, eve is a stranger. ann has a second group, which sue has not.
var identities = []caller{
	{name: "root"},
	{name: "ann", uid: 60001, gid: 60001, groups: []int{60001, second}},
	{name: "bob", uid: 60002, gid: 60001},
	{name: "sue", uid: 60003, gid: 60003, groups: []int{60003, 60001}},
	{name: "eve", uid: 60004, gid: 60004},
}

// second is the supplementary group of ann's.
const second = 60010

// start starts the thread; it ends with stop.
func (c *caller) start() error {
	c.calls = make(chan func())
	started := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		started <- c.become()
		for f := range c.calls {
			f()
		}
	}()
	return <-started
}

func (c *caller) stop() { close(c.calls) }

// become makes the running thread the caller. The raw calls change one thread; those of package syscall
// change all.
func (c *caller) become() error {
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return fmt.Errorf("unshare the working directory: %w", err)
	}
	unix.Umask(0)
	groups := make([]uint32, len(c.groups)+1)
	for i, g := range c.groups {
		groups[i] = uint32(g)
	}
	_, _, errno := unix.RawSyscall(unix.SYS_SETGROUPS, uintptr(len(c.groups)), uintptr(unsafe.Pointer(&groups[0])), 0)
	if errno != 0 {
		return fmt.Errorf("setgroups: %w", errno)
	}
	g, u := uintptr(c.gid), uintptr(c.uid)
	eg, eu := g, u
	if c.effective {
		eg, eu = 0, 0
	}
	if _, _, errno := unix.RawSyscall(unix.SYS_SETRESGID, g, eg, eg); errno != 0 {
		return fmt.Errorf("setresgid: %w", errno)
	}
	if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, u, eu, eu); errno != 0 {
		return fmt.Errorf("setresuid: %w", errno)
	}
	return nil
}

// run runs f on the caller's thread.
func (c *caller) run(f func()) {
	done := make(chan struct{})
	c.calls <- func() {
		defer close(done)
		f()
	}
	<-done
}

// call runs f on the caller's thread; its error says who did what.
func (c *caller) call(what string, f func() error) error {
	var err error
	c.run(func() { err = f() })
	if err != nil {
		return &failure{fmt.Sprintf("%s: %s", c.name, what), err}
	}
	return nil
}

// failure is a call that failed.
type failure struct {
	what string
	err  error
}

func (f *failure) Error() string { return f.what + ": " + f.err.Error() }
func (f *failure) Unwrap() error { return f.err }

// errnoOf is the errno of a call, 0 if it succeeded.
func errnoOf(err error) unix.Errno {
	var errno unix.Errno
	if err != nil && !errors.As(err, &errno) {
		errno = unix.Errno(0xfff) // none that anybody wants
	}
	return errno
}
