package pipeline

import (
	"errors"
	"fmt"
)

// Before a pipe runs.
var (
	// ErrSpec: the specification cannot be run; the message says why.
	ErrSpec = errors.New("bad pipe specification")
	// ErrUnknownKind: no kind of stage is registered under the name.
	ErrUnknownKind = errors.New("unknown kind of stage")
)

// While a pipe runs.
var (
	// ErrStopped: the pipe was stopped before its end; it wraps the cause beside it.
	ErrStopped = errors.New("pipe stopped")
	// ErrFinished: the port's instance has returned, so its stage allocates no more.
	ErrFinished = errors.New("module has finished")
	// ErrEmpty: TryReceive found nothing to receive now.
	ErrEmpty = errors.New("queue is empty")
	// ErrMisuse: a module broke a rule of the pipe: a double free, a send of a freed buffer, a
	// head that receives, a tail that sends, a number settled twice or never. A programming error.
	ErrMisuse = errors.New("pipe misused")
)

// ErrLeak: Close found that not every buffer had come back, or that the accounts disagree.
var ErrLeak = errors.New("buffers not conserved")

// ModuleError says which instance of which module ended abnormally and why.
type ModuleError struct {
	Module   string
	Instance int    // from 0
	Err      error  // what Run returned, or the panic as an error
	Stack    []byte // of the panic; nil if there was none
}

// Error names module, instance and cause; the stack is not part of it.
func (e *ModuleError) Error() string {
	return fmt.Sprintf("module %s instance %d: %v", e.Module, e.Instance, e.Err)
}

// Unwrap gives the cause.
func (e *ModuleError) Unwrap() error { return e.Err }
