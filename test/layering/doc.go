// Package layering holds the tests of the shape of the program: which package may import which, and
// that each package says what it is for. It has no code of its own; start at layering_test.go.
package layering
