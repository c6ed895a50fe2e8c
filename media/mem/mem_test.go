package mem_test

import (
	"errors"
	"testing"

	"coffer/media"
	"coffer/media/conformance"
	"coffer/media/mem"
)

func TestConformance(t *testing.T) {
	conformance.Run(t, func(*testing.T) media.Medium { return mem.New(0) })
}

func TestCapacity(t *testing.T) {
	m := mem.New(10)
	a, err := m.Create(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.Append(t.Context(), make([]byte, 8)); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Append(t.Context(), make([]byte, 3)); !errors.Is(err, media.ErrFull) || a.Size() != 8 {
		t.Errorf("append past the capacity: %v, size %d; want ErrFull, 8", err, a.Size())
	}
	if err := m.Put(t.Context(), "b", make([]byte, 3)); !errors.Is(err, media.ErrFull) {
		t.Errorf("put past the capacity: %v, want ErrFull", err)
	}
	if err := m.Put(t.Context(), "b", make([]byte, 2)); err != nil {
		t.Errorf("put up to the capacity: %v", err)
	}
	if s, err := m.Space(t.Context()); err != nil || s.Free != 0 || s.Total != 10 {
		t.Errorf("space: %+v, %v; want 0 of 10 free", s, err)
	}
	if err := m.Remove(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	if s, err := m.Space(t.Context()); err != nil || s.Free != 8 {
		t.Errorf("space after remove: %+v, %v; want 8 free", s, err)
	}
}
