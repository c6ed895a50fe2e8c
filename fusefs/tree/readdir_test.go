package tree

import (
	"fmt"
	"sync"
	"testing"
)

// TestReadDirIsStable lists a directory again and again, in small bites, while
// entries come, go and are replaced, and while cuts move them into the index. What
// is there all the time is seen exactly once in each listing.
func TestReadDirIsStable(t *testing.T) {
	ctx := t.Context()
	r := newRig(t, nil)
	const stay = 700
	for k := range stay {
		for _, name := range []string{"stay", "goes"} {
			if _, err := r.Mknod(ctx, someone, RootIno, fmt.Sprint(name, k), 0o644, 0); err != nil {
				t.Fatal(err)
			}
		}
		if k == stay/2 {
			r.settle()
		}
	}
	over := make(chan struct{})
	var churn sync.WaitGroup
	churn.Go(func() {
		for k := 0; ; k++ {
			select {
			case <-over:
				return
			default:
			}
			n := k * 31 % stay
			name := fmt.Sprint("goes", n)
			switch k % 4 {
			case 0:
				_ = r.Unlink(ctx, RootIno, name)
			case 1:
				_, _ = r.Mknod(ctx, someone, RootIno, name, 0o644, 0)
			case 2: // takes the name of what stays, and its place
				_ = r.Rename(ctx, RootIno, name, RootIno, fmt.Sprint("stay", n), 0)
			case 3:
				_ = r.Rename(ctx, RootIno, name, RootIno, fmt.Sprint("goes", (n+1)%stay), 0)
			}
		}
	})
	churn.Go(func() { r.syncUntil(ctx, over) })
	for round := range 30 {
		seen := make(map[string]int)
		var after uint64
		for more := true; more; {
			more = false
			left := 10 + 37*round // the reply's buffer is full after so many
			err := r.ReadDir(ctx, RootIno, after, func(name string, d Dirent, _ func() (Attr, error)) bool {
				if d.Cookie <= after {
					t.Errorf("%s has cookie %d after %d", name, d.Cookie, after)
				}
				if left--; left < 0 {
					more = true
					return false
				}
				seen[name]++
				after = d.Cookie
				return true
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		for k := range stay {
			if n := seen[fmt.Sprint("stay", k)]; n != 1 {
				t.Fatalf("round %d: stay%d was listed %d times", round, k, n)
			}
		}
	}
	close(over)
	churn.Wait()
	r.close()
}
