// Package media is the contract of a medium: the place where a store keeps
// whole chunks and small objects. It also holds what every medium shares: the
// store file, the names of chunks and the catalog that tells in which chunk a
// tag lies.
//
// It knows nothing of keys: all that passes through it is sealed, and the
// catalog is built from chunk headers and footers alone. It is not a kind of
// medium either; those are its children (dir, mem), each proved by
// media/conformance, and media/faulty makes any of them fail on demand.
//
// Start reading at Medium and Appender, then Catalog.
package media

import (
	"context"
	"errors"
	"fmt"
	"io"
)

// Medium stores objects under names: slash-separated relative paths whose
// elements are neither empty nor begin with a dot (see CheckName). All methods
// may be called concurrently. Objects come about by Create and grow by their
// Appender, or whole by Put; nothing is ever written at a place that was
// written before. A method does nothing and returns the context's error when
// the context has ended before it starts.
type Medium interface {
	// Create makes an empty object that only the returned Appender can
	// extend, and its parent directories. It fails with ErrExist if the name
	// is taken. The object is sure to exist after a crash once the first
	// Sync of the Appender has returned.
	Create(ctx context.Context, name string) (Appender, error)

	// ReadAt reads as io.ReaderAt does: it fills p from off or returns why it
	// could not, io.EOF at the end. It fails with ErrNotExist. Bytes are
	// readable as soon as the Append that wrote them has returned.
	ReadAt(ctx context.Context, name string, p []byte, off int64) (int, error)

	// List returns the objects whose names begin with prefix, by name. No
	// such object is an empty list, not an error.
	List(ctx context.Context, prefix string) ([]Info, error)

	// Remove removes an object for good: after it has returned, no crash
	// brings the object back. It fails with ErrNotExist. Reads under way may
	// still succeed; the Appender of a removed object stays usable but keeps
	// nothing.
	Remove(ctx context.Context, name string) error

	// Put makes a small object whole, or replaces it. At any instant, and
	// after any crash, the name shows the old object or the new one; when Put
	// has returned, the new one. Data is not retained.
	Put(ctx context.Context, name string, data []byte) error

	// Close releases what the medium holds open. Appenders are closed by
	// their owners, before.
	Close() error
}

// Appender extends one object. Append and Sync may run at the same time, so
// that data goes on flowing while a sync waits; calls of one method are
// serialised.
type Appender interface {
	// Append writes the parts one after the other at the end of the object
	// and returns the offset of the first byte. It is all or nothing: after
	// an error the object has its old size, or else, where that could not be
	// restored, the error is ErrTorn and every further Append fails with it;
	// Sync still makes stable what was appended before.
	// ErrFull may be retried once space has returned. Parts are not retained
	// nor modified.
	Append(ctx context.Context, parts ...[]byte) (off int64, err error)

	// Sync makes stable all that was appended by calls that returned before
	// Sync was called, and the object's name. After it has failed, what was
	// appended since the last good Sync may be lost although it can be read;
	// every later Append and Sync then fails with ErrTorn.
	Sync(ctx context.Context) error

	// Size returns the length of the object in bytes.
	Size() int64

	// Close releases the appender without a sync. It may be called twice.
	Close() error
}

// Info tells of one stored object.
type Info struct {
	Name string
	Size int64 // bytes
}

// Syncer is implemented by media that can make stable an object that an
// earlier process left behind, perhaps without a sync.
type Syncer interface {
	// Sync makes the present content and the name of an object stable. It
	// fails with ErrNotExist.
	Sync(ctx context.Context, name string) error
}

// Replacer is implemented by media that can write an object anew, for a repair.
type Replacer interface {
	// Replace makes an object whole, of any length, or puts it in the place of
	// another. At any instant, and after any crash, the name shows the old object
	// or the new one; when Replace has returned, the new one. An error of content
	// leaves the old one. Content may read the old object meanwhile. Nobody may
	// be appending to the object.
	Replace(ctx context.Context, name string, content io.Reader) error
}

// Spacer is implemented by media that know how much more they can take.
type Spacer interface {
	Space(ctx context.Context) (Space, error)
}

// Space tells how full a medium is.
type Space struct {
	Free, Total      uint64 // bytes; Free is what this process may still use
	FreeFiles, Files uint64 // objects; both 0 where the medium has no such limit
}

// Locker is implemented by media that can keep a second writer away.
type Locker interface {
	// Lock takes the named lock or fails at once with a *LockedError, which
	// is ErrLocked. Holder is shown to whoever finds the lock taken; it says
	// in one line who holds it and for what, such as a mount point. The lock
	// ends with unlock or with the process. Unlock may be called twice.
	Lock(ctx context.Context, name, holder string) (unlock func() error, err error)
}

// Errors of a medium. They are wrapped with what was being done to which
// object; use errors.Is.
var (
	// ErrNotExist: there is no object of that name.
	ErrNotExist = errors.New("object does not exist")
	// ErrExist: the name is taken.
	ErrExist = errors.New("object exists")
	// ErrFull: no space, no quota or no more files. Nothing was changed.
	ErrFull = errors.New("medium is full")
	// ErrReadOnly: the medium cannot be written at all.
	ErrReadOnly = errors.New("medium is read-only")
	// ErrTorn: the object may hold bytes that were not wanted, or lack bytes
	// that were. It is never appended to again.
	ErrTorn = errors.New("object is torn")
	// ErrLocked: another holder has the lock.
	ErrLocked = errors.New("locked")
	// ErrName: not a name of an object.
	ErrName = errors.New("invalid object name")
	// ErrClosed: the appender or medium was closed.
	ErrClosed = errors.New("closed")
)

// LockedError is the ErrLocked that names the holder.
type LockedError struct {
	Name   string // of the lock
	Holder string // as its holder gave it; may be empty
}

// Error says who holds the lock.
func (e *LockedError) Error() string {
	if e.Holder == "" {
		return fmt.Sprintf("lock %s: %v", e.Name, ErrLocked)
	}
	return fmt.Sprintf("lock %s: %v by %s", e.Name, ErrLocked, e.Holder)
}

// Unwrap returns ErrLocked.
func (e *LockedError) Unwrap() error { return ErrLocked }
