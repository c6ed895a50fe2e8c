package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/spf13/pflag"

	"coffer/chunkfmt"
	"coffer/media"
	"coffer/media/dir"
	"coffer/media/spool"
	"coffer/pipeline/forward"
	"coffer/pipeline/mover"
)

// spoolOptions say whether a local medium stands in front of a server.
type spoolOptions struct {
	dir      folder
	limit    byteSize
	takeOver bool
}

func (o *spoolOptions) add(flags *pflag.FlagSet) {
	o.limit = 10 << 30
	flags.Var(&o.dir, "spool", "`directory` on this machine in front of a server: what is there is stable, and goes on in the background")
	flags.Var(&o.limit, "spool-limit", "`size` of the spool at which writers wait for the server, like 10G")
	flags.BoolVar(&o.takeOver, "take-over", false, "write although another machine has the volume; what it has not sent yet becomes a branch")
}

// folder is a flag's path, made absolute: the process in the background works elsewhere.
type folder string

// String implements pflag.Value.
func (f *folder) String() string { return string(*f) }

// Set implements pflag.Value.
func (f *folder) Set(path string) error {
	abs, err := filepath.Abs(path)
	*f = folder(abs)
	return err
}

// Type implements pflag.Value.
func (f *folder) Type() string { return "directory" }

// spoolFile keeps in the state folder of a volume where its spool is, so that what is in it goes on also when nobody
// says so.
type spoolFile struct {
	Dir   string `json:"dir"`
	Limit int64  `json:"limit"`
}

func spoolFilePath(state string) string { return filepath.Join(state, "spool") }

func readSpoolFile(state string) (kept spoolFile, err error) {
	b, err := os.ReadFile(spoolFilePath(state))
	if err == nil {
		err = json.Unmarshal(b, &kept)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return spoolFile{}, nil
	}
	if err != nil {
		return kept, fmt.Errorf("find out where the spool is: %w", err)
	}
	return kept, nil
}

func (f spoolFile) write(state string) error {
	m, err := dir.Open(state, dir.Options{})
	if err != nil {
		return err
	}
	b, err := json.Marshal(f)
	if err == nil {
		err = m.Put(context.Background(), "spool", b)
	}
	if err = errors.Join(err, m.Close()); err != nil {
		return fmt.Errorf("keep where the spool is: %w", err)
	}
	return nil
}

// openSpool is the spool of a volume. All methods may be called on nil, which is none.
type openSpool struct {
	spoolFile
	state   string
	catalog string
	near    *spool.Near
	wanted  bool // and not only there because of what it holds
}

// open opens the spool that is asked for, or the one that has something of the volume still; nil: there is none.
func (o *spoolOptions) open(ctx context.Context, state string, origin, v chunkfmt.VolumeID) (*openSpool, error) {
	kept, err := readSpoolFile(state)
	if err != nil {
		return nil, err
	}
	asked := spoolFile{Dir: string(o.dir), Limit: int64(o.limit)}
	if kept.Dir != "" && kept.Dir != asked.Dir {
		left, err := kept.open(ctx, origin, v, false)
		if errors.Is(err, media.ErrNotExist) {
			return nil, fmt.Errorf("%w: the spool of the volume, %s, is not there: is its disk mounted? Without it, remove %s",
				err, kept.Dir, spoolFilePath(state))
		}
		if err != nil {
			return nil, err
		}
		if usage, _ := left.near.Usage(); usage.Used > 0 {
			if asked.Dir != "" {
				return nil, errors.Join(fmt.Errorf("%w: %s of the volume is in the spool %s still: mount with that one until it is empty",
					errUsage, humanize.IBytes(uint64(usage.Used)), kept.Dir), left.close())
			}
			left.state = state
			return left, nil
		}
		if err := left.close(); err != nil {
			return nil, err
		}
	}
	if asked.Dir == "" {
		return nil, nil
	}
	s, err := asked.open(ctx, origin, v, true)
	if err != nil {
		return nil, err
	}
	s.state, s.wanted = state, true
	if asked != kept {
		err = asked.write(state)
	}
	return s, err
}

func (f spoolFile) open(ctx context.Context, origin, v chunkfmt.VolumeID, create bool) (*openSpool, error) {
	m, err := dir.Open(f.Dir, dir.Options{Create: create})
	if err != nil {
		return nil, err
	}
	near, err := spool.OpenNear(ctx, media.At(m, origin, v), origin, f.Limit)
	if errors.Is(err, spool.ErrLimit) {
		err = fmt.Errorf("%w: %w", errUsage, err)
	}
	if err != nil {
		return nil, errors.Join(err, m.Close())
	}
	return &openSpool{spoolFile: f, near: near, catalog: catalogPath(f.Dir, v)}, nil
}

// lingerTime is for how long an unmount lets what is in the spool go on.
const lingerTime = 10 * time.Second

func (s *openSpool) options() *mover.Spool {
	if s == nil {
		return nil
	}
	return &mover.Spool{Near: s.near, CatalogPath: s.catalog, Linger: lingerTime}
}

// ended forgets a spool that is empty and that nobody asked for.
func (s *openSpool) ended(f *forward.Forwarder) error {
	if s.wanted || f.Err() != nil {
		return nil
	}
	return os.Remove(spoolFilePath(s.state))
}

func (s *openSpool) close() error {
	if s == nil {
		return nil
	}
	return s.near.Close()
}

// spoolStatus is what status --json prints of a mount's spool.
type spoolStatus struct {
	Dir string `json:"dir"`
	forward.Status
}

// spoolStatus says what of a volume is in its spool; nil without one.
func (v *volume) spoolStatus() *spoolStatus {
	f := v.source.Forwarder()
	if f == nil {
		return nil
	}
	return &spoolStatus{Dir: v.opened.spool.Dir, Status: f.Status()}
}
