package faulty

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync/atomic"
)

// Op is an operation of a medium or an appender.
type Op string

// The operations that a Rule is asked about.
const (
	Create Op = "create"
	Append Op = "append"
	Sync   Op = "sync" // of an Appender, and by name
	Read   Op = "read"
	List   Op = "list"
	Remove Op = "remove"
	Put    Op = "put"
	Lock   Op = "lock"
	Space  Op = "space"
)

// Rule decides what becomes of an operation before it is done: nil lets it
// pass; ErrDrop (of Sync and Put) lets it claim success without making anything
// stable; an error that is media.ErrTorn leaves half of an Append behind; any
// other error is returned in its place. As with any medium, an Appender whose
// Sync failed is torn. A rule delays by blocking, until ctx ends if it likes.
// It is called concurrently.
type Rule func(ctx context.Context, op Op, name string) error

// ErrDrop makes Sync and Put lie.
var ErrDrop = errors.New("made stable in word only")

// Fail returns a rule that gives err to the operations named, or to all if none
// is named.
func Fail(err error, ops ...Op) Rule {
	return func(_ context.Context, op Op, _ string) error {
		if len(ops) == 0 || slices.Contains(ops, op) {
			return err
		}
		return nil
	}
}

// Named returns a rule that asks r about objects whose names contain part, and
// lets all others pass.
func Named(part string, r Rule) Rule {
	return func(ctx context.Context, op Op, name string) error {
		if strings.Contains(name, part) {
			return r(ctx, op, name)
		}
		return nil
	}
}

// From returns a rule that lets the first n faults of r pass.
func From(n int, r Rule) Rule {
	var seen atomic.Int64
	return func(ctx context.Context, op Op, name string) error {
		err := r(ctx, op, name)
		if err != nil && seen.Add(1) <= int64(n) {
			return nil
		}
		return err
	}
}

// First returns a rule that lets all but the first n faults of r pass.
func First(n int, r Rule) Rule {
	var seen atomic.Int64
	return func(ctx context.Context, op Op, name string) error {
		err := r(ctx, op, name)
		if err != nil && seen.Add(1) > int64(n) {
			return nil
		}
		return err
	}
}
