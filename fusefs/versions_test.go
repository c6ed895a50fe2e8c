package fusefs

import (
	"slices"
	"testing"
)

// TestVersions: what is open and has changed is told of after its pages were dropped, and nothing else waits.
func TestVersions(t *testing.T) {
	var v versions
	one, two := version{size: 1}, version{size: 2}
	now := map[uint64]version{7: one, 8: one, 9: one}
	get := func(node uint64) (version, bool) { is, ok := now[node]; return is, ok }
	v.open(7, one)
	v.open(7, one)
	v.open(8, one)
	v.open(9, one)
	now[7] = two
	delete(now, 9) // it was removed
	if v.pending(8, one) != nil || v.pending(10, two) != nil {
		t.Error("something waits that has not changed, or is not open")
	}
	wait := v.pending(7, two)
	var dropped []uint64
	v.update(get, func(node uint64) {
		dropped = append(dropped, node)
		select {
		case <-wait:
			t.Error("it was told of before its pages were dropped")
		default:
		}
	})
	<-wait
	if !slices.Equal(dropped, []uint64{7}) {
		t.Errorf("dropped %v", dropped)
	}
	if v.pending(7, two) != nil {
		t.Error("it was told of, and still waits")
	}
	v.close(7)
	if v.pending(7, one) == nil {
		t.Error("it is open once more, and does not wait")
	}
	for _, node := range []uint64{7, 8, 9} {
		v.close(node)
	}
	if v.pending(7, one) != nil || len(v.opened) > 0 {
		t.Error("what is closed waits, or is remembered")
	}
}
