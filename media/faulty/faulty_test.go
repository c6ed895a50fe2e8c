package faulty_test

import (
	"bytes"
	"context"
	"errors"
	"syscall"
	"testing"

	"coffer/media"
	"coffer/media/conformance"
	"coffer/media/faulty"
	"coffer/media/mem"
)

func TestConformance(t *testing.T) {
	conformance.Run(t, func(*testing.T) media.Medium { return faulty.Wrap(mem.New(0), nil) })
}

func TestDurability(t *testing.T) {
	for seed := range uint64(200) {
		m := faulty.Wrap(mem.New(0), nil)
		conformance.Durability(t, m, func(t *testing.T) media.Medium { return crash(t, m, seed) })
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

func crash(t *testing.T, m *faulty.Medium, seed uint64) *faulty.Medium {
	t.Helper()
	after, err := m.Crash(t.Context(), seed)
	if err != nil {
		t.Fatal(err)
	}
	return after
}

func create(t *testing.T, m media.Medium, name string, parts ...[]byte) media.Appender {
	t.Helper()
	a, err := m.Create(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.Append(t.Context(), parts...); err != nil {
		t.Fatal(err)
	}
	return a
}

// TestCrashLoses is the negative control: whatever is not synced must get lost
// in every way that there is, with one seed or another.
func TestCrashLoses(t *testing.T) {
	data := bytes.Repeat([]byte{1}, 5*4096+7)
	for _, drop := range []bool{false, true} {
		seen := make(map[string]int)
		for seed := range uint64(300) {
			m := faulty.Wrap(mem.New(0), nil)
			if drop {
				m.SetRule(faulty.Fail(faulty.ErrDrop, faulty.Sync, faulty.Put))
			}
			a := create(t, m, "a", data)
			if drop {
				if err := a.Sync(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			if err := m.Put(t.Context(), "p", data); err != nil {
				t.Fatal(err)
			}
			if err := m.Put(t.Context(), "p", data[:1]); err != nil {
				t.Fatal(err)
			}
			after := crash(t, m, seed)
			got, err := media.ReadAll(t.Context(), after, "a", len(data))
			switch {
			case errors.Is(err, media.ErrNotExist):
				seen["gone"]++
			case err != nil:
				t.Fatal(err)
			case bytes.Equal(got, data[:len(got)]) && len(got) < len(data):
				seen["short"]++
			case bytes.Contains(got, make([]byte, 4096)):
				seen["zeros"]++
			}
			if _, err := after.ReadAt(t.Context(), "p", make([]byte, 1), 0); err != nil {
				seen["put lost"]++
			}
		}
		for _, kind := range []string{"gone", "short", "zeros"} {
			if seen[kind] == 0 {
				t.Errorf("syncs dropped %v: no seed makes an object %s: %v", drop, kind, seen)
			}
		}
		if (seen["put lost"] > 0) != drop {
			t.Errorf("syncs dropped %v: %d puts were lost", drop, seen["put lost"])
		}
	}
}

func TestCrashIsRepeatable(t *testing.T) {
	for seed := range uint64(20) {
		var results [2][]byte
		for i := range results {
			m := faulty.Wrap(mem.New(0), nil)
			a := create(t, m, "a", make([]byte, 10))
			if err := a.Sync(t.Context()); err != nil {
				t.Fatal(err)
			}
			if _, err := a.Append(t.Context(), bytes.Repeat([]byte{1}, 50_000)); err != nil {
				t.Fatal(err)
			}
			create(t, m, "b", make([]byte, 10))
			b, err := media.ReadAll(t.Context(), crash(t, m, seed), "a", 100_000)
			if err != nil {
				t.Fatal(err)
			}
			results[i] = b
		}
		if !bytes.Equal(results[0], results[1]) {
			t.Errorf("seed %d: two crashes differ", seed)
		}
	}
}

func TestAfterCrash(t *testing.T) {
	m := faulty.Wrap(mem.New(0), nil)
	a := create(t, m, "a", []byte("x"))
	unlock, err := m.Lock(t.Context(), "lock", "first")
	if err != nil {
		t.Fatal(err)
	}
	after := crash(t, m, 1)
	_, err = a.Append(t.Context(), []byte("x"))
	for what, err := range map[string]error{
		"append": err,
		"sync":   a.Sync(t.Context()),
		"put":    m.Put(t.Context(), "p", nil),
		"remove": m.Remove(t.Context(), "a"),
	} {
		if !errors.Is(err, faulty.ErrCrashed) {
			t.Errorf("%s after the crash: %v, want ErrCrashed", what, err)
		}
	}
	again, err := after.Lock(t.Context(), "lock", "second")
	if err != nil {
		t.Errorf("lock after the crash: %v", err)
	}
	if err := errors.Join(unlock(), again(), a.Close(), m.Close(), after.Close()); err != nil {
		t.Error(err)
	}
}

func TestRules(t *testing.T) {
	m := faulty.Wrap(mem.New(0), nil)
	a, b := create(t, m, "a", []byte("1234")), create(t, m, "b")
	m.SetRule(faulty.Named("a", faulty.From(1, faulty.Fail(syscall.EIO, faulty.Append))))
	for i, want := range []error{nil, syscall.EIO, syscall.EIO} {
		if _, err := a.Append(t.Context(), []byte("5")); !errors.Is(err, want) {
			t.Errorf("append %d: %v, want %v", i, err, want)
		}
	}
	if _, err := b.Append(t.Context(), []byte("5")); err != nil {
		t.Errorf("append to another: %v", err)
	}
	m.SetRule(faulty.First(1, faulty.Fail(media.ErrFull, faulty.Append)))
	if _, err := a.Append(t.Context(), []byte("5")); !errors.Is(err, media.ErrFull) {
		t.Errorf("append: %v, want ErrFull", err)
	}
	if off, err := a.Append(t.Context(), []byte("6")); err != nil || off != 5 {
		t.Errorf("append after a full medium: %d, %v; want 5", off, err)
	}
	m.SetRule(faulty.First(1, faulty.Fail(syscall.EIO, faulty.Sync)))
	if err := a.Sync(t.Context()); !errors.Is(err, syscall.EIO) {
		t.Errorf("sync: %v, want EIO", err)
	}
	if err := a.Sync(t.Context()); !errors.Is(err, media.ErrTorn) {
		t.Errorf("sync after a failed one: %v, want ErrTorn", err)
	}
	m.SetRule(faulty.Fail(media.ErrTorn, faulty.Append))
	if _, err := b.Append(t.Context(), []byte("6789")); !errors.Is(err, media.ErrTorn) {
		t.Errorf("torn append: %v, want ErrTorn", err)
	}
	m.SetRule(nil)
	if _, err := b.Append(t.Context(), []byte("6")); !errors.Is(err, media.ErrTorn) {
		t.Errorf("append after a torn one: %v, want ErrTorn", err)
	}
	if got, err := media.ReadAll(t.Context(), m, "b", 100); err != nil || string(got) != "567" {
		t.Errorf("torn object holds %q, %v; want half of the last append", got, err)
	}
}

func TestDelay(t *testing.T) {
	blocked, release := make(chan struct{}), make(chan struct{})
	m := faulty.Wrap(mem.New(0), func(ctx context.Context, op faulty.Op, _ string) error {
		if op == faulty.Sync {
			close(blocked)
			<-release
		}
		return nil
	})
	a := create(t, m, "a", []byte("1"))
	done := make(chan error)
	go func() { done <- a.Sync(t.Context()) }()
	<-blocked
	if _, err := a.Append(t.Context(), []byte("2")); err != nil {
		t.Errorf("append during a slow sync: %v", err)
	}
	close(release)
	if err := <-done; err != nil {
		t.Errorf("slow sync: %v", err)
	}
}

func TestFree(t *testing.T) {
	m := faulty.Wrap(mem.New(0), nil)
	m.SetFree(10)
	a := create(t, m, "a", make([]byte, 6))
	if _, err := a.Append(t.Context(), make([]byte, 5)); !errors.Is(err, media.ErrFull) || a.Size() != 6 {
		t.Errorf("append: %v, size %d; want ErrFull, 6", err, a.Size())
	}
	if err := m.Put(t.Context(), "p", make([]byte, 4)); err != nil {
		t.Errorf("put what fits: %v", err)
	}
	if err := m.Remove(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	if s, err := m.Space(t.Context()); err != nil || s.Free != 6 {
		t.Errorf("space: %+v, %v; want 6 free", s, err)
	}
}
