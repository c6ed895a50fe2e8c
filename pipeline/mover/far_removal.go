package mover

import (
	"context"
	"errors"
	"io"
	"net/http"
	"sync"
	"time"

	"coffer/media/cleaner"
	"coffer/media/remote"
	"coffer/pipeline/channel"
)

// farCleaning takes off the medium what the clients of one volume have removed.
type farCleaning struct {
	wg sync.WaitGroup

	mu      sync.Mutex // guards what follows; nothing is locked after it
	stop    context.CancelFunc
	running bool
	again   bool // a list came while another one was carried out
	last    remote.Removal
	tried   time.Time // when one that was due from before was begun
}

// errNotWriter: who removes groups is not who writes the volume.
var errNotWriter = errors.New("the volume is not being written by this client")

// remove takes a list of a client's. It is carried out at once, unless the client may only append.
func (v *farVolume) remove(r *http.Request, list io.Reader, dryRun bool) (remote.Removal, error) {
	c := channel.ClientOf(r.Context())
	if dryRun {
		result, err := v.d.o.Removals.plan(r.Context(), v.cleanerConfig(), list)
		return removalOf(result), err
	}
	// The lease outlives the server, and the client's pipe does not: its list may come first.
	if writes, err := v.lease.isOf(c, v.d.o.Clock()); err != nil || !writes {
		return remote.Removal{}, errors.Join(err, errNotWriter)
	}
	if c.AppendOnly {
		now := v.d.o.Clock()
		if err := v.d.o.Removals.wait(v.id, now, list); err != nil {
			return remote.Removal{}, err
		}
		v.d.o.Log.Warn("an append-only client has removed groups, which waits for approval", "client", c.Name, "volume", v.id.String())
		return remote.Removal{Until: now.Add(v.d.o.Grace)}, nil
	}
	if err := v.d.o.Removals.take(v.id, dueList, list); err != nil {
		return remote.Removal{}, err
	}
	v.clean()
	return v.removal(r), nil
}

// removal says what became of the last list.
func (v *farVolume) removal(*http.Request) remote.Removal {
	f := &v.cleaning
	f.mu.Lock()
	defer f.mu.Unlock()
	last := f.last
	last.Running = f.running
	return last
}

func removalOf(r cleaner.Result) remote.Removal {
	return remote.Removal{Chunks: r.Chunks, Groups: r.Groups, Bytes: r.Bytes, Left: r.Left}
}

func (v *farVolume) cleanerConfig() cleaner.Config {
	return cleaner.Config{Medium: v.medium, Volume: v.origin, Catalog: v.catalog, Log: v.d.o.Log}
}

// clean has the list that is due carried out. The volume is open.
func (v *farVolume) clean() {
	f := &v.cleaning
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.running {
		f.again = true
		return
	}
	ctx, stop := context.WithCancel(v.d.life)
	f.running, f.stop, f.last = true, stop, remote.Removal{}
	f.wg.Go(func() {
		defer stop()
		for {
			last := v.cleanOnce(ctx)
			f.mu.Lock()
			if f.last = last; !f.again || ctx.Err() != nil {
				f.running, f.again = false, false
				f.mu.Unlock()
				return
			}
			f.again = false
			f.mu.Unlock()
		}
	})
}

func (v *farVolume) cleanOnce(ctx context.Context) remote.Removal {
	cfg := v.cleanerConfig()
	var told int64 // of the bytes that came back, to the quota
	cfg.Progress = func(r cleaner.Result) {
		if q := v.quota.Load(); q != nil {
			q.used.Add(told - r.Bytes)
		}
		told = r.Bytes
		v.cleaning.mu.Lock()
		v.cleaning.last = removalOf(r)
		v.cleaning.mu.Unlock()
	}
	result, anew, err := v.d.o.Removals.carryOut(ctx, cfg)
	last := removalOf(result)
	last.Anew = anew
	if err != nil {
		last.Error = err.Error()
		if ctx.Err() == nil {
			v.d.o.Log.Error("removed groups are not taken off the medium", "volume", v.id.String(), "cause", err)
		}
		return last
	}
	v.d.o.Log.Info("removed groups are taken off the medium", "volume", v.id.String(), "chunks", last.Chunks, "bytes", last.Bytes)
	return last
}

// stopCleaning ends what is being carried out; the list stays due.
func (v *farVolume) stopCleaning() {
	f := &v.cleaning
	f.mu.Lock()
	if f.stop != nil {
		f.stop()
	}
	f.mu.Unlock()
	f.wg.Wait()
}

// lookAfterRemovals carries out what is due: of a process that has ended before it was done, and of append-only clients
// once it was approved of and its time of grace is over.
func (d *Destination) lookAfterRemovals(ctx context.Context) {
	if d.o.Removals == nil {
		return
	}
	volumes, err := d.o.Removals.volumes()
	for _, id := range volumes {
		_, failed := d.o.Removals.release(id, d.o.Clock().Add(-d.o.Grace))
		err = errors.Join(err, failed)
		if !d.o.Removals.due(id) {
			continue
		}
		v, failed := d.ofID(id)
		if failed == nil {
			failed = v.open(ctx)
		}
		if failed == nil {
			v.retry()
		}
		err = errors.Join(err, failed)
	}
	if err != nil && ctx.Err() == nil {
		d.o.Log.Error("removals are not carried out", "cause", err)
	}
}

// retryTime is after which a removal is carried out again that failed.
const retryTime = time.Minute

// retry is clean, but for one that has failed just now.
func (v *farVolume) retry() {
	f := &v.cleaning
	f.mu.Lock()
	now := v.d.o.Clock()
	wait := f.running || f.last.Error != "" && now.Sub(f.tried) < retryTime
	if !wait {
		f.tried = now
	}
	f.mu.Unlock()
	if !wait {
		v.clean()
	}
}
