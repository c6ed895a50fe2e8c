package stage

import "time"

// ahead says how much may be read that nobody has asked for yet. The zero value is not ready for use; see newAhead.
type ahead struct {
	// width is how many groups may be on their way at a time. It halves when they hold each other up, and so would
	// whoever needs one now, and grows while they do not.
	width int
	least time.Duration // that one took

	// credit is what is left to spend on groups near to one that was read. What is used pays, what goes unused costs.
	credit int
}

const (
	firstWidth = 4
	mostWidth  = 12
	// holdUp is by how much longer a group may take because of others.
	holdUp = 100 * time.Millisecond

	creditFull   = 1024
	creditUsed   = 16 // is earned by a group that was read ahead and then used
	creditUnused = 32 // is lost by one that left the cache without
	creditStep   = 1  // is earned by each step of a walk, so that it is tried again
)

func newAhead() ahead { return ahead{width: firstWidth, credit: creditFull} }

// took notes how long a group was on its way.
func (a *ahead) took(d time.Duration) {
	if a.least == 0 || d < a.least || a.width == 1 { // alone it takes what it takes, and the way may be another one by now
		a.least = d
	}
	switch {
	case d > a.least+2*holdUp:
		a.width = max(a.width/2, 1)
	case d <= a.least+holdUp:
		a.width = min(a.width+1, mostWidth)
	}
}

func (a *ahead) earn(credit int) { a.credit = min(a.credit+credit, creditFull) }

func (a *ahead) lose(credit int) { a.credit = max(a.credit-credit, 0) }

// near is how many groups near to one that was read are worth reading.
func (a *ahead) near() int { return min(a.credit/creditUnused, mostWidth) }
