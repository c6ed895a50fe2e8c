package chunkfmt

import (
	"errors"
	"fmt"
)

// The classes of failure. Every error of this package wraps one of them or an error of
// the reader that it was given.
var (
	// ErrDamaged: the bytes are not what was written.
	ErrDamaged = errors.New("damaged")
	// ErrTruncated: the bytes end before the thing does.
	ErrTruncated = errors.New("truncated")
	// ErrVersion: the bytes are intact and of a format that this program does not know.
	ErrVersion = errors.New("format not known to this program")
	// ErrAuth: the bytes were not sealed with this key for this place.
	ErrAuth = errors.New("authentication failed")
	// ErrNoFooter: the chunk does not end in a footer; it was torn or is still open.
	ErrNoFooter = errors.New("no chunk footer")
)

// DamageError reports one damaged stretch of a chunk or stream: the bytes from From up
// to but not including To hold nothing that can be read. It wraps [ErrDamaged].
type DamageError struct {
	From, To int64 // bytes from the start of the stream
	Cause    error // what was wrong at From
}

// Error names the stretch and the cause.
func (e *DamageError) Error() string {
	return fmt.Sprintf("bytes %d to %d: %v", e.From, e.To, e.Cause)
}

// Unwrap gives both the class and the cause.
func (e *DamageError) Unwrap() []error { return []error{ErrDamaged, e.Cause} }
