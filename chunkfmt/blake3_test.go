package chunkfmt

import (
	"testing"

	"lukechampine.com/blake3"
)

// TestKeyedSumIsBLAKE3 compares with the library's own hasher around every edge of the tree.
func TestKeyedSumIsBLAKE3(t *testing.T) {
	key := [32]byte(fill(32, 3))
	words := keyWords(key)
	data := fill(70*subtree, 7)
	check := func(n int) {
		t.Helper()
		h := blake3.New(32, key[:])
		h.Write(data[:n])
		want := [32]byte(h.Sum(nil))
		if exact, within := keyedSum(&words, data[:n:n]), keyedSum(&words, data[:n]); exact != want || within != want {
			t.Errorf("%d bytes hash to %x and %x, not to %x", n, exact, within, want)
		}
	}
	for n := range 3000 {
		check(n)
	}
	for edge := 1; edge <= 70; edge++ {
		for _, d := range []int{-1025, -1024, -1023, -1, 0, 1, 63, 64, 65, 1023, 1024, 1025} {
			if n := edge*subtree + d; n <= len(data) {
				check(n)
			}
		}
	}
}

func TestFingerprintingDoesNotAllocate(t *testing.T) {
	keys, block := sampleKeys(), fill(100_000, 1)
	if n := testing.AllocsPerRun(100, func() { keys.Sum(block) }); n != 0 {
		t.Errorf("%v allocations a fingerprint", n)
	}
}

func BenchmarkSum(b *testing.B) {
	keys, block := sampleKeys(), fill(256<<10, 1)
	b.SetBytes(int64(len(block)))
	for b.Loop() {
		keys.Sum(block)
	}
}
