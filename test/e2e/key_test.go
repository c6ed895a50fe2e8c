package e2e

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"coffer/test/rig"
)

// secretFile writes a secret where only its owner reads it.
func secretFile(t *testing.T, path, secret string) string {
	t.Helper()
	rig.Must(t, os.WriteFile(path, []byte(secret), 0o600))
	return path
}

// publicKey is the public half of a user's own identity.
func publicKey(t *testing.T, u *rig.User) string {
	t.Helper()
	text, err := os.ReadFile(u.Identity())
	rig.Must(t, err)
	_, rest, ok := strings.Cut(string(text), "# public key: ")
	if !ok {
		t.Fatalf("the identity file does not say its public key")
	}
	key, _, _ := strings.Cut(rest, "\n")
	return key
}

// recipients are what key list says.
func recipients(t *testing.T, u *rig.User, store string, flags ...string) []string {
	t.Helper()
	var list []struct{ Recipient string }
	out := u.Run(t, append([]string{"key", "list", "--json", store}, flags...)...)
	rig.Must(t, json.Unmarshal([]byte(out), &list))
	var all []string
	for _, r := range list {
		all = append(all, r.Recipient)
	}
	return all
}

// sums are of all files below volumes/ in a store: what a change of keys must not touch.
func sums(t *testing.T, store string) string {
	t.Helper()
	var b strings.Builder
	for _, c := range rig.Chunks(t, store) {
		content, err := os.ReadFile(c)
		rig.Must(t, err)
		fmt.Fprintf(&b, "%s %x\n", c, sha256.Sum256(content))
	}
	return b.String()
}

// TestRecipients lets others open a store and shuts them out again: by an age key, an SSH key, a passphrase; with the
// recovery key when nothing else is left. What is stored is not touched.
func TestRecipients(t *testing.T) {
	dir := t.TempDir()
	alice, bob := rig.NewUser(t, filepath.Join(dir, "alice")), rig.NewUser(t, filepath.Join(dir, "bob"))
	p := place{alice, filepath.Join(dir, "store"), filepath.Join(dir, "mnt")}
	recovery := secretFile(t, filepath.Join(dir, "recovery"), p.Run(t, "init", p.store))
	bob.Run(t, "init", filepath.Join(dir, "bobs"))
	m := p.mount(t)
	rig.Must(t, os.WriteFile(m.Path("file"), []byte("content"), 0o644))
	m.Unmount(t)
	before := sums(t, p.store)
	opens := func(u *rig.User, flags ...string) {
		t.Helper()
		if got := u.Run(t, append([]string{"cat", p.store + ":/file"}, flags...)...); got != "content" {
			t.Errorf("the file holds %q", got)
		}
	}
	refused := func(u *rig.User, flags ...string) {
		t.Helper()
		if code, _, stderr := u.Try(t, append([]string{"cat", p.store + ":/file"}, flags...)...); code != exitWrongKey {
			t.Errorf("exit code %d, %s; want %d", code, stderr, exitWrongKey)
		}
	}
	first := secretFile(t, filepath.Join(dir, "first"), "correct horse\n")
	second := secretFile(t, filepath.Join(dir, "second"), "battery staple\n")
	ssh := filepath.Join(dir, "id_ed25519")
	rig.Output(t, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "carol@desk", "-f", ssh)

	refused(bob)
	p.Run(t, "key", "add", p.store, publicKey(t, bob))
	opens(bob)
	bob.Run(t, "key", "add", p.store, "--recipient-file", ssh+".pub")
	opens(alice, "--identity", ssh)
	bob.Run(t, "key", "add", p.store, "--new-passphrase-file", first)
	if list := recipients(t, bob, p.store); len(list) != 4 || list[3] != "passphrase" || !strings.HasSuffix(list[2], "carol@desk") {
		t.Errorf("the recipients are %.60q", list)
	}
	p.wantExit(t, exitUsage, "already", "key", "add", p.store, publicKey(t, bob))
	p.wantExit(t, exitUsage, "already", "key", "add", p.store, "--new-passphrase-file", second)
	p.wantExit(t, exitUsage, "public key", "key", "add", p.store, "nonsense")
	bob.Run(t, "key", "change", p.store, "--new-passphrase-command", "cat "+second)
	refused(bob, "--passphrase-file", first)
	opens(bob, "--passphrase-file", second)

	p.wantExit(t, exitUsage, "here", "key", "remove", p.store, publicKey(t, alice)[:40])
	p.wantExit(t, exitUsage, "meant", "key", "remove", p.store, "age1")
	p.Run(t, "key", "remove", p.store, publicKey(t, bob))
	refused(bob)
	p.Run(t, "key", "remove", p.store, "ssh-ed25519")
	refused(alice, "--identity", ssh)
	p.Run(t, "key", "remove", p.store, "passphrase")
	p.wantExit(t, exitUsage, "passphrase", "key", "change", p.store, "--new-passphrase-file", first)
	p.wantExit(t, exitUsage, "--force", "key", "remove", p.store, "age1")
	opens(alice)
	p.Run(t, "key", "remove", p.store, "age1", "--force")
	refused(alice)
	p.wantExit(t, exitWrongKey, "", "key", "add", p.store)
	other := secretFile(t, filepath.Join(dir, "other-recovery"), bob.Run(t, "key", "export", filepath.Join(dir, "bobs")))
	p.wantExit(t, exitWrongKey, "", "key", "add", p.store, "--recovery-key-file", other)
	refused(alice)
	p.Run(t, "key", "add", p.store, "--recovery-key-file", recovery)
	opens(alice)

	// Both copies of the sealed key are gone; what the recovery key opens proves it.
	rig.Must(t, os.RemoveAll(filepath.Join(p.store, "keys")))
	p.wantExit(t, exitWrongKey, "", "key", "add", p.store, "--recovery-key-file", other)
	bob.Run(t, "key", "add", p.store, "--recovery-key-file", recovery)
	opens(bob)
	refused(alice)
	if after := sums(t, p.store); after != before {
		t.Errorf("the chunks were\n%sand are\n%s", before, after)
	}
}

