// Package progress shows how far a long command has come: by a bar where there is a
// terminal, by a line a minute where there is none, or by events for programs. It does
// not know what the command does: it asks how many bytes are done.
//
// Start reading at Start.
package progress

import (
	"fmt"
	"io"
	"time"

	"github.com/dustin/go-humanize"
)

// Point is how far the work is, in bytes.
type Point struct {
	Done  uint64 // by now
	Spare uint64 // that turned out to be done already
	Total uint64 // with these; 0: not known yet
}

// left is what is still to be done.
func (p *Point) left() uint64 { return p.Total - min(p.Total, p.Done+p.Spare) }

// Options says how to show it.
type Options struct {
	Out      io.Writer
	Terminal bool // Out is one, and has a size
	// Event is called, every second, instead of showing anything on Out; nil: show it.
	Event func()
	// Ticks says when to show it; nil: a fifth of a second apart on a terminal, else a minute.
	Ticks <-chan time.Time
}

// Display shows progress until End.
type Display struct {
	o     Options
	point func() Point
	meter meter
	bar   *bar // nil: no terminal
	stop  chan struct{}
	done  chan struct{}
}

// Start shows what point says, which is called by one goroutine at a time.
func Start(o Options, point func() Point) *Display {
	d := &Display{o: o, point: point, stop: make(chan struct{}), done: make(chan struct{})}
	every := time.Minute
	switch {
	case o.Event != nil:
		every = time.Second
	case o.Terminal:
		every, d.bar = 200*time.Millisecond, newBar(o.Out)
	}
	ticks, end := o.Ticks, func() {}
	if ticks == nil {
		t := time.NewTicker(every)
		ticks, end = t.C, t.Stop
	}
	d.meter.observe(time.Now(), 0)
	go func() {
		defer close(d.done)
		defer end()
		for {
			select {
			case now := <-ticks:
				d.show(now)
			case <-d.stop:
				return
			}
		}
	}()
	return d
}

func (d *Display) show(now time.Time) {
	if d.o.Event != nil {
		d.o.Event()
		return
	}
	p := d.point()
	text := line(&p, d.meter.observe(now, p.Done))
	if d.bar != nil {
		d.bar.show(&p, text)
		return
	}
	fmt.Fprintln(d.o.Out, text)
}

// Say prints a line besides.
func (d *Display) Say(text string) {
	if d.bar == nil || !d.bar.say(text) {
		fmt.Fprintln(d.o.Out, text)
	}
}

// End takes the bar away.
func (d *Display) End() {
	close(d.stop)
	<-d.done
	if d.bar != nil {
		d.bar.end()
	}
}

// line is a point in words.
func line(p *Point, rate float64) string {
	text := humanize.IBytes(p.Done + p.Spare)
	if p.Total > 0 {
		text += " of " + humanize.IBytes(p.Total)
	}
	text += ", " + humanize.IBytes(uint64(rate)) + "/s"
	if p.Total > 0 {
		text += ", " + humanize.IBytes(p.left()) + " left"
	}
	if p.Total > 0 && rate >= 1 {
		text += ": " + time.Duration(float64(p.left())/rate*float64(time.Second)).Round(time.Second).String()
	}
	return text
}

// meter measures a rate over the last ten seconds or so.
type meter struct {
	at   time.Time
	done uint64
	rate float64
}

const memory = 10 * time.Second

// observe takes in how much is done and gives the rate, bytes a second.
func (m *meter) observe(now time.Time, done uint64) float64 {
	passed := now.Sub(m.at).Seconds()
	switch {
	case m.at.IsZero() || passed <= 0 || done < m.done:
		m.at, m.done = now, done
		return m.rate
	case m.rate == 0:
		m.rate = float64(done-m.done) / passed
	default:
		weight := min(1, passed/memory.Seconds())
		m.rate += (float64(done-m.done)/passed - m.rate) * weight
	}
	m.at, m.done = now, done
	return m.rate
}
