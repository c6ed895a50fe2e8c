package mover

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"coffer/chunkfmt"
	"coffer/media/cleaner"
)

// Removals keeps what clients have removed until it is off the medium, in a folder of the server's: for each volume the
// list that is being carried out, and those of append-only clients that wait for an administrator and their time of
// grace. It is used by the server's process, and by those of its administrator.
type Removals struct{ dir string }

// Names in the folder of a volume. What waits is named by the time of its arrival, in nanoseconds since 1970 by this
// machine's clock, after which its grace is counted.
const (
	dueList        = "list"     // to be carried out; a longer one takes its place
	doneList       = "done"     // was
	pendingPrefix  = "pending-" // not approved of
	approvedPrefix = "approved-"
	halfSuffix     = ".new" // half written
	mostPending    = 64
)

// OpenRemovals opens the folder, or makes it.
func OpenRemovals(dir string) (*Removals, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open the lists of removed groups: %w", err)
	}
	return &Removals{dir}, nil
}

func (r *Removals) path(v chunkfmt.VolumeID, name ...string) string {
	return filepath.Join(append([]string{r.dir, v.String()}, name...)...)
}

// Waiting is a list that waits.
type Waiting struct {
	Volume   chunkfmt.VolumeID
	Arrived  time.Time
	Approved bool
	Ranges   int64
	name     string
}

// ErrTooManyWaiting: a client has sent list after list, and nobody has approved of any.
var ErrTooManyWaiting = errors.New("too many removals wait for the server's administrator")

// take checks a list and keeps it under a name, on stable storage.
func (r *Removals) take(v chunkfmt.VolumeID, name string, list io.Reader) error {
	if err := os.MkdirAll(r.path(v), 0o700); err != nil {
		return fmt.Errorf("keep a list of removed groups: %w", err)
	}
	half := r.path(v, name+halfSuffix)
	err := writeListFile(half, v, list)
	if err == nil {
		err = os.Rename(half, r.path(v, name))
	}
	if err != nil {
		_ = os.Remove(half) // it is written over next time
		return fmt.Errorf("keep a list of removed groups: %w", err)
	}
	return r.sync(v)
}

func writeListFile(path string, v chunkfmt.VolumeID, list io.Reader) error {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	n, err := io.Copy(f, list)
	if err == nil {
		_, err = cleaner.OpenList(f, n, v)
	}
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// sync makes the names in the folder of a volume stable.
func (r *Removals) sync(v chunkfmt.VolumeID) error {
	var errs []error
	for _, dir := range []string{r.path(v), r.dir} {
		d, err := os.Open(dir)
		if err != nil {
			return fmt.Errorf("keep a list of removed groups: %w", err)
		}
		errs = append(errs, d.Sync(), d.Close())
	}
	return errors.Join(errs...)
}

// rename gives a list another name.
func (r *Removals) rename(v chunkfmt.VolumeID, from, to string) error {
	if err := os.Rename(r.path(v, from), r.path(v, to)); err != nil {
		return fmt.Errorf("keep a list of removed groups: %w", err)
	}
	return r.sync(v)
}

// wait keeps a list of an append-only client.
func (r *Removals) wait(v chunkfmt.VolumeID, now time.Time, list io.Reader) error {
	waiting, err := r.Waiting(v)
	if err != nil {
		return err
	}
	if len(waiting) >= mostPending {
		return ErrTooManyWaiting
	}
	return r.take(v, pendingPrefix+strconv.FormatInt(now.UnixNano(), 10), list)
}

// Waiting lists what waits of a volume, in the order of arrival.
func (r *Removals) Waiting(v chunkfmt.VolumeID) ([]Waiting, error) {
	entries, err := os.ReadDir(r.path(v))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("list what waits to be removed: %w", err)
	}
	var all []Waiting
	for _, e := range entries {
		w := Waiting{Volume: v, name: e.Name()}
		at, pending := strings.CutPrefix(e.Name(), pendingPrefix)
		if !pending {
			at, w.Approved = strings.CutPrefix(e.Name(), approvedPrefix)
		}
		ns, err := strconv.ParseInt(at, 10, 64)
		if !pending && !w.Approved || err != nil {
			continue
		}
		w.Arrived = time.Unix(0, ns)
		if info, err := e.Info(); err == nil {
			w.Ranges = cleaner.ListLen(info.Size())
		}
		all = append(all, w)
	}
	slices.SortFunc(all, func(a, b Waiting) int { return a.Arrived.Compare(b.Arrived) })
	return all, nil
}

