package mover

import "errors"

// What OpenSource finds wrong with a store. Each is wrapped with the numbers
// that show it.
var (
	// ErrRolledBack: the store's log ends before what this machine last
	// acknowledged, so it is an older copy, or its end was cut off.
	ErrRolledBack = errors.New("the store is older than what was last written from here")
	// ErrForked: the store's log and what this machine acknowledged went
	// different ways, so two copies of the store were written separately.
	ErrForked = errors.New("the store was written elsewhere from an earlier state")
	// ErrCut: a session or a part of one that a later one goes on from is
	// missing in the middle of the log.
	ErrCut = errors.New("a part of the store's log is missing")
	// ErrDamaged: metadata of the log is unreadable in both of its places.
	ErrDamaged = errors.New("the store's log is damaged")
)
