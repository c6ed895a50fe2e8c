package apps

import (
	"fmt"
	"testing"

	"coffer/test/rig"
)

// TestFio writes in the ways that databases and others have, and has fio check what it wrote, at once and after the
// volume was mounted again. COFFER_FIO_MIB says how much each job writes.
func TestFio(t *testing.T) {
	mib := rig.Count(t, "COFFER_FIO_MIB", 4)
	jobs := []struct{ name, args string }{
		{"sequential", "--rw=write --bs=1m --ioengine=psync --end_fsync=1"},
		{"random", "--rw=randwrite --bs=4k --ioengine=psync --fsync=256"},
		{"mixed", "--rw=randrw --bsrange=512-64k --bs_unaligned --ioengine=psync"},
		{"mapped", "--rw=randwrite --bs=4k --ioengine=mmap"},
		{"direct", "--rw=randwrite --bs=4k --ioengine=libaio --direct=1 --iodepth=16"},
		{"vectors", "--rw=randwrite --bs=16k --ioengine=pvsync2 --overwrite=1"},
		{"crowd", "--rw=randwrite --bs=8k --ioengine=psync --numjobs=4 --group_reporting"},
	}
	inModes(t, func(t *testing.T, v *volume) {
		args := func(name, args string) string {
			return fmt.Sprintf("fio --output-format=terse --minimal --name=%s %s --size=%dm --directory=%s --verify=crc32c --verify_fatal=1 --verify_state_save=0 --randrepeat=1 --fallocate=none",
				name, args, mib, v.mnt)
		}
		for _, j := range jobs {
			shell(t, "/", args(j.name, j.args)+" --do_verify=1")
		}
		v.again()
		for _, j := range jobs {
			shell(t, "/", args(j.name, j.args)+" --verify_only")
		}
		v.Unmount(t)
	})
}
