package mover

import (
	"errors"
	"path/filepath"

	"coffer/index"
)

// Index is the index of an open Source. It keeps the head file in step: nothing
// is applied that was not acknowledged, so the head applied is one acknowledged.
type Index struct {
	*index.Index
	heads       *headFile
	checkpoints *checkpointer
}

// Apply applies batches and remembers their head, see index.Index.Apply.
func (x Index) Apply(batches []index.Batch, head index.Head, locate index.Locate) error {
	if err := x.Index.Apply(batches, head, locate); err != nil {
		return err
	}
	x.checkpoints.seal(batches)
	return x.heads.Set(head)
}

func (s *Source) indexPath() string { return filepath.Join(s.o.StateDir, "index.db") }

// openIndex opens the index; one that is not to be trusted is thrown away, since
// the log has all of it.
func (s *Source) openIndex() (*index.Index, error) {
	x, err := index.Open(s.indexPath(), s.identity())
	if errors.Is(err, index.ErrRebuild) {
		s.o.Log.Warn("the index is made anew from the store", "cause", err)
		if err := index.Remove(s.indexPath()); err != nil {
			return nil, err
		}
		x, err = index.Open(s.indexPath(), s.identity())
	}
	if err == nil && s.o.Spare {
		x.Spare()
	}
	return x, err
}

func (s *Source) identity() index.Identity {
	return index.Identity{Store: s.o.Store, Volume: s.keys.ID}
}

// resetIndex throws the index away and opens an empty one in its place.
func (s *Source) resetIndex() error {
	if err := s.index.Close(); err != nil {
		return err
	}
	if err := index.Remove(s.indexPath()); err != nil {
		return err
	}
	x, err := s.openIndex()
	if err != nil {
		return err
	}
	s.index = x
	return nil
}
