package fusefs

import (
	"fmt"
	"os"
	"strconv"
)

// setReadahead raises how far ahead the kernel reads on the mount at dir: without it a sequential reader asks for
// 128 KiB at a time, whatever the largest request. It needs root; the size is in KiB.
func setReadahead(dir string, kib int) error {
	m, found, err := findMount(dir)
	if err != nil {
		return err
	}
	if !found {
		return fmt.Errorf("no mount on %s", dir)
	}
	// The file system of the kernel's own knobs, never one of ours.
	return os.WriteFile("/sys/class/bdi/"+m.device+"/read_ahead_kb", []byte(strconv.Itoa(kib)), 0)
}
