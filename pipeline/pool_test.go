package pipeline

import (
	"container/list"
	"context"
	"errors"
	"sync"
	"testing"
)

// TestGrantWins has a waiter's context end just as it is given a buffer: it takes the buffer, which
// would be lost otherwise. Which of the two it sees first is chance, so it is tried often.
func TestGrantWins(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for range 100 {
		var mu sync.Mutex
		var l list.List
		e, b := l.PushBack(make(chan grant, 1)), &Buffer{}
		answer(&l, grant{b: b})
		if g := await(ctx, &mu, &l, e); g.b != b || g.err != nil {
			t.Fatalf("got %+v", g)
		}
	}
}

// TestAuditNames has the accounts falsified in each way that they can be.
func TestAuditNames(t *testing.T) {
	for name, falsify := range map[string]func(p *pool){
		"free twice":         func(p *pool) { p.free[0] = p.free[1] },
		"free and in use":    func(p *pool) { p.live[p.free[0]] = p.take(p.allocators[0]) },
		"lost":               func(p *pool) { p.free = p.free[1:] },
		"held":               func(p *pool) { p.take(p.allocators[0]) },
		"charged too much":   func(p *pool) { p.allocators[0].charged++ },
		"charged too little": func(p *pool) { p.allocators[0].charged-- },
	} {
		t.Run(name, func(t *testing.T) {
			p := start(t, 3, StageSpec{Name: "head", Allocates: true, New: of(sends(0))})
			if err := p.Wait(); err != nil {
				t.Fatal(err)
			}
			if err := p.pool.audit(); err != nil {
				t.Fatal(err)
			}
			falsify(p.pool)
			if err := p.Close(); !errors.Is(err, ErrLeak) {
				t.Errorf("Close: %v", err)
			}
		})
	}
}
