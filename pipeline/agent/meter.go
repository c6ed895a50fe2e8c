package agent

import "time"

const (
	// ahead is for how long what is under way may have to wait for the way: so long, and not longer, an acknowledgement
	// takes more than it would take with nothing before it.
	ahead = time.Second
	// leastBound is what may be pending on any way, bytes: less would not fill a buffer.
	leastBound = 1 << 20
)

// meter measures what the way carries, by what is acknowledged. It knows of time only what it is told.
type meter struct {
	delivered int64         // bytes acknowledged, ever
	rate      float64       // bytes a second that the way carries; 0: not known
	base      time.Duration // the least time from shipping to acknowledgement; 0: not known
}

// stamp is what was so when something was shipped.
type stamp struct {
	at        time.Time
	delivered int64
	waits     int64 // how often writers had had to wait
	waiting   bool  // some did
}

// acked takes in that n bytes, shipped as the stamp says, are acknowledged, and all before them. Limited says that more
// could have been shipped meanwhile if the way were faster: else the rate is at least what is measured.
func (m *meter) acked(s stamp, n int64, now time.Time, limited bool) {
	m.delivered += n
	took := now.Sub(s.at)
	if took <= 0 {
		return
	}
	if m.base == 0 || took < m.base {
		m.base = took
	}
	rate := float64(m.delivered-s.delivered) / took.Seconds()
	switch {
	case rate > m.rate:
		m.rate = rate
	case limited:
		m.rate -= (m.rate - rate) / 4
	}
}

// bound is how many bytes may be pending.
func (m *meter) bound() int64 {
	return max(leastBound, int64(m.rate*(ahead+m.base).Seconds()))
}
