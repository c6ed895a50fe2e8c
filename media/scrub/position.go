package scrub

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"
)

// Position is a place in a scrub: everything before it was checked. Objects are taken in the order of
// their names. The zero value is the beginning.
type Position struct {
	Object string
	Offset int64 // bytes of the object that were checked
}

// String returns what ParsePosition reads.
func (p Position) String() string { return p.Object + ":" + strconv.FormatInt(p.Offset, 10) }

// ParsePosition reads what String returned; the empty text is the beginning.
func ParsePosition(text string) (Position, error) {
	if text == "" {
		return Position{}, nil
	}
	i := strings.LastIndexByte(text, ':')
	if i < 0 {
		return Position{}, fmt.Errorf("position %q: want NAME:OFFSET", text)
	}
	n, err := strconv.ParseInt(text[i+1:], 10, 64)
	if err != nil || n < 0 {
		return Position{}, fmt.Errorf("position %q: %q is no offset", text, text[i+1:])
	}
	return Position{Object: text[:i], Offset: n}, nil
}

// from is where to begin in an object: an offset, or -1 if all of it was checked.
func (p Position) from(object string) int64 {
	switch cmp.Compare(object, p.Object) {
	case -1:
		return -1
	case 0:
		return p.Offset
	}
	return 0
}
