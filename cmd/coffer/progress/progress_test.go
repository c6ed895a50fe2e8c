package progress

import (
	"bytes"
	"strings"
	"sync"
	"testing"
	"time"
)

// screen is what was printed so far.
type screen struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *screen) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// TestLines: a line a tick, with rate, what is left, and the time for that.
func TestLines(t *testing.T) {
	var out screen
	ticks := make(chan time.Time)
	done := uint64(0)
	d := Start(Options{Out: &out, Ticks: ticks}, func() Point {
		done += 60 << 20
		return Point{Done: done, Spare: 100 << 20, Total: 1 << 30}
	})
	now := time.Now()
	for i := range 3 {
		ticks <- now.Add(time.Duration(i+1) * time.Minute)
	}
	d.Say("between")
	d.End()
	for _, want := range []string{
		"160 MiB of 1.0 GiB, ", ", 864 MiB left: 14m24s\n",
		"220 MiB of 1.0 GiB, 1.0 MiB/s, 804 MiB left: 13m24s\n",
		"between\n",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is missing in\n%s", want, out.String())
		}
	}
}

func TestLine(t *testing.T) {
	for _, c := range []struct {
		p    Point
		rate float64
		want string
	}{
		{Point{Done: 5 << 20}, 2 << 20, "5.0 MiB, 2.0 MiB/s"},
		{Point{Total: 10 << 20}, 0, "0 B of 10 MiB, 0 B/s, 10 MiB left"},
		{Point{Done: 12 << 20, Total: 10 << 20}, 1 << 20, "12 MiB of 10 MiB, 1.0 MiB/s, 0 B left: 0s"},
	} {
		if got := line(&c.p, c.rate); got != c.want {
			t.Errorf("%+v: %q, want %q", c.p, got, c.want)
		}
	}
}

// TestEvents: programs are told at each tick, and nothing is printed.
func TestEvents(t *testing.T) {
	var out screen
	ticks, told := make(chan time.Time), make(chan bool)
	d := Start(Options{Out: &out, Ticks: ticks, Event: func() { told <- true }}, nil)
	for range 2 {
		ticks <- time.Now()
		<-told
	}
	d.End()
	if out.String() != "" {
		t.Errorf("printed %q", out.String())
	}
}

// TestMeter: the rate follows what happens, and not at once.
func TestMeter(t *testing.T) {
	var m meter
	now := time.Now()
	m.observe(now, 0)
	if r := m.observe(now.Add(time.Second), 1000); r != 1000 {
		t.Errorf("%v after the first second", r)
	}
	if r := m.observe(now.Add(2*time.Second), 1000); r != 900 {
		t.Errorf("%v after a second in which nothing was done", r)
	}
	if r := m.observe(now.Add(2*time.Second), 1000); r != 900 {
		t.Errorf("%v after no time", r)
	}
}

// TestBar draws on what is no terminal and takes nothing ill, and ends also when nothing can be drawn.
func TestBar(t *testing.T) {
	for _, failing := range []bool{false, true} {
		var out screen
		ticks := make(chan time.Time)
		o := Options{Out: &out, Terminal: true, Ticks: ticks}
		if failing {
			o.Out = broken{}
		}
		d := Start(o, func() Point { return Point{Done: 1 << 20, Total: 4 << 20} })
		for range 3 {
			ticks <- time.Now()
		}
		d.Say("between")
		d.End()
		if !failing && (!strings.Contains(out.String(), "1.0 MiB of 4.0 MiB") || !strings.Contains(out.String(), "between")) {
			t.Errorf("drawn: %q", out.String())
		}
	}
}

type broken struct{}

func (broken) Write([]byte) (int, error) { return 0, bytes.ErrTooLarge }
