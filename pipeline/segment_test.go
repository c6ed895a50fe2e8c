package pipeline

import (
	"errors"
	"os"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

func TestSegmentLayout(t *testing.T) {
	for _, test := range []struct{ n, size, headroom int }{
		{1, 1, 0}, {3, 100, 10}, {4, 4096, 4096}, {2, 4097, 4095}, {64, 1 << 20, 64 << 10},
	} {
		s, err := NewSegment(test.n, test.size, test.headroom)
		if err != nil {
			t.Fatal(err)
		}
		for i := range test.n {
			raw := s.raw(i)
			if len(raw) != test.headroom+test.size || cap(raw) != len(raw) {
				t.Errorf("%+v: buffer %d has %d bytes, capacity %d", test, i, len(raw), cap(raw))
			}
			data := uintptr(unsafe.Pointer(&raw[test.headroom]))
			if data%uintptr(os.Getpagesize()) != 0 {
				t.Errorf("%+v: data of buffer %d at %#x", test, i, data)
			}
			raw[0], raw[len(raw)-1] = byte(i), byte(i)
		}
		for i := range test.n {
			if raw := s.raw(i); raw[0] != byte(i) || raw[len(raw)-1] != byte(i) {
				t.Errorf("%+v: buffer %d was overwritten", test, i)
			}
		}
		if err := unix.Ftruncate(s.FD(), 0); !errors.Is(err, unix.EPERM) {
			t.Errorf("segment could be truncated: %v", err)
		}
		if err := errors.Join(s.Close(), s.Close()); err != nil {
			t.Error(err)
		}
	}
}

func TestSegmentRefuses(t *testing.T) {
	for _, test := range [][3]int{{0, 1, 1}, {1, 0, 1}, {1, 1, -1}, {-1, 1, 1}, {1 << 40, 1 << 30, 0}, {1, 1 << 40, 0}} {
		if _, err := NewSegment(test[0], test[1], test[2]); !errors.Is(err, ErrSpec) {
			t.Errorf("NewSegment%v: %v", test, err)
		}
	}
}

func TestRegistry(t *testing.T) {
	var r Registry
	c := func(any) (StageSpec, error) { return StageSpec{Name: "x"}, nil }
	if err := errors.Join(r.Register("b", c), r.Register("a", c)); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]Constructor{"a": c, "": c, "c": nil} {
		if err := r.Register(name, c); !errors.Is(err, ErrSpec) {
			t.Errorf("Register(%q): %v", name, err)
		}
	}
	if _, err := r.Lookup("a"); err != nil {
		t.Error(err)
	}
	if _, err := r.Lookup("z"); !errors.Is(err, ErrUnknownKind) {
		t.Errorf("Lookup: %v", err)
	}
	if n := r.Names(); len(n) != 2 || n[0] != "a" {
		t.Errorf("Names: %v", n)
	}
}
