package rig

import (
	"os/exec"
	"sync"
	"testing"
)

// TestDiskBesideForks takes a disk away while others start processes, each of which has for an instant what is open here.
func TestDiskBesideForks(t *testing.T) {
	d := NewDisk(t, 16)
	stop := make(chan struct{})
	var forks sync.WaitGroup
	for range 4 {
		forks.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					exec.Command("/bin/true").Run()
				}
			}
		})
	}
	for range 40 {
		if err := d.Cut(); err != nil {
			t.Error(err)
		}
		if err := d.Unmount(); err != nil {
			t.Error(err)
			break
		}
		if err := d.Mount(); err != nil {
			t.Error(err)
			break
		}
	}
	close(stop)
	forks.Wait()
}
