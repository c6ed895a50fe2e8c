package agent

import (
	"testing"
	"time"
)

// way is a way in a test: what it carries over a number of connections.
type way struct {
	each, all float64       // bytes a second: of a connection, and of all together
	delay     time.Duration // of an acknowledgement
}

func (w way) rate(agents int) float64 { return min(float64(agents)*w.each, w.all) }

func TestCrew(t *testing.T) {
	const mega = 1e6
	for _, c := range []struct {
		name string
		way  way
		want int
	}{
		{"one connection fills it", way{50 * mega, 50 * mega, time.Millisecond}, 2},
		{"long", way{1 * mega, 50 * mega, 200 * time.Millisecond}, 8},
		{"very long", way{1 * mega, 50 * mega, 2 * time.Second}, 8},
		{"four fill it", way{10 * mega, 40 * mega, 50 * time.Millisecond}, 4},
	} {
		crew, now := newCrew(MostAgents, false), time.Unix(1000, 0)
		delivered := 0.0
		counts := map[int]int{}
		for i := range 6000 { // ten minutes
			now = now.Add(100 * time.Millisecond)
			delivered += c.way.rate(crew.active) / 10
			crew.look(now, int64(delivered), true, c.way.delay)
			if i > 3000 {
				counts[crew.active]++
			}
		}
		// Now and then it tries more.
		if counts[c.want] < 2700 {
			t.Errorf("%s: %v", c.name, counts)
		}
	}
}

// TestCrewOfSlowWriter: what does not wait for the way says nothing about it.
func TestCrewOfSlowWriter(t *testing.T) {
	crew, now := newCrew(MostAgents, false), time.Unix(1000, 0)
	for i := range 1000 {
		now = now.Add(100 * time.Millisecond)
		if crew.look(now, int64(i)*1000, i%5 > 0, time.Millisecond); crew.active != firstAgents {
			t.Fatalf("after %d looks: %d agents", i, crew.active)
		}
	}
	if crew := newCrew(5, true); crew.active != 5 {
		t.Errorf("%d agents, 5 were asked for", crew.active)
	}
}
