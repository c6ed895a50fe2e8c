package main

import (
	"fmt"

	"github.com/dustin/go-humanize"
)

// byteSize is a flag like 256M.
type byteSize int64

// Set implements pflag.Value.
func (s *byteSize) Set(text string) error {
	n, err := humanize.ParseBytes(text)
	if err != nil || n > 1<<50 {
		return fmt.Errorf("%q is not a size", text)
	}
	*s = byteSize(n)
	return nil
}

// String implements pflag.Value.
func (s *byteSize) String() string { return humanize.IBytes(uint64(*s)) }

// Type implements pflag.Value.
func (s *byteSize) Type() string { return "size" }
