package channel

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"coffer/chunkfmt"
)

// Rights are what a client may do.
type Rights struct {
	// AppendOnly: nothing that was stored can be removed, replaced or passed over on the client's word.
	AppendOnly bool `json:"append_only,omitempty"`
	// MaxVolumes is how many volumes of its own the client may have; 0: one.
	MaxVolumes int `json:"max_volumes,omitempty"`
	// Quota is how many bytes the client's volumes may take on the medium; 0: no limit.
	Quota uint64 `json:"quota,omitempty"`
	// With are clients whose volumes are this one's too. One of them writes at a time.
	With []string `json:"with,omitempty"`
}

// Client is a machine that was let in.
type Client struct {
	Name    string    `json:"name"`
	Key     Key       `json:"key"`
	Since   time.Time `json:"since"`
	Revoked bool      `json:"revoked,omitempty"`
	Rights
	// Volumes are the client's, in hexadecimal. The first ones that it names become its own; it sees no others but those
	// of the clients in With.
	Volumes []string `json:"volumes,omitempty"`
	// Branches are branches of those.
	Branches []string `json:"branches,omitempty"`
}

// clone shares no slice with c.
func (c Client) clone() Client {
	c.Volumes, c.Branches, c.With = slices.Clone(c.Volumes), slices.Clone(c.Branches), slices.Clone(c.With)
	return c
}

// has says whether a volume, or a branch of one, is the client's own.
func (c *Client) has(id string) bool {
	return slices.Contains(c.Volumes, id) || slices.Contains(c.Branches, id)
}

type invitation struct {
	Name    string    `json:"name"`
	Expires time.Time `json:"expires"`
	Rights
}

// Registry keeps who may come in to one store: a folder with a file for each client and each open invitation. It
// holds no secret that lets anybody in. Methods may be called concurrently, also by several processes.
type Registry struct {
	dir     string
	mu      sync.Mutex // held while a client's file is changed
	clients sync.Map   // of clientFile by Key: those that were asked for
}

// OpenRegistry opens, or makes, the registry in dir.
func OpenRegistry(dir string) (*Registry, error) {
	r := &Registry{dir: dir}
	for _, d := range []string{r.clientPath(""), r.invitationPath("")} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			return nil, fmt.Errorf("open the list of clients: %w", err)
		}
	}
	return r, nil
}

func (r *Registry) clientPath(name string) string { return filepath.Join(r.dir, "clients", name) }
func (r *Registry) invitationPath(name string) string {
	return filepath.Join(r.dir, "invitations", name)
}

func fileOf(k Key) string { return hex.EncodeToString(k[:]) + ".json" }

// Invite makes an invitation for one client, which is good until expires. ErrTaken if there is a client of that name.
func (r *Registry) Invite(name string, rights Rights, expires time.Time) (Secret, error) {
	if !goodName(name) {
		return Secret{}, fmt.Errorf("client %.40q: %w: a name is letters, digits, dots and dashes, at most 64", name, ErrFormat)
	}
	clients, err := r.Clients()
	if err != nil {
		return Secret{}, err
	}
	for _, c := range clients {
		if c.Name == name && !c.Revoked {
			return Secret{}, fmt.Errorf("client %s: %w", name, ErrTaken)
		}
	}
	s := newSecret()
	if err := writeJSON(r.invitationPath(s.digest()), invitation{name, expires, rights}, writeNew); err != nil {
		return Secret{}, fmt.Errorf("keep the invitation: %w", err)
	}
	return s, nil
}

func goodName(name string) bool {
	bad := func(c rune) bool {
		return !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '.' || c == '-' || c == '_')
	}
	return name != "" && len(name) <= 64 && !strings.ContainsFunc(name, bad)
}

// Enroll lets the machine with that key in, for an invitation that was not used and has not expired at now. The same
// machine may show the one that let it in again, since an answer can be lost. ErrRefused else.
func (r *Registry) Enroll(s Secret, key Key, now time.Time) (Client, error) {
	path := r.invitationPath(s.digest())
	claim := path + "." + fileOf(key)
	// Only one can take the file away.
	err := os.Rename(path, claim)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return Client{}, fmt.Errorf("take the invitation: %w", err)
	}
	first := err == nil
	var i invitation
	err = readJSON(claim, &i)
	if errors.Is(err, fs.ErrNotExist) {
		return Client{}, fmt.Errorf("%w: the invitation was used, or never was one", ErrRefused)
	}
	if err != nil {
		return Client{}, fmt.Errorf("read the invitation: %w", err)
	}
	if now.After(i.Expires) {
		return Client{}, fmt.Errorf("%w: the invitation of %s has expired", ErrRefused, i.Name)
	}
	c := Client{Name: i.Name, Key: key, Since: now.UTC(), Rights: i.Rights}
	r.mu.Lock()
	defer r.mu.Unlock()
	var known Client
	switch err := readJSON(r.clientPath(fileOf(key)), &known); {
	case err == nil && !known.Revoked:
		return known, nil
	case err == nil && !first:
		return Client{}, fmt.Errorf("%w: %s was revoked", ErrRefused, known.Name)
	case err == nil:
		c.Volumes, c.Branches = known.Volumes, known.Branches // it was shut out, and is invited again
	case !errors.Is(err, fs.ErrNotExist):
		return Client{}, fmt.Errorf("find the client: %w", err)
	}
	if err := writeJSON(r.clientPath(fileOf(key)), c, writeFile); err != nil {
		return Client{}, fmt.Errorf("keep the client: %w", err)
	}
	return c, nil
}

