package fusefs

import (
	"testing"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

const (
	direct = fuse.FOPEN_DIRECT_IO
	keeps  = fuse.FOPEN_KEEP_CACHE
	drops  = 0
)

// step is one event of an inode: an open with the flags that it must get, a direct write, a close.
type step struct {
	do   string // "read", "write", "append", "update", "wrote", "close", "close direct", "notified"
	want uint32
}

func TestCacheFlags(t *testing.T) {
	for _, c := range []struct {
		name  string
		steps []step
		queue bool // a notification must be due at the end
	}{
		{"reader alone", []step{{"read", keeps}, {"close", 0}, {"read", keeps}}, false},
		{"writer alone", []step{{"write", direct}, {"wrote", 0}, {"close direct", 0}, {"read", keeps}}, false},
		{"appender alone", []step{{"append", keeps}}, false},
		{"appender beside a writer", []step{{"write", direct}, {"append", drops}}, false},
		{"updater", []step{{"update", keeps}}, false},
		{"writer beside a reader", []step{{"read", keeps}, {"write", keeps}}, false},
		{"reader beside a writer", []step{{"write", direct}, {"read", drops}}, false},
		{"and a write", []step{{"write", direct}, {"read", drops}, {"wrote", 0}}, true},
		{"second writer", []step{{"write", direct}, {"write", drops}}, false},
		{"reader after both", []step{{"write", direct}, {"read", drops}, {"close direct", 0}, {"read", drops}, {"read", keeps}}, false},
		{"reader while it is direct still", []step{{"write", direct}, {"read", drops}, {"read", drops}}, false},
		{"all closed", []step{{"write", direct}, {"read", drops}, {"close direct", 0}, {"close", 0}}, true},
		{"opened before the notification", []step{{"write", direct}, {"read", drops}, {"close direct", 0}, {"close", 0}, {"read", drops}}, true},
		{"opened during it", []step{{"write", direct}, {"read", drops}, {"close direct", 0}, {"close", 0}, {"notifying", 0}, {"read", drops}}, false},
		{"opened after it", []step{{"write", direct}, {"read", drops}, {"close direct", 0}, {"close", 0}, {"notified", 0}, {"read", keeps}}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			const ino = 7
			k := newCache(nil)
			for i, s := range c.steps {
				var got uint32
				switch s.do {
				case "read":
					got = k.open(ino, unix.O_RDONLY)
				case "write":
					got = k.open(ino, unix.O_WRONLY|unix.O_APPEND|unix.O_TRUNC)
				case "append":
					got = k.open(ino, unix.O_WRONLY|unix.O_APPEND)
				case "update":
					got = k.open(ino, unix.O_RDWR)
				case "wrote":
					k.wrote(ino, 4096, 10)
				case "close":
					k.close(ino, unix.O_RDONLY, false)
				case "close direct":
					k.close(ino, unix.O_WRONLY, true)
				case "notifying":
					k.next()
				case "notified":
					k.next()
					k.next()
				default:
					t.Fatalf("unknown step %q", s.do)
				}
				if got != s.want {
					t.Fatalf("step %d, %s: flags %d, want %d", i, s.do, got, s.want)
				}
			}
			if _, queued := k.queue[ino]; queued != c.queue {
				t.Errorf("notification due: %v, want %v", queued, c.queue)
			}
		})
	}
}

// TestCacheWriteback: where the kernel gathers writes, nobody goes past its pages.
func TestCacheWriteback(t *testing.T) {
	k := newCache(nil)
	k.writeback = true
	for _, flags := range []uint32{unix.O_WRONLY, unix.O_RDONLY, unix.O_RDWR, unix.O_WRONLY | unix.O_APPEND} {
		if got := k.open(3, flags); got != keeps {
			t.Errorf("opened with %#x: flags %d, want %d", flags, got, keeps)
		}
	}
}

func TestCacheJoinsNotifications(t *testing.T) {
	k := newCache(nil)
	k.enqueue(1, span{100, 200})
	k.enqueue(1, span{50, 60})
	k.enqueue(2, span{100, 200})
	k.enqueue(2, span{})
	got := map[uint64]span{}
	for ino, s, ok := k.next(); ok; ino, s, ok = k.next() {
		got[ino] = s
	}
	if want := (span{50, 200}); got[1] != want {
		t.Errorf("joined to %v, want %v", got[1], want)
	}
	if want := (span{0, 0}); got[2] != want {
		t.Errorf("joined with the whole file to %v, want %v", got[2], want)
	}
}

func TestCacheNotifies(t *testing.T) {
	type note struct {
		ino         uint64
		off, length int64
	}
	notes := make(chan note)
	k := newCache(func(ino uint64, off, length int64) { notes <- note{ino, off, length} })
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		k.run(stop)
	}()
	k.open(9, unix.O_WRONLY|unix.O_CREAT)
	k.wrote(9, 0, 100) // alone, so nobody needs to know
	k.open(9, unix.O_RDONLY)
	k.wrote(9, 4096, 8192)
	if got, want := <-notes, (note{9, 4096, 8192}); got != want {
		t.Errorf("told of %v, want %v", got, want)
	}
	k.close(9, unix.O_WRONLY, true)
	k.close(9, unix.O_RDONLY, false)
	if got, want := <-notes, (note{9, 0, 0}); got != want {
		t.Errorf("told of %v, want %v", got, want)
	}
	close(stop)
	<-stopped
}

func TestCacheForgets(t *testing.T) {
	k := newCache(nil)
	for ino := range uint64(1000) {
		k.open(ino+1, unix.O_WRONLY|unix.O_CREAT)
		k.close(ino+1, unix.O_WRONLY, true)
	}
	if len(k.inodes) != 0 || len(k.queue) != 0 {
		t.Errorf("%d inodes and %d notifications are left of closed files", len(k.inodes), len(k.queue))
	}
}
