package agent

import "time"

const (
	firstAgents = 2
	// MostAgents is how many agents there are at most where nobody says how many there are to be.
	MostAgents = 8

	trialTime  = time.Second // at least, in which a rate is measured
	firstTrust = 15 * time.Second
	lastTrust  = 5 * time.Minute
	gain       = 1.15 // times the rate, for which more agents are worth it
)

// crew decides how many agents work: a few at first, and more as long as that raises what the way carries. One connection
// fills most ways; over a long one, or one that loses packets, it carries no more than its buffers, or its patience,
// allow. It knows of time only what it is told.
type crew struct {
	most   int
	active int

	begun     time.Time // of the period in which is measured; zero: there is none
	delivered int64     // then
	before    float64   // the rate with fewer agents; 0: no trial is under way
	fewer     int       // how many these were
	warm      bool      // the period at hand counts: the one before was for the new ones to get going
	trust     time.Duration
	rest      time.Time // no trial before
}

func newCrew(most int, fixed bool) *crew {
	c := &crew{most: most, active: most, trust: firstTrust}
	if !fixed {
		c.active = min(firstAgents, most)
	}
	return c
}

// look is to be called now and then, with the bytes that were acknowledged ever, whether writers wait for the way, and
// how long an acknowledgement takes at least. It says whether active has changed.
func (c *crew) look(now time.Time, delivered int64, limited bool, base time.Duration) bool {
	if c.active == c.most && c.before == 0 {
		return false
	}
	if !limited {
		// What is measured is the writer.
		c.begun = time.Time{}
		return false
	}
	if c.begun.IsZero() {
		c.begun, c.delivered = now, delivered
		return false
	}
	took := now.Sub(c.begun)
	if took < max(trialTime, 4*base) {
		return false
	}
	rate := float64(delivered-c.delivered) / took.Seconds()
	c.begun, c.delivered = now, delivered
	was := c.active
	switch {
	case c.before == 0 && !now.Before(c.rest):
		c.before, c.fewer, c.warm = rate, c.active, false
		c.active = min(2*c.active, c.most)
	case c.before == 0:
	case !c.warm:
		c.warm = true
	case rate < c.before*gain:
		c.active, c.before = c.fewer, 0
		c.rest = now.Add(c.trust)
		c.trust = min(2*c.trust, lastTrust)
	case c.active < c.most:
		c.before, c.fewer, c.warm = rate, c.active, false
		c.active = min(2*c.active, c.most)
	default:
		c.before = 0
	}
	return c.active != was
}