// TestRecipientsOfAServersStore changes who opens, on the client, what it stores on a server, which has no key.
func TestRecipientsOfAServersStore(t *testing.T) {
	dir := t.TempDir()
	server := rig.NewUser(t, filepath.Join(dir, "host")).Serve(t, filepath.Join(dir, "store"))
	u := rig.NewUser(t, filepath.Join(dir, "laptop"))
	address, mnt := "coffer://"+server.Address, filepath.Join(dir, "mnt")
	m := u.Mount(t, server.Invite(t, "laptop", server.Address), mnt)
	rig.Must(t, os.WriteFile(m.Path("file"), []byte("content"), 0o644))
	m.Unmount(t)
	ssh := filepath.Join(dir, "id_rsa")
	rig.Output(t, "ssh-keygen", "-q", "-t", "rsa", "-N", "", "-C", "", "-f", ssh)
	recovery := secretFile(t, filepath.Join(dir, "recovery"), u.Run(t, "key", "export", address))
	u.Run(t, "key", "add", address, "--recipient-file", ssh+".pub")
	if list := recipients(t, u, address, "--identity", ssh); len(list) != 2 || !strings.HasPrefix(list[1], "ssh-rsa ") {
		t.Errorf("the recipients are %.60q", list)
	}
	u.Run(t, "key", "remove", address, "age1", "--identity", ssh)
	place{u, address, mnt}.wantExit(t, exitWrongKey, "", "cat", address+":/file")
	u.Run(t, "key", "add", address, "--recovery-key-file", recovery)
	if got := u.Run(t, "cat", address+":/file"); got != "content" {
		t.Errorf("the file holds %q", got)
	}
	if out, err := exec.Command("find", server.Store, "-name", "*.age").CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("the server has keys: %s, %v", out, err)
	}
}

// TestKillWhileKeysChange kills commands that change the recipients, COFFER_KEY_KILLS of them at random instants, and
// wants the store to open each time for whoever was and stays a recipient.
func TestKillWhileKeysChange(t *testing.T) {
	seed := uint64(rig.Count(t, "COFFER_SEED", int(time.Now().UnixNano()&0xffffffff)))
	t.Logf("COFFER_SEED=%d", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	p := newPlace(t)
	bob := rig.NewUser(t, filepath.Join(filepath.Dir(p.store), "bob"))
	bob.Run(t, "init", filepath.Join(filepath.Dir(p.store), "bobs"))
	key := publicKey(t, bob)
	begun := time.Now()
	p.Run(t, "key", "add", p.store, key)
	usual := time.Since(begun)
	p.Run(t, "key", "remove", p.store, key)
	for range rig.Count(t, "COFFER_KEY_KILLS", 10) {
		list := recipients(t, p.User, p.store)
		args := []string{"key", "add", p.store, key}
		if len(list) == 2 {
			args[1] = "remove"
		}
		cmd := p.Coffer(args...)
		rig.Must(t, cmd.Start())
		timer := time.AfterFunc(time.Duration(rng.Int64N(int64(usual*5/4))), func() { cmd.Process.Kill() })
		err := cmd.Wait()
		timer.Stop()
		now := recipients(t, p.User, p.store)
		if err == nil && len(now) == len(list) || len(now) < 1 || len(now) > 2 {
			t.Fatalf("coffer %.60q: %v; the recipients were %.60q and are %.60q", args, err, list, now)
		}
		for _, name := range []string{"keys/master.age", "keys/copy/master.age"} {
			// Each copy by itself.
			alone := filepath.Join(t.TempDir(), "alone")
			rig.Must(t, os.MkdirAll(filepath.Join(alone, "keys"), 0o700))
			rig.CopyTree(t, filepath.Join(p.store, name), filepath.Join(alone, "keys", "master.age"))
			recipients(t, p.User, alone)
		}
	}
}
