package index

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"slices"

	bolt "go.etcd.io/bbolt"
)

const (
	sweepLook   = 50_000 // versions looked at in one read
	sweepDelete = 5_000  // versions deleted in one commit
)

// numbers are those of archives, ascending.
type numbers []uint32

// within says whether one of them lies in an interval of archives: from ≤ n < to.
func (n numbers) within(from, to uint32) bool {
	i, _ := slices.BinarySearch(n, from)
	return i < len(n) && n[i] < to
}

// sealedNumbers lists the archives.
func sealedNumbers(tx *bolt.Tx) (all numbers, err error) {
	c := tx.Bucket(archives.now).Cursor()
	for k, v := c.First(); k != nil; k, v = c.Next() {
		if _, _, err := unseal(k, v); err != nil {
			return nil, err
		}
		all = append(all, binary.BigEndian.Uint32(k))
	}
	return all, nil
}

// Sweep deletes the versions of the history that no archive needs, since those that did were
// forgotten. It goes in short steps, between which others read and apply, and may be ended at
// any time. What is answered of any archive does not hang on it.
func (x *Index) Sweep(ctx context.Context) error {
	for _, t := range tables {
		if t.past == nil {
			continue
		}
		if err := x.sweepBucket(ctx, t.past); err != nil {
			return fmt.Errorf("sweep the index, %s: %w", t.past, err)
		}
	}
	return nil
}

func (x *Index) sweepBucket(ctx context.Context, name []byte) error {
	for start := []byte{0}; start != nil; {
		if err := ctx.Err(); err != nil {
			return err
		}
		var idle [][]byte
		var err error
		if idle, start, err = x.idle(name, start); err != nil {
			return err
		}
		if len(idle) == 0 {
			continue
		}
		// No archive that is sealed meanwhile needs them: they were superseded before it.
		err = x.commit(func(tx *bolt.Tx, _ *state) error {
			b := tx.Bucket(name)
			for _, key := range idle {
				if err := b.Delete(key); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// idle gives versions from a key on that no archive needs, and where to go on; nil: there are no more.
func (x *Index) idle(name, start []byte) (idle [][]byte, next []byte, err error) {
	err = x.view(func(tx *bolt.Tx, _ *section) error {
		kept, err := sealedNumbers(tx)
		if err != nil {
			return err
		}
		c := tx.Bucket(name).Cursor()
		looked := 0
		for k, _ := c.Seek(start); k != nil; k, _ = c.Next() {
			if looked++; looked > sweepLook || len(idle) == sweepDelete {
				next = bytes.Clone(k)
				return nil
			}
			if len(k) < historySuffix {
				return fmt.Errorf("%w: history key %x", ErrRebuild, k)
			}
			if !kept.within(interval(k)) {
				idle = append(idle, bytes.Clone(k))
			}
		}
		return nil
	})
	return idle, next, err
}

// commit makes a change that the log says nothing of, in one synced commit.
func (x *Index) commit(f func(*bolt.Tx, *state) error) error {
	x.applying.Lock()
	defer x.applying.Unlock()
	if x.broken != nil {
		return x.broken
	}
	st := *x.state.Load()
	err := x.update(func(tx *bolt.Tx) error {
		if err := f(tx, &st); err != nil {
			return err
		}
		return writeState(tx, &st, &arena{})
	})
	if err != nil {
		return err
	}
	x.applied = true
	x.state.Store(&st)
	return nil
}
