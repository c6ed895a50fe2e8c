package mover

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"coffer/media"
	"coffer/media/remote"
	"coffer/pipeline/channel"
)

// lease is the right of one client to write a volume. It lasts for a while after the client was last heard of, which
// counts anew when the server starts: a client that has lost its server comes back first. A client with a spool keeps
// it until it gives it back, for what is in there is to come; unless another one takes it over. One that is shut out
// has none: nothing of it is to come.
type lease struct {
	path string
	shut func(channel.Key) bool // says whether a client is shut out

	mu    sync.Mutex // guards what follows
	read  bool
	heard time.Time
	held  leaseFile
}

type leaseFile struct {
	Client channel.Key `json:"client"`
	Name   string      `json:"name"`
	Holder string      `json:"holder"`
	Keeps  bool        `json:"keeps,omitempty"`
}

// take gives the lease to a client, or says who has it: a *media.LockedError.
func (l *lease) take(c channel.Client, asked remote.Lease, now time.Time, lasts time.Duration) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.load(now); err != nil {
		return err
	}
	others := l.held.Name != "" && l.held.Client != c.Key && (l.held.Keeps || now.Sub(l.heard) < lasts) && !l.shut(l.held.Client)
	if others && !asked.TakeOver {
		return &media.LockedError{Name: "of the volume", Holder: l.held.String()}
	}
	held := leaseFile{Client: c.Key, Name: c.Name, Holder: asked.Holder, Keeps: asked.Keep}
	if held != l.held {
		if err := l.keep(held); err != nil {
			return err
		}
	}
	l.held, l.heard = held, now
	return nil
}

// again is take for a client that goes on, as it took the lease.
func (l *lease) again(c channel.Client, holder string, now time.Time, lasts time.Duration) error {
	l.mu.Lock()
	err := l.load(now)
	keeps := l.held.Keeps && l.held.Client == c.Key
	l.mu.Unlock()
	if err != nil {
		return err
	}
	return l.take(c, remote.Lease{Holder: holder, Keep: keeps}, now, lasts)
}

// String says who has the lease, to others.
func (f leaseFile) String() string {
	text := fmt.Sprintf("%s (%s)", f.Name, f.Holder)
	if f.Keeps {
		text += ", which may have more in its spool that is to come; --take-over goes on without that"
	}
	return text
}

// isOf says whether a client has the lease.
func (l *lease) isOf(c channel.Client, now time.Time) (bool, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	err := l.load(now)
	return l.held.Client == c.Key && l.held.Name != "", err
}

// release gives the lease back if the client has it.
func (l *lease) release(c channel.Client, now time.Time) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.load(now); err != nil || l.held.Client != c.Key {
		return err
	}
	if err := os.Remove(l.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("give a lease back: %w", err)
	}
	l.held = leaseFile{}
	return nil
}

// hear says that the client that holds the lease was heard of.
func (l *lease) hear(at time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if at.After(l.heard) {
		l.heard = at
	}
}

func (l *lease) load(now time.Time) error {
	if l.read {
		return nil
	}
	b, err := os.ReadFile(l.path)
	if err == nil {
		err = json.Unmarshal(b, &l.held)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("read a lease: %w", err)
	}
	l.read, l.heard = true, now
	return nil
}

// keep writes the lease down. It need not outlive a power cut: the client's session is in the log then.
func (l *lease) keep(held leaseFile) error {
	b, err := json.Marshal(held)
	if err == nil {
		err = os.MkdirAll(filepath.Dir(l.path), 0o700)
	}
	fresh := l.path + ".new"
	if err == nil {
		err = os.WriteFile(fresh, b, 0o600)
	}
	if err == nil {
		err = os.Rename(fresh, l.path)
	}
	if err != nil {
		return fmt.Errorf("keep a lease: %w", err)
	}
	return nil
}
