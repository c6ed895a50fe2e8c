package stage

import (
	"math"

	"github.com/klauspost/compress/s2"
)

// The sample that tells whether compressing is any use.
const (
	sampleParts = 8
	sampleBytes = 512     // of each part
	trialBytes  = 4 << 10 // compressed on trial, once
	minSample   = 4 * sampleParts * sampleBytes
)

// incompressible judges by a sample, for a few microseconds: if the bytes of
// parts all over b are evenly distributed, and a stretch of it does not
// compress either, nothing will. Short data is not judged. Scratch is grown
// when needed.
func incompressible(b []byte, scratch *[]byte) bool {
	if len(b) < minSample {
		return false
	}
	var histogram [256]uint16
	step := (len(b) - sampleBytes) / (sampleParts - 1)
	for i := range sampleParts {
		for _, c := range b[i*step : i*step+sampleBytes] {
			histogram[c]++
		}
	}
	// 4 KiB of random bytes measure 7.95 bits a byte, and hardly ever under 7.93.
	if entropy(&histogram, sampleParts*sampleBytes) < 7.88 {
		return false
	}
	if n := s2.MaxEncodedLen(trialBytes); cap(*scratch) < n {
		*scratch = make([]byte, n)
	}
	at := len(b)/2 - trialBytes/2
	trial := s2.Encode((*scratch)[:cap(*scratch)], b[at:at+trialBytes])
	return len(trial) >= trialBytes*97/100
}

// entropy is the bits that a byte carries if it occurs as often as counted.
func entropy(histogram *[256]uint16, total int) float64 {
	sum := 0.0
	for _, n := range histogram {
		sum += nlogn[min(int(n), len(nlogn)-1)]
	}
	return math.Log2(float64(total)) - sum/float64(total)
}

// nlogn tabulates n·log2(n). Bytes that occur more often than it reaches make
// the entropy too low to matter anyway.
var nlogn = func() (t [256]float64) {
	for n := 2; n < len(t); n++ {
		t[n] = float64(n) * math.Log2(float64(n))
	}
	return t
}()
