package scrub

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"coffer/chunkfmt"
	"coffer/media"
)

// pairs are the small objects that a store keeps twice, by their names.
var pairs = []struct {
	first, second string
	what          Structure
}{
	{media.StoreName, media.StoreCopyName, StoreFile},
	{media.KeyName, media.KeyCopyName, KeyFile},
	{media.PassphraseName, media.PassphraseCopyName, KeyFile},
}

// pairLimit bounds what is read of one, bytes.
const pairLimit = 1 << 20

func isPair(name string) bool {
	for _, p := range pairs {
		if name == p.first || name == p.second {
			return true
		}
	}
	return false
}

// pairs compares each with its copy. The store file has a CRC, so which of the two is damaged is known;
// of the sealed key only who opens it knows. A store that is served to other machines holds no key at all.
func (s *scrub) pairs(ctx context.Context) error {
	for _, p := range pairs {
		var content [2][]byte
		whole := 0
		var missing []Finding
		for i, name := range []string{p.first, p.second} {
			b, err := media.ReadAll(ctx, s.medium, name, pairLimit)
			s.bytes += int64(len(b))
			if err == nil && p.what == StoreFile {
				err = media.CheckStoreFile(b)
			}
			switch {
			case ctx.Err() != nil:
				return ctx.Err()
			case errors.Is(err, media.ErrNotExist):
				missing = append(missing, Finding{Object: name, What: p.what, Cause: "it is not there"})
			case err != nil:
				s.found(Finding{Object: name, Length: max(1, int64(len(b))), What: p.what, Cause: err.Error()})
			default:
				content[i] = b
				whole++
			}
			if err := s.pace(ctx, len(b)); err != nil {
				return err
			}
		}
		if len(missing) == 1 || p.what != KeyFile {
			for _, f := range missing {
				s.found(f)
			}
		}
		if whole == 2 && !bytes.Equal(content[0], content[1]) {
			for i, name := range []string{p.first, p.second} {
				other := []string{p.second, p.first}[i]
				s.found(Finding{Object: name, Length: int64(len(content[i])), What: p.what,
					Cause: fmt.Sprintf("it differs from %s: one of the two is damaged, and only the key tells which", other)})
			}
		}
	}
	return nil
}

// catalog checks a catalog file. Whatever is wrong with it, the catalog is made anew from the chunks.
func (s *scrub) catalog(ctx context.Context, v chunkfmt.VolumeID, info media.Info) error {
	for {
		w := s.window(ctx, info.Name)
		_, err := media.CheckCatalogFile(w, info.Size, v)
		if err == nil || errors.Is(err, media.ErrNotExist) {
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		// It may have been extended or replaced while it was read.
		now, err := s.stat(ctx, info.Name)
		if err != nil || now.Size == 0 {
			return err
		}
		if now.Size != info.Size {
			info = now
			continue
		}
		good, err := media.CheckCatalogFile(s.window(ctx, info.Name), info.Size, v)
		if err == nil {
			return nil
		}
		s.found(Finding{Object: info.Name, Offset: good, Length: max(1, info.Size-good), What: CatalogFile,
			Cause: err.Error() + "; the next mount makes it anew from the chunks"})
		return nil
	}
}

// stat gives the present size of an object; 0 if it is gone.
func (s *scrub) stat(ctx context.Context, name string) (media.Info, error) {
	list, err := s.medium.List(ctx, name)
	for _, info := range list {
		if info.Name == name {
			return info, nil
		}
	}
	return media.Info{Name: name}, err
}
