//go:build !race

package chunkfmt

const raceEnabled = false
