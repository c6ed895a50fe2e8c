package channel

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"coffer/chunkfmt"
)

func newRegistry(t *testing.T) *Registry {
	t.Helper()
	r, err := OpenRegistry(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return r
}

var noon = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)

func invite(t *testing.T, r *Registry, name string, rights Rights) Secret {
	t.Helper()
	s, err := r.Invite(name, rights, noon.Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func enroll(t *testing.T, r *Registry, name string, key Key, rights Rights) Client {
	t.Helper()
	c, err := r.Enroll(invite(t, r, name, rights), key, noon)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestInvitation(t *testing.T) {
	r := newRegistry(t)
	s := invite(t, r, "laptop", Rights{AppendOnly: true, Quota: 7})
	if _, err := r.Client(Key{1}); !errors.Is(err, ErrRefused) {
		t.Errorf("before: %v", err)
	}
	c, err := r.Enroll(s, Key{1}, noon)
	if err != nil || c.Name != "laptop" || !c.AppendOnly || c.Quota != 7 {
		t.Fatalf("%+v, %v", c, err)
	}
	// Its answer may have been lost.
	if again, err := r.Enroll(s, Key{1}, noon.Add(time.Minute)); err != nil || again.Since != c.Since {
		t.Errorf("the same machine again: %+v, %v", again, err)
	}
	if _, err := r.Enroll(s, Key{2}, noon); !errors.Is(err, ErrRefused) {
		t.Errorf("another machine: %v", err)
	}
	if _, err := r.Invite("laptop", Rights{}, noon); !errors.Is(err, ErrTaken) {
		t.Errorf("a second of that name: %v", err)
	}
	for _, name := range []string{"", "a/b", "..x y", strings.Repeat("x", 65)} {
		if _, err := r.Invite(name, Rights{}, noon); !errors.Is(err, ErrFormat) {
			t.Errorf("name %q: %v", name, err)
		}
	}
	late := invite(t, r, "late", Rights{})
	if _, err := r.Enroll(late, Key{3}, noon.Add(2*time.Hour)); !errors.Is(err, ErrRefused) {
		t.Errorf("too late: %v", err)
	}
}

// TestInvitationLetsOneIn has many machines show one invitation at once.
func TestInvitationLetsOneIn(t *testing.T) {
	r := newRegistry(t)
	s := invite(t, r, "one", Rights{})
	var in atomic.Int32
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			if _, err := r.Enroll(s, Key{byte(i + 1)}, noon); err == nil {
				in.Add(1)
			} else if !errors.Is(err, ErrRefused) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if in.Load() != 1 {
		t.Errorf("%d got in", in.Load())
	}
}

func TestRevoke(t *testing.T) {
	r := newRegistry(t)
	s := invite(t, r, "laptop", Rights{})
	c, err := r.Enroll(s, Key{1}, noon)
	if err := errors.Join(err, r.Own(c, chunkfmt.VolumeID{1})); err != nil {
		t.Fatal(err)
	}
	if err := r.Revoke("laptop"); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Client(Key{1}); !errors.Is(err, ErrRefused) {
		t.Errorf("after: %v", err)
	}
	if err := r.Revoke("laptop"); !errors.Is(err, ErrNoClient) {
		t.Errorf("again: %v", err)
	}
	if _, err := r.Enroll(s, Key{1}, noon); !errors.Is(err, ErrRefused) {
		t.Errorf("with the invitation that it came in with: %v", err)
	}
	// Invited again, it finds what it had.
	back := enroll(t, r, "laptop", Key{1}, Rights{Quota: 5})
	if back.Revoked || back.Quota != 5 || len(back.Volumes) != 1 {
		t.Errorf("%+v", back)
	}
}

func TestOwn(t *testing.T) {
	r := newRegistry(t)
	a, b := enroll(t, r, "a", Key{1}, Rights{}), enroll(t, r, "b", Key{2}, Rights{})
	mine, other := chunkfmt.VolumeID{1}, chunkfmt.VolumeID{2}
	if err := r.Own(a, mine); err != nil {
		t.Fatal(err)
	}
	if err := r.Own(b, mine); !errors.Is(err, ErrRefused) {
		t.Errorf("another's: %v", err)
	}
	// What a request was made with may be older than what is known by now.
	if err := errors.Join(r.Own(a, mine), r.Own(b, other), r.Own(b, other)); err != nil {
		t.Error(err)
	}
	if err := r.Own(a, chunkfmt.VolumeID{3}); !errors.Is(err, ErrRefused) {
		t.Errorf("a second one: %v", err)
	}
	c := enroll(t, r, "c", Key{3}, Rights{With: []string{"a"}})
	if err := r.Own(c, mine); err != nil {
		t.Errorf("one that is shared: %v", err)
	}
	if err := r.Own(c, other); !errors.Is(err, ErrRefused) {
		t.Errorf("one that is not: %v", err)
	}
}

// TestNoSecretIsKept looks for invitations in the server's files.
func TestNoSecretIsKept(t *testing.T) {
	r := newRegistry(t)
	s := invite(t, r, "x", Rights{})
	files := 0
	err := filepath.WalkDir(r.dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		files++
		b, err := os.ReadFile(path)
		invitation := Address{Host: "h", Invitation: &Invitation{Secret: s}}
		if strings.Contains(path+string(b), invitation.Invite()[len(invitation.Invite())-20:]) || strings.Contains(string(b), string(s[:])) {
			t.Errorf("%s holds the secret", path)
		}
		return err
	})
	if err != nil || files == 0 {
		t.Errorf("%d files, %v", files, err)
	}
}

// TestGrant: a branch is whose the volume is, and nobody else's; it counts for no volume of its own.
func TestGrant(t *testing.T) {
	r := newRegistry(t)
	a := enroll(t, r, "a", Key{1}, Rights{MaxVolumes: 2})
	b := enroll(t, r, "b", Key{2}, Rights{With: []string{"a"}})
	c := enroll(t, r, "c", Key{3}, Rights{})
	first, second, branch, other := chunkfmt.VolumeID{1}, chunkfmt.VolumeID{2}, chunkfmt.VolumeID{3}, chunkfmt.VolumeID{4}
	if err := errors.Join(r.Own(a, first), r.Own(c, other)); err != nil {
		t.Fatal(err)
	}
	for _, v := range []chunkfmt.VolumeID{other, first} {
		if err := r.Grant(first, v); !errors.Is(err, ErrRefused) {
			t.Errorf("volume %v as a branch: %v, want ErrRefused", v, err)
		}
	}
	if err := r.Grant(chunkfmt.VolumeID{9}, branch); !errors.Is(err, ErrRefused) {
		t.Errorf("a branch of nothing: %v, want ErrRefused", err)
	}
	if err := errors.Join(r.Grant(first, branch), r.Grant(first, branch), r.Grant(branch, chunkfmt.VolumeID{5})); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(r.Own(a, branch), r.Own(b, branch)); err != nil {
		t.Errorf("the branch for those who have the volume: %v", err)
	}
	if err := r.Own(c, branch); !errors.Is(err, ErrRefused) {
		t.Errorf("the branch for another: %v, want ErrRefused", err)
	}
	// A branch does not take the place of the second volume; a third there is not.
	if err := r.Own(a, second); err != nil {
		t.Error(err)
	}
	if err := r.Own(a, chunkfmt.VolumeID{6}); !errors.Is(err, ErrRefused) {
		t.Errorf("a third volume: %v, want ErrRefused", err)
	}
	all, err := r.Relatives(branch)
	if want := []chunkfmt.VolumeID{first, second, branch, {5}}; err != nil || !slices.Equal(all, want) {
		t.Errorf("relatives %v, %v; want %v", all, err, want)
	}
}

// TestChangedElsewhere: what another process does to a client counts from the next request on, and what is done with an
// answer changes no other.
func TestChangedElsewhere(t *testing.T) {
	r := newRegistry(t)
	enroll(t, r, "laptop", Key{1}, Rights{MaxVolumes: 10})
	other, err := OpenRegistry(r.dir)
	if err != nil {
		t.Fatal(err)
	}
	for n := range 5 {
		c, err := r.Client(Key{1})
		if err != nil || len(c.Volumes) != n {
			t.Fatalf("after %d changes: %+v, %v", n, c, err)
		}
		if n > 0 {
			c.Volumes[0] = "another"
		}
		if again, err := r.Client(Key{1}); err != nil || n > 0 && again.Volumes[0] == "another" {
			t.Fatalf("%+v, %v", again, err)
		}
		if err := other.Own(c, chunkfmt.VolumeID{byte(n)}); err != nil {
			t.Fatal(err)
		}
	}
	if err := other.Revoke("laptop"); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Client(Key{1}); !errors.Is(err, ErrRefused) {
		t.Errorf("revoked elsewhere: %v", err)
	}
}