// Approve lets what waits of a volume be removed once its time of grace is over, and says how many lists that are.
func (r *Removals) Approve(v chunkfmt.VolumeID) (n int, err error) {
	waiting, err := r.Waiting(v)
	if err != nil {
		return 0, err
	}
	for _, w := range waiting {
		if w.Approved {
			continue
		}
		if err := r.rename(v, w.name, approvedPrefix+strings.TrimPrefix(w.name, pendingPrefix)); err != nil {
			return n, err
		}
		n++
	}
	return n, nil
}

// release makes the last list due that is approved of and arrived before a time. Later lists of a volume have all that
// earlier ones have, so those go.
func (r *Removals) release(v chunkfmt.VolumeID, before time.Time) (bool, error) {
	waiting, err := r.Waiting(v)
	if err != nil {
		return false, err
	}
	last := -1
	for i, w := range waiting {
		if w.Approved && !w.Arrived.After(before) {
			last = i
		}
	}
	if last < 0 {
		return false, nil
	}
	if err := r.rename(v, waiting[last].name, dueList); err != nil {
		return false, err
	}
	for _, w := range waiting[:last] {
		if err := os.Remove(r.path(v, w.name)); err != nil {
			return true, fmt.Errorf("drop an old list of removed groups: %w", err)
		}
	}
	return true, nil
}

// due says whether there is a list to be carried out.
func (r *Removals) due(v chunkfmt.VolumeID) bool {
	_, err := os.Stat(r.path(v, dueList))
	return err == nil
}

// volumes are those that have a list, of whatever kind.
func (r *Removals) volumes() ([]chunkfmt.VolumeID, error) {
	entries, err := os.ReadDir(r.dir)
	if err != nil {
		return nil, fmt.Errorf("list what is to be removed: %w", err)
	}
	var all []chunkfmt.VolumeID
	for _, e := range entries {
		if v, err := chunkfmt.ParseVolumeID(e.Name()); err == nil {
			all = append(all, v)
		}
	}
	return all, nil
}

// carryOut cleans with the list that is due, and says what came of it and which chunks were written anew. A list that
// came meanwhile is due still.
func (r *Removals) carryOut(ctx context.Context, cfg cleaner.Config) (result cleaner.Result, anew []chunkfmt.ChunkID, err error) {
	f, err := os.Open(r.path(cfg.Volume, dueList))
	if err != nil {
		return result, nil, fmt.Errorf("read a list of removed groups: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	info, err := f.Stat()
	if err != nil {
		return result, nil, err
	}
	if cfg.Removed, err = cleaner.OpenList(f, info.Size(), cfg.Volume); err != nil {
		return result, nil, err
	}
	c := cleaner.New(cfg)
	if result, err = c.Run(ctx); err == nil {
		err = r.done(cfg.Volume, f)
	}
	return result, c.Anew(), err
}

// done puts a list away, unless another one has taken its place.
func (r *Removals) done(v chunkfmt.VolumeID, f *os.File) error {
	this, err := f.Stat()
	if err != nil {
		return err
	}
	now, err := os.Stat(r.path(v, dueList))
	if err != nil || !os.SameFile(this, now) {
		return err
	}
	return r.rename(v, dueList, doneList)
}

// plan says what a list that is not kept would give back.
func (r *Removals) plan(ctx context.Context, cfg cleaner.Config, list io.Reader) (_ cleaner.Result, err error) {
	f, err := NamelessFile(r.dir)
	if err != nil {
		return cleaner.Result{}, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	n, err := io.Copy(f, list)
	if err != nil {
		return cleaner.Result{}, fmt.Errorf("take in a list of removed groups: %w", err)
	}
	l, err := cleaner.OpenList(f, n, cfg.Volume)
	if err != nil {
		return cleaner.Result{}, err
	}
	cfg.Removed = l
	return cleaner.New(cfg).Plan(ctx)
}
