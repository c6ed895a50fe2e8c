package progress

import (
	"io"
	"sync/atomic"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
)

// bar is a bar with a text behind it.
type bar struct {
	all     *mpb.Progress
	bar     *mpb.Bar
	refresh chan any
	gone    chan any // closed when there is nothing to draw on any more
	text    atomic.Pointer[string]
}

func newBar(out io.Writer) *bar {
	b := &bar{refresh: make(chan any), gone: make(chan any)}
	b.text.Store(new(string))
	b.all = mpb.New(mpb.WithOutput(out), mpb.WithManualRefresh(b.refresh), mpb.WithShutdownNotifier(b.gone))
	b.bar = b.all.New(0, mpb.BarStyle(), mpb.BarRemoveOnComplete(),
		mpb.AppendDecorators(decor.Any(func(decor.Statistics) string { return " " + *b.text.Load() })))
	return b
}

func (b *bar) show(p *Point, text string) {
	b.text.Store(&text)
	b.bar.SetTotal(int64(p.Total), false)
	b.bar.SetCurrent(int64(min(p.Done+p.Spare, max(p.Total, 1)-1))) // at its end it would go
	select {
	case b.refresh <- time.Time{}:
	case <-b.gone:
	}
}

// say prints a line above the bar; false if there is nothing to draw on any more.
func (b *bar) say(text string) bool {
	_, err := b.all.Write([]byte(text + "\n"))
	return err == nil
}

func (b *bar) end() {
	b.bar.Abort(true)
	b.all.Wait()
}