// Client is the client with that key. ErrRefused if there is none, or it was revoked.
func (r *Registry) Client(key Key) (Client, error) {
	c, err := r.read(key)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return Client{}, fmt.Errorf("%w: no client has the key %v", ErrRefused, key)
	case err != nil:
		return Client{}, fmt.Errorf("find a client: %w", err)
	case c.Revoked:
		return c, fmt.Errorf("%w: %s was revoked", ErrRefused, c.Name)
	}
	return c, nil
}

// read reads a client's file if it is another than the last time: each request asks.
func (r *Registry) read(key Key) (Client, error) {
	path := r.clientPath(fileOf(key))
	info, err := os.Stat(path)
	if err != nil {
		return Client{}, err
	}
	last, ok := r.clients.Load(key)
	if was, _ := last.(clientFile); ok && os.SameFile(info, was.info) && info.ModTime().Equal(was.info.ModTime()) {
		return was.client.clone(), nil
	}
	var c Client
	if err := readJSON(path, &c); err != nil {
		return Client{}, err
	}
	r.clients.Store(key, clientFile{info, c.clone()})
	return c, nil
}

// clientFile is a client's file as it was when it was read. A change makes another file, see writeFile, so the file
// read is the one that info is of, or a later one, which is read again.
type clientFile struct {
	info   os.FileInfo
	client Client
}

// Clients lists all clients, also those that were revoked, by name.
func (r *Registry) Clients() ([]Client, error) {
	paths, err := filepath.Glob(r.clientPath("*.json"))
	if err != nil {
		return nil, fmt.Errorf("list the clients: %w", err)
	}
	var all []Client
	for _, path := range paths {
		var c Client
		if err := readJSON(path, &c); err != nil {
			return nil, fmt.Errorf("list the clients: %w", err)
		}
		all = append(all, c)
	}
	slices.SortFunc(all, func(a, b Client) int { return strings.Compare(a.Name, b.Name) })
	return all, nil
}

// Own says whether a volume is the client's. A client that may have one more gets it, unless it is another's: ErrRefused.
func (r *Registry) Own(c Client, v chunkfmt.VolumeID) error {
	id := v.String()
	if c.has(id) {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	all, err := r.Clients()
	if err != nil {
		return err
	}
	for _, other := range all {
		switch {
		case other.Key == c.Key:
			c = other
		case !other.has(id):
		case slices.Contains(c.With, other.Name):
			return nil
		default:
			return fmt.Errorf("%w: volume %v is not of %s", ErrRefused, v, c.Name)
		}
	}
	switch {
	case c.has(id):
		return nil
	case len(c.Volumes) >= max(1, c.MaxVolumes):
		return fmt.Errorf("%w: %s has %d volumes and may have no more, and %v is none of them", ErrRefused, c.Name, len(c.Volumes), v)
	}
	c.Volumes = append(c.Volumes, id)
	if err := writeJSON(r.clientPath(fileOf(c.Key)), c, writeFile); err != nil {
		return fmt.Errorf("give volume %v to %s: %w", v, c.Name, err)
	}
	return nil
}

// Revoke shuts a client out, also if it is in. ErrNoClient if none of that name is let in.
func (r *Registry) Revoke(name string) error {
	all, err := r.Clients()
	if err != nil {
		return err
	}
	for _, c := range all {
		if c.Name == name && !c.Revoked {
			c.Revoked = true
			if err := writeJSON(r.clientPath(fileOf(c.Key)), c, writeFile); err != nil {
				return fmt.Errorf("revoke %s: %w", name, err)
			}
			return nil
		}
	}
	return fmt.Errorf("%s: %w", name, ErrNoClient)
}

// maxBranches bounds how many branches a client can have made.
const maxBranches = 100

// Grant gives a branch to whoever has the volume, or branch, that it is one of. ErrRefused if anybody has it otherwise, or
// nobody the other, or there would be too many.
func (r *Registry) Grant(of, branch chunkfmt.VolumeID) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	all, err := r.Clients()
	if err != nil {
		return err
	}
	var owner *Client
	id := branch.String()
	for i := range all {
		c := &all[i]
		if c.has(of.String()) {
			owner = c
		} else if c.has(id) {
			return fmt.Errorf("%w: volume %v is another's", ErrRefused, branch)
		}
	}
	switch {
	case owner == nil:
		return fmt.Errorf("%w: nobody has volume %v", ErrRefused, of)
	case slices.Contains(owner.Branches, id):
		return nil
	case slices.Contains(owner.Volumes, id):
		return fmt.Errorf("%w: %v is a volume of %s, and no branch", ErrRefused, branch, owner.Name)
	case len(owner.Branches) >= maxBranches:
		return fmt.Errorf("%w: %s has %d branches", ErrRefused, owner.Name, len(owner.Branches))
	}
	owner.Branches = append(owner.Branches, id)
	if err := writeJSON(r.clientPath(fileOf(owner.Key)), owner, writeFile); err != nil {
		return fmt.Errorf("give branch %v to %s: %w", branch, owner.Name, err)
	}
	return nil
}

// Relatives are all volumes and branches of whoever has v, v among them.
func (r *Registry) Relatives(v chunkfmt.VolumeID) ([]chunkfmt.VolumeID, error) {
	all, err := r.Clients()
	if err != nil {
		return nil, err
	}
	for i := range all {
		if c := &all[i]; c.has(v.String()) {
			var ids []chunkfmt.VolumeID
			for _, text := range slices.Concat(c.Volumes, c.Branches) {
				b, err := hex.DecodeString(text)
				if err != nil || len(b) != len(v) {
					return nil, fmt.Errorf("client %s has volume %.40q: %w", c.Name, text, ErrFormat)
				}
				ids = append(ids, chunkfmt.VolumeID(b))
			}
			return ids, nil
		}
	}
	return []chunkfmt.VolumeID{v}, nil
}
