package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"

	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"
)

// File descriptors of the process in the background.
const (
	keyFD    = 3
	reportFD = 4
)

// report is the one message of the process in the background to the one that started it.
type report struct {
	Ready bool         `json:"ready"`
	Notes string       `json:"notes,omitempty"` // what the user is told besides
	Error *daemonError `json:"error,omitempty"`
}

// daemonError is an error of another coffer process, with what it would have ended with itself.
type daemonError struct {
	Code    int    `json:"code"`
	Message string `json:"message"`
	Advice  string `json:"advice,omitempty"`
	Stays   bool   `json:"stays,omitempty"` // the mount goes on
}

// Error implements error.
func (e *daemonError) Error() string { return e.Message }

// MarshalJSON says that the control API answers with the fields and not with the text alone.
func (e *daemonError) MarshalJSON() ([]byte, error) {
	type fields daemonError
	return json.Marshal((*fields)(e))
}

// toSend makes an error fit to be sent to another process.
func toSend(err error) *daemonError {
	code, advice := explain(err)
	return &daemonError{Code: code, Message: err.Error(), Advice: advice, Stays: errors.Is(err, errStays)}
}

// sent is toSend for an error that may be nil.
func sent(err error) error {
	if err == nil {
		return nil
	}
	return toSend(err)
}

// mountInBackground opens the store and its key here, where there may be a terminal, and starts this
// program once more to serve the mount. It returns when the mount can be used. The key goes through a
// pipe: arguments and environments of processes can be read by others.
func mountInBackground(ctx context.Context, o *mountOptions) error {
	s, err := openStore(ctx, &o.volumeOptions, o.unlocked)
	if err != nil {
		return err
	}
	defer s.close()
	log, err := os.OpenFile(filepath.Join(s.state, "log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("open the log: %w", err)
	}
	defer log.Close()
	keyRead, keyWrite, err := os.Pipe()
	if err != nil {
		return err
	}
	defer keyRead.Close()
	defer keyWrite.Close()
	reportRead, reportWrite, err := os.Pipe()
	if err != nil {
		return err
	}
	defer reportRead.Close()

	cmd, err := o.inBackground()
	if err != nil {
		return errors.Join(err, reportWrite.Close())
	}
	cmd.Stdout, cmd.Stderr = log, log
	cmd.ExtraFiles = []*os.File{keyRead, reportWrite} // keyFD, reportFD
	err = cmd.Start()
	reportWrite.Close() // its end in the other process is the only one now
	if err != nil {
		return fmt.Errorf("start the mount: %w", err)
	}
	if _, err := keyWrite.Write(s.master[:]); err != nil {
		return fmt.Errorf("hand the key over: %w", err)
	}
	defer context.AfterFunc(ctx, func() { cmd.Process.Signal(unix.SIGTERM) })()
	var r report
	if err := json.NewDecoder(reportRead).Decode(&r); err != nil {
		return fmt.Errorf("the mount ended before it could be used: %w; its log is %s", cmd.Wait(), log.Name())
	}
	if o.notes != nil {
		fmt.Fprint(o.notes, r.Notes)
	}
	if r.Error != nil {
		return errors.Join(r.Error, ignoreExit(cmd.Wait()))
	}
	return ctx.Err()
}

// ignoreExit drops what the report has said already.
func ignoreExit(err error) error {
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return nil
	}
	return err
}

// inBackground is this program once more, with the same volume and mount point, detached from the
// terminal.
func (o *mountOptions) inBackground() (*exec.Cmd, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find this program: %w", err)
	}
	store := o.displayed()
	if !isAddress(store) {
		if store, err = filepath.Abs(store); err != nil {
			return nil, err
		}
	}
	mountPoint, err := filepath.Abs(o.mountPoint)
	if err != nil {
		return nil, err
	}
	args := []string{"mount", "--handoff"}
	here := keyFlags()
	o.given.Visit(func(f *pflag.Flag) {
		// The key is opened here, and handed over.
		if here.Lookup(f.Name) == nil && f.Name != "foreground" {
			args = append(args, "--"+f.Name+"="+f.Value.String())
		}
	})
	cmd := exec.Command(self, append(args, "--", store, mountPoint)...)
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	return cmd, nil
}

// handoff is the end of the process in the background.
type handoff struct {
	keys, reports *os.File
	done          bool
}

func inheritHandoff() *handoff {
	syscall.CloseOnExec(keyFD)
	syscall.CloseOnExec(reportFD)
	return &handoff{keys: os.NewFile(keyFD, "key"), reports: os.NewFile(reportFD, "report")}
}

func (h *handoff) key() (key [32]byte, err error) {
	defer h.keys.Close()
	if _, err := io.ReadFull(h.keys, key[:]); err != nil {
		return key, fmt.Errorf("take the key over: %w", err)
	}
	return key, nil
}

func (h *handoff) ready(notes string) { h.send(report{Ready: true, Notes: notes}) }

// failed reports why the mount can't be used. It says false when there is nobody to tell any more.
func (h *handoff) failed(err error) bool {
	if err == nil || h.done {
		return false
	}
	h.send(report{Error: toSend(err)})
	return true
}

func (h *handoff) send(r report) {
	h.done = true
	// When the other process is gone, as after Ctrl-C, the mount goes on all the same.
	json.NewEncoder(h.reports).Encode(r)
	h.reports.Close()
}

// ended returns when the process has ended, whoever its parent is.
func ended(ctx context.Context, pid int) error {
	fd, err := unix.PidfdOpen(pid, 0)
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("wait for process %d: %w", pid, err)
	}
	defer unix.Close(fd)
	for ctx.Err() == nil {
		const wakeUp = 200 // ms, to look at ctx
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, wakeUp)
		if n > 0 {
			return nil
		}
		if err != nil && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("wait for process %d: %w", pid, err)
		}
	}
	return ctx.Err()
}
