//go:build race

package chunkfmt

const raceEnabled = true
