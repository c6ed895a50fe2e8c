package monitor

import (
	"errors"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
)

// nobody is a user that is not the one who runs the tests, who is root.
const nobody = 65534

// TestOtherUser opens the way to the socket to everybody: the peer's uid still
// keeps others out.
func TestOtherUser(t *testing.T) {
	_, s, dir := listen(t)
	if got, err := askAs(nobody, s.path); !errors.Is(err, syscall.EACCES) {
		t.Errorf("past the modes another user got %q, %v", got, err)
	}
	open := func(path string) {
		t.Helper()
		if err := errors.Join(os.Chmod(dir, 0o711), os.Chmod(path, 0o666)); err != nil {
			t.Fatal(err)
		}
	}
	open(s.path)
	if got, err := askAs(os.Getuid(), s.path); err != nil || !strings.Contains(got, "/mnt/x") {
		t.Errorf("the own user got %q, %v", got, err)
	}
	if got, err := askAs(nobody, s.path); err != nil || got != "" {
		t.Errorf("another user got %q, %v", got, err)
	}

	// The same without the check of the peer: it is that which kept the other one out.
	unchecked := filepath.Join(dir, "unchecked")
	l, err := net.Listen("unix", unchecked)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: routes(nil, Info{MountPoint: "/mnt/x"})}
	done := make(chan error, 1)
	go func() { done <- server.Serve(l) }()
	open(unchecked)
	if got, err := askAs(nobody, unchecked); err != nil || !strings.Contains(got, "/mnt/x") {
		t.Errorf("without a check another user got %q, %v", got, err)
	}
	server.Close()
	<-done
}

// TestRootIsLetIn: root can do anyway whatever the socket's owner can.
func TestRootIsLetIn(t *testing.T) {
	for _, test := range []struct {
		peer, own uint32
		want      bool
	}{{0, 0, true}, {1000, 1000, true}, {0, 1000, true}, {1000, 0, false}, {1001, 1000, false}} {
		if got := allowed(test.peer, test.own); got != test.want {
			t.Errorf("user %d at the socket of %d: %v", test.peer, test.own, got)
		}
	}
}

// askAs asks for the info as another user, in a thread that becomes that user and
// ends with it. Nothing above the socket's directory need be open to the user.
func askAs(uid int, path string) (answer string, err error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // and never unlocked
		answer, err = ask(uid, path)
	}()
	<-done
	return answer, err
}

func ask(uid int, path string) (string, error) {
	// The thread's own working directory, whose way is not checked any more.
	if err := errors.Join(syscall.Unshare(syscall.CLONE_FS), syscall.Chdir(filepath.Dir(path))); err != nil {
		return "", err
	}
	id := uintptr(uid)
	if _, _, errno := syscall.RawSyscall(syscall.SYS_SETRESUID, id, id, id); errno != 0 {
		return "", errno
	}
	fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return "", err
	}
	defer syscall.Close(fd)
	if err := syscall.Connect(fd, &syscall.SockaddrUnix{Name: filepath.Base(path)}); err != nil {
		return "", err
	}
	// The other end may have closed already: the answer tells.
	_ = syscall.Sendto(fd, []byte("GET /v1/info HTTP/1.0\r\n\r\n"), syscall.MSG_NOSIGNAL, nil)
	var answer []byte
	for b := make([]byte, 4096); ; {
		n, err := syscall.Read(fd, b)
		if n <= 0 || err != nil {
			return string(answer), nil
		}
		answer = append(answer, b[:n]...)
	}
}
