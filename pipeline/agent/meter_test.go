package agent

import (
	"testing"
	"time"
)

// TestMeter ships over a way that carries so much a second with a delay, always as much as the bound allows: it comes to
// be what the way carries in a second and its delay, from above and from below.
func TestMeter(t *testing.T) {
	for _, rate := range []float64{2e6, 50e6, 1e9} {
		for _, delay := range []time.Duration{time.Millisecond, 200 * time.Millisecond, 2 * time.Second} {
			for _, first := range []float64{0, 1e5, 1e10} {
				m, now := &meter{rate: first}, time.Unix(1000, 0)
				free := now // when the way has carried all before
				type shipped struct {
					stamp
					n    int64
					back time.Time
				}
				var under []shipped
				sum := int64(0)
				for range 4000 {
					for sum < m.bound() {
						n := max(300_000, int64(rate/50))
						if free.Before(now) {
							free = now
						}
						free = free.Add(time.Duration(float64(n) / rate * 1e9))
						under = append(under, shipped{stamp{at: now, delivered: m.delivered}, n, free.Add(delay)})
						sum += n
					}
					s := under[0]
					under = under[1:]
					now = s.back
					sum -= s.n
					m.acked(s.stamp, s.n, now, true)
				}
				want := max(leastBound, rate*(1+delay.Seconds()))
				if got := float64(m.bound()); got < want*0.8 || got > want*1.5 {
					t.Errorf("%.0f bytes a second, %v, from %.0f: bound %.0f, want %.0f", rate, delay, first, got, want)
				}
			}
		}
	}
}
