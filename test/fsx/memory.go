package fsx

import (
	"fmt"
	"runtime/debug"
	"unsafe"
)

// aligned makes n bytes that O_DIRECT may use.
func aligned(n int) []byte {
	p := make([]byte, n+block)
	skip := -int(uintptr(unsafe.Pointer(&p[0]))) & (block - 1)
	return p[skip : skip+n : skip+n]
}

// withFaults calls use, which works in a mapping; a page that can't be had (SIGBUS) is an error.
func withFaults(use func()) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("page fault: %v", r)
		}
	}()
	use()
	return nil
}
