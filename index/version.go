package index

import (
	"bytes"
	"encoding/binary"
	"fmt"

	bolt "go.etcd.io/bbolt"

	"coffer/chunkfmt"
)

// get calls f with the payload that the key had in the reader's state, if any.
func (r *Reader) get(t table, key []byte, f func(payload []byte) error) error {
	return r.x.view(func(tx *bolt.Tx, _ *section) error {
		payload, err := r.version(tx, t, key)
		if err != nil || payload == nil {
			return err
		}
		return f(payload)
	})
}

// sealed fails with ErrForgotten if the reader is one of an archive that is not there: what of the history it needed may
// be gone.
func (r *Reader) sealed(tx *bolt.Tx) error {
	if r.at == Present || tx.Bucket(archives.now).Get(chunkfmt.ArchiveKey(r.at)) != nil {
		return nil
	}
	_, payload, err := unseal(stateKey, tx.Bucket(meta.now).Get(stateKey))
	if err != nil {
		return err
	}
	st, err := parseState(payload)
	if err != nil || r.at >= st.archive { // open, or still to come
		return err
	}
	return fmt.Errorf("archive %d: %w", r.at, ErrForgotten)
}

// version finds the payload of a key in the reader's state; nil if it had none.
func (r *Reader) version(tx *bolt.Tx, t table, key []byte) ([]byte, error) {
	if err := r.sealed(tx); err != nil {
		return nil, err
	}
	if v := tx.Bucket(t.now).Get(key); v != nil {
		since, payload, err := unseal(key, v)
		if err != nil || since <= r.at {
			return payload, err
		}
	}
	if r.at == Present {
		return nil, nil
	}
	// The version sought is the last that began at or before the archive, if it had
	// not ended by then.
	c := tx.Bucket(t.past).Cursor()
	after := binary.BigEndian.AppendUint32(bytes.Clone(key), r.at+1)
	back := c.Prev
	if k, _ := c.Seek(after); k == nil {
		back = c.Last
	}
	for k, v := back(); bytes.HasPrefix(k, key); k, v = c.Prev() {
		if len(k) != len(key)+historySuffix {
			continue // of a longer key
		}
		if from, to := interval(k); from > r.at || to <= r.at {
			return nil, nil
		}
		_, payload, err := unseal(k, v)
		return payload, err
	}
	return nil, nil
}

// scan calls f with every key of the reader's state from start on that has the first
// n bytes of start, until f returns false. The order is ascending if the keys are of
// one length.
func (r *Reader) scan(tx *bolt.Tx, t table, start []byte, n int, f func(key, payload []byte) (bool, error)) error {
	if err := r.sealed(tx); err != nil {
		return err
	}
	now := &walk{c: tx.Bucket(t.now).Cursor(), prefix: start[:n], at: r.at}
	now.seek(start)
	past := &walk{history: true}
	if r.at != Present {
		past = &walk{c: tx.Bucket(t.past).Cursor(), prefix: start[:n], at: r.at, history: true}
		past.seek(start)
	}
	for now.key != nil || past.key != nil {
		w := now
		if now.key == nil || past.key != nil && bytes.Compare(past.key, now.key) < 0 {
			w = past
		}
		more, err := f(w.key, w.payload)
		if err != nil || !more {
			return err
		}
		w.next()
	}
	if now.err != nil {
		return now.err
	}
	return past.err
}

// walk goes through the versions of one bucket that were true at an archive.
type walk struct {
	c       *bolt.Cursor
	prefix  []byte
	at      uint32
	history bool

	key     []byte // without the interval; nil at the end
	payload []byte
	err     error
}

func (w *walk) seek(start []byte) { w.settle(w.c.Seek(start)) }
func (w *walk) next()             { w.settle(w.c.Next()) }

// settle goes on from a key to the first that counts.
func (w *walk) settle(k, v []byte) {
	for ; bytes.HasPrefix(k, w.prefix) && k != nil; k, v = w.c.Next() {
		key := k
		if w.history {
			if len(k) < len(w.prefix)+historySuffix {
				continue
			}
			if from, to := interval(k); from > w.at || to <= w.at {
				continue
			}
			key = k[:len(k)-historySuffix]
		}
		since, payload, err := unseal(k, v)
		if err != nil {
			w.key, w.err = nil, err
			return
		}
		if since <= w.at {
			w.key, w.payload = key, payload
			return
		}
	}
	w.key, w.payload = nil, nil
}
