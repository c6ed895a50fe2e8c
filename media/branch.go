package media

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"coffer/chunkfmt"
)

// A branch of a volume is what was written to it apart from where it went on: its chunks, up to where the two part, and
// those behind that, in a place of its own. They are the volume's, with its keys and its identity in their headers; a
// small object beside them says which volume that is.
const branchBase = "branch"

// BranchName is the name of the object that says of which volume the one in that place is a branch.
func BranchName(place chunkfmt.VolumeID) string { return VolumePrefix(place) + branchBase }

// ParseBranchName is the reverse of BranchName.
func ParseBranchName(name string) (place chunkfmt.VolumeID, ok bool) {
	base, found := strings.CutSuffix(name, "/"+branchBase)
	b, err := hex.DecodeString(strings.TrimPrefix(base, volumesDir))
	if !found || err != nil || len(b) != len(place) {
		return place, false
	}
	copy(place[:], b)
	return place, BranchName(place) == name
}

// Origin says of which volume the one in a place is a branch: of itself as a rule.
func Origin(ctx context.Context, m Medium, place chunkfmt.VolumeID) (chunkfmt.VolumeID, error) {
	b, err := ReadAll(ctx, m, BranchName(place), 2*len(place))
	if errors.Is(err, ErrNotExist) {
		return place, nil
	}
	if err != nil {
		return place, fmt.Errorf("find out whose branch it is: %w", err)
	}
	var origin chunkfmt.VolumeID
	if n, err := hex.Decode(origin[:], b); err != nil || n != len(origin) {
		return place, fmt.Errorf("%s is %q, want a volume's name in hexadecimal", BranchName(place), b)
	}
	return origin, nil
}

// PutOrigin makes the volume in a place a branch of origin.
func PutOrigin(ctx context.Context, m Medium, place, origin chunkfmt.VolumeID) error {
	return m.Put(ctx, BranchName(place), []byte(origin.String()))
}

// At shows a volume's objects on m that lie in another place, a branch's, where they would lie by their names. In its own
// place it is m.
func At(m Medium, volume, place chunkfmt.VolumeID) Medium {
	if volume == place {
		return m
	}
	return &placed{m, VolumePrefix(volume), VolumePrefix(place)}
}

// placed is a medium on which one volume is elsewhere.
type placed struct {
	Medium
	from, to string
}

func (p *placed) name(name string) string {
	if rest, ok := strings.CutPrefix(name, p.from); ok {
		return p.to + rest
	}
	return name
}

func (p *placed) Create(ctx context.Context, name string) (Appender, error) {
	return p.Medium.Create(ctx, p.name(name))
}

func (p *placed) ReadAt(ctx context.Context, name string, b []byte, off int64) (int, error) {
	return p.Medium.ReadAt(ctx, p.name(name), b, off)
}

// List lists what is below the volume's prefix; of a shorter one, what is there.
func (p *placed) List(ctx context.Context, prefix string) ([]Info, error) {
	infos, err := p.Medium.List(ctx, p.name(prefix))
	if !strings.HasPrefix(prefix, p.from) {
		return infos, err
	}
	for i := range infos {
		infos[i].Name = p.from + strings.TrimPrefix(infos[i].Name, p.to)
	}
	return infos, err
}

func (p *placed) Remove(ctx context.Context, name string) error {
	return p.Medium.Remove(ctx, p.name(name))
}

func (p *placed) Put(ctx context.Context, name string, data []byte) error {
	return p.Medium.Put(ctx, p.name(name), data)
}

// Sync implements Syncer where the medium does.
func (p *placed) Sync(ctx context.Context, name string) error {
	if s, ok := p.Medium.(Syncer); ok {
		return s.Sync(ctx, p.name(name))
	}
	return nil
}

// Space implements Spacer where the medium does.
func (p *placed) Space(ctx context.Context) (Space, error) {
	if s, ok := p.Medium.(Spacer); ok {
		return s.Space(ctx)
	}
	return Space{}, errors.ErrUnsupported
}

// Lock implements Locker where the medium does; elsewhere nobody is kept away.
func (p *placed) Lock(ctx context.Context, name, holder string) (func() error, error) {
	if l, ok := p.Medium.(Locker); ok {
		return l.Lock(ctx, p.name(name), holder)
	}
	return func() error { return nil }, nil
}

// Linker is implemented by media that can have one object under two names.
type Linker interface {
	// Link gives an object that gets no more bytes a second name; removing one leaves the other. It is sure to exist after
	// a crash when Link has returned. It fails with ErrNotExist, or ErrExist if the second name is taken.
	Link(ctx context.Context, from, to string) error
}
