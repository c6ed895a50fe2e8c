package stage

import "errors"

// While writing.
var (
	// ErrConfig: a session cannot be configured so.
	ErrConfig = errors.New("bad configuration of a writing session")
	// ErrClosed: the session has been ended (MarkEnd) or its pipe has stopped.
	ErrClosed = errors.New("writing session is closed")
	// ErrMedium: the medium has failed in the hands of the store stage, which has ended. What was acknowledged is
	// stable; of the rest nothing is known.
	ErrMedium = errors.New("the medium has failed")
	// ErrTooLong: one write of more than BufferSize bytes.
	ErrTooLong = errors.New("write is longer than a buffer")
)

// While reading.
var (
	// ErrDamaged: what the medium holds of a group is not what was stored:
	// missing, cut short, not authentic, or of another fingerprint. The bytes
	// concerned cannot be served (EIO); all others can.
	ErrDamaged = errors.New("group is damaged")
	// ErrRange: a read outside of a block, a run or a group.
	ErrRange = errors.New("read outside of the data")
)
