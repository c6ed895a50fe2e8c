package keyring_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"coffer/media"
	"coffer/media/keyring"
	"coffer/media/mem"
)

const lowWork = 1

const classicKey = "AGE-SECRET-KEY-1GFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPQ4EGAEX\n"

func identity(t *testing.T) (keyring.Identity, keyring.Recipient) {
	t.Helper()
	i, err := keyring.NewIdentity()
	if err != nil {
		t.Fatal(err)
	}
	r, err := i.Recipient()
	if err != nil {
		t.Fatal(err)
	}
	return i, r
}

func passphrase(t *testing.T, text string) (keyring.Identity, keyring.Recipient) {
	t.Helper()
	i, err := keyring.PassphraseIdentity(text)
	if err != nil {
		t.Fatal(err)
	}
	r, err := keyring.PassphraseRecipient(text, lowWork)
	if err != nil {
		t.Fatal(err)
	}
	return i, r
}

func create(t *testing.T, to ...keyring.Recipient) (*mem.Medium, keyring.Master) {
	t.Helper()
	m, master := mem.New(0), keyring.NewMaster()
	if err := keyring.Create(t.Context(), m, master, to...); err != nil {
		t.Fatal(err)
	}
	return m, master
}

func wantOpen(t *testing.T, m media.Medium, want keyring.Master, ids ...keyring.Identity) {
	t.Helper()
	if got, err := keyring.Open(t.Context(), m, ids...); err != nil || got != want {
		t.Errorf("open: %v, the right key: %v", err, got == want)
	}
}

func wantRefused(t *testing.T, m media.Medium, want error, ids ...keyring.Identity) {
	t.Helper()
	if got, err := keyring.Open(t.Context(), m, ids...); !errors.Is(err, want) || got != (keyring.Master{}) {
		t.Errorf("open: %v, want %v", err, want)
	}
}

func TestOpen(t *testing.T) {
	alice, toAlice := identity(t)
	bob, toBob := identity(t)
	eve, _ := identity(t)
	word, _ := passphrase(t, "correct horse")
	m, master := create(t, toAlice, toBob)
	if err := keyring.Create(t.Context(), m, master, toAlice); !errors.Is(err, media.ErrExist) {
		t.Errorf("create again: %v, want ErrExist", err)
	}
	wantOpen(t, m, master, alice)
	wantOpen(t, m, master, bob)
	wantOpen(t, m, master, eve, word, bob)
	wantRefused(t, m, keyring.ErrWrongKey, eve)
	wantRefused(t, m, keyring.ErrWrongKey, word)
	wantRefused(t, m, keyring.ErrWrongKey)
	wantRefused(t, m, keyring.ErrWrongKey, keyring.Identity{})
	wantRefused(t, mem.New(0), keyring.ErrNoKey, alice)
}

func TestPassphrase(t *testing.T) {
	right, to := passphrase(t, "correct horse")
	wrong, _ := passphrase(t, "correct house")
	alice, toAlice := identity(t)
	m, master := create(t, to)
	wantOpen(t, m, master, right)
	wantRefused(t, m, keyring.ErrWrongKey, wrong)
	wantRefused(t, m, keyring.ErrWrongKey, alice)
	if err := keyring.Reseal(t.Context(), m, master, to, to); !errors.Is(err, keyring.ErrRecipient) {
		t.Errorf("seal to two passphrases: %v, want ErrRecipient", err)
	}
	if err := keyring.Reseal(t.Context(), m, master); !errors.Is(err, keyring.ErrRecipient) {
		t.Errorf("seal to nobody: %v, want ErrRecipient", err)
	}
	wantOpen(t, m, master, right)
	if err := keyring.Reseal(t.Context(), m, master, to, toAlice); err != nil {
		t.Fatal(err)
	}
	wantOpen(t, m, master, right)
	wantOpen(t, m, master, alice)
	if err := keyring.Reseal(t.Context(), m, master, toAlice); err != nil {
		t.Fatal(err)
	}
	wantOpen(t, m, master, alice)
	wantRefused(t, m, keyring.ErrWrongKey, right)
	for _, work := range []int{-1, 23, 64} {
		if _, err := keyring.PassphraseRecipient("x", work); !errors.Is(err, keyring.ErrRecipient) {
			t.Errorf("work factor %d: %v, want ErrRecipient", work, err)
		}
	}
	if _, err := keyring.PassphraseIdentity(""); err == nil {
		t.Errorf("took an empty passphrase")
	}
}

func TestRecipients(t *testing.T) {
	alice, toAlice := identity(t)
	bob, toBob := identity(t)
	// A classic key beside hybrid ones.
	classic, err := keyring.ParseIdentities([]byte(classicKey), nil)
	if err != nil {
		t.Fatal(err)
	}
	toClassic, err := classic[0].Recipient()
	if err != nil {
		t.Fatal(err)
	}
	m, master := create(t, toAlice)
	for _, r := range []keyring.Recipient{toBob, toClassic} {
		if err := keyring.AddRecipient(t.Context(), m, r, alice); err != nil {
			t.Fatal(err)
		}
	}
	if err := keyring.AddRecipient(t.Context(), m, toBob, alice); !errors.Is(err, keyring.ErrRecipient) {
		t.Errorf("add twice: %v, want ErrRecipient", err)
	}
	wantOpen(t, m, master, alice)
	wantOpen(t, m, master, bob)
	wantOpen(t, m, master, classic...)
	list, err := keyring.Recipients(t.Context(), m, bob)
	if err != nil || fmt.Sprint(list) != fmt.Sprint([]keyring.Recipient{toAlice, toBob, toClassic}) {
		t.Errorf("recipients: %v, %v", list, err)
	}
	parsed, err := keyring.ParseRecipient(" " + toAlice.String() + "\n")
	if err != nil {
		t.Fatal(err)
	}
	if err := keyring.RemoveRecipient(t.Context(), m, parsed, false, bob); err != nil {
		t.Fatal(err)
	}
	wantRefused(t, m, keyring.ErrWrongKey, alice)
	wantOpen(t, m, master, bob)
	if err := keyring.RemoveRecipient(t.Context(), m, toAlice, false, bob); !errors.Is(err, keyring.ErrRecipient) {
		t.Errorf("remove twice: %v, want ErrRecipient", err)
	}
	if err := keyring.RemoveRecipient(t.Context(), m, toClassic, false, bob); err != nil {
		t.Fatal(err)
	}
	if err := keyring.RemoveRecipient(t.Context(), m, toBob, false, bob); !errors.Is(err, keyring.ErrLockedOut) {
		t.Errorf("remove the last: %v, want ErrLockedOut", err)
	}
	wantOpen(t, m, master, bob)
	for _, text := range []string{"", "age1", "passphrase", "ssh-dss AAAA", toBob.String() + "\n" + toAlice.String()} {
		if _, err := keyring.ParseRecipient(text); !errors.Is(err, keyring.ErrRecipient) {
			t.Errorf("recipient %.20q: %v, want ErrRecipient", text, err)
		}
	}
}

// TestDamage spoils either copy, then both.
func TestDamage(t *testing.T) {
	alice, toAlice := identity(t)
	m, master := create(t, toAlice)
	whole, err := media.ReadAll(t.Context(), m, keyring.MasterName, 10_000)
	if err != nil {
		t.Fatal(err)
	}
	put := func(name string, b []byte) {
		if err := m.Put(t.Context(), name, b); err != nil {
			t.Fatal(err)
		}
	}
	for _, at := range []int{0, 30, len(whole) / 2, len(whole) - 1} {
		bad := bytes.Clone(whole)
		bad[at] ^= 4
		put(keyring.MasterName, bad)
		wantOpen(t, m, master, alice)
		put(keyring.CopyName, bad)
		if _, err := keyring.Open(t.Context(), m, alice); !errors.Is(err, keyring.ErrDamaged) && !errors.Is(err, keyring.ErrWrongKey) {
			t.Errorf("byte %d is bad: %v, want ErrDamaged", at, err)
		}
		put(keyring.MasterName, whole)
		wantOpen(t, m, master, alice)
		put(keyring.CopyName, whole)
	}
	put(keyring.MasterName, whole[:len(whole)-1])
	put(keyring.CopyName, nil)
	wantRefused(t, m, keyring.ErrDamaged, alice)
	if err := m.Remove(t.Context(), keyring.MasterName); err != nil {
		t.Fatal(err)
	}
	wantRefused(t, m, keyring.ErrDamaged, alice)
	put(keyring.CopyName, whole)
	wantOpen(t, m, master, alice)
}

const mendStep = 101

// TestMend damages either copy at some of its bytes, or takes it away.
func TestMend(t *testing.T) {
	id, to := identity(t)
	_, other := identity(t)
	m, _ := create(t, to, other)
	whole, err := media.ReadAll(t.Context(), m, keyring.MasterName, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	wantMended := func(name string) {
		t.Helper()
		if mended, err := keyring.Mend(t.Context(), m, id); err != nil || mended != name {
			t.Fatalf("mended %q, want %q; %v", mended, name, err)
		}
		for _, name := range []string{keyring.MasterName, keyring.CopyName} {
			if b, err := media.ReadAll(t.Context(), m, name, 1<<20); err != nil || !bytes.Equal(b, whole) {
				t.Fatalf("%s is not what it was, %v", name, err)
			}
		}
	}
	wantMended("")
	phase := rand.IntN(mendStep)
	t.Logf("every byte that is %d modulo %d", phase, mendStep)
	for _, name := range []string{keyring.MasterName, keyring.CopyName} {
		for i := phase; i < len(whole); i += mendStep {
			b := bytes.Clone(whole)
			b[i] ^= 1
			if err := m.Put(t.Context(), name, b); err != nil {
				t.Fatal(err)
			}
			wantMended(name)
		}
		if err := m.Remove(t.Context(), name); err != nil {
			t.Fatal(err)
		}
		wantMended(name)
	}
	stranger, _ := identity(t)
	if _, err := keyring.Mend(t.Context(), m, stranger); !errors.Is(err, keyring.ErrWrongKey) {
		t.Errorf("with another's key: %v", err)
	}
}
func TestRecoveryKey(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		m := keyring.NewMaster()
		text := m.Recovery()
		if !strings.HasPrefix(text, "coffer1-") || len(text) != len("coffer1")+8*8 {
			rt.Fatalf("recovery key %s", text)
		}
		for _, same := range []string{
			text, strings.ToUpper(text), strings.ReplaceAll(text, "-", ""), strings.ReplaceAll(text, "-", " "),
			" " + strings.ReplaceAll(text, "-", "-\r\n\t") + "\n", strings.Replace(text[8:], "1", "l", 1),
		} {
			if same[0] != 'c' && same[0] != 'C' && same[0] != ' ' || !strings.Contains(strings.ToLower(same), "coffer1") {
				same = "coffer1-" + same
			}
			if got, err := keyring.ParseRecovery(same); err != nil || got != m {
				rt.Errorf("recovery key %q: %v", same, err)
			}
		}
		// One letter wrong, anywhere, is found.
		at := rapid.IntRange(len("coffer1"), len(text)-1).Draw(rt, "at")
		wrong := rapid.SampledFrom([]byte("0123456789abcdefghjkmnpqrstvwxyz")).Draw(rt, "letter")
		if text[at] == '-' || text[at] == wrong {
			return
		}
		b := []byte(text)
		b[at] = wrong
		if _, err := keyring.ParseRecovery(string(b)); !errors.Is(err, keyring.ErrDamaged) {
			rt.Errorf("letter %d wrong: %v, want ErrDamaged", at, err)
		}
	})
}

func FuzzParseRecovery(f *testing.F) {
	f.Add(keyring.NewMaster().Recovery())
	f.Add("coffer1-")
	f.Add("coffer1-00000000000000000000000000000000000000000000000000000000")
	f.Fuzz(func(t *testing.T, text string) {
		m, err := keyring.ParseRecovery(text)
		if err != nil {
			return
		}
		if again, err := keyring.ParseRecovery(m.Recovery()); err != nil || again != m {
			t.Errorf("%q parses but does not return: %v", text, err)
		}
	})
}

// TestNothingShown looks for secrets in whatever the types and errors print.
func TestNothingShown(t *testing.T) {
	alice, toAlice := identity(t)
	m := keyring.NewMaster()
	key := m.Key()
	path := filepath.Join(t.TempDir(), "identity")
	if _, _, err := keyring.EnsureIdentityFile(path, nil); err != nil {
		t.Fatal(err)
	}
	file, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	secretLine := strings.Split(string(file), "\n")[2]
	_, notIdentity := keyring.ParseIdentities([]byte(secretLine[:len(secretLine)-1]), nil)
	_, notRecovery := keyring.ParseRecovery(m.Recovery()[:60])
	_, notRecipient := keyring.ParseRecipient(secretLine)

	var out bytes.Buffer
	log := slog.New(slog.NewJSONHandler(&out, nil))
	word, toWord := passphrase(t, "hunter2-hunter2")
	values := []any{m, &m, []keyring.Master{m}, struct{ K keyring.Master }{m}, alice, word, toAlice, toWord, notIdentity, notRecovery, notRecipient}
	for _, v := range values {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
			fmt.Fprintf(&out, verb+"\n", v)
		}
		log.Info("value", "v", v)
		b, err := json.Marshal(v)
		fmt.Fprintln(&out, string(b), err)
	}
	shown := out.String()
	for what, secret := range map[string]string{
		"the key in hex":   fmt.Sprintf("%x", key[:8]),
		"the key in bytes": strings.Trim(fmt.Sprint(key[:4]), "[]"),
		"the key in Go":    strings.TrimSuffix(fmt.Sprintf("%#v", key[:3])[len("[]byte{"):], "}"),
		"the recovery key": m.Recovery()[10:20],
		"an identity":      secretLine[30:60],
		"any identity":     "SECRET-KEY-PQ-1",
		"the passphrase":   "hunter2",
	} {
		if strings.Contains(strings.ToLower(shown), strings.ToLower(secret)) {
			t.Errorf("%s shows in\n%s", what, shown)
		}
	}
}

func TestMasterID(t *testing.T) {
	a, b := keyring.NewMaster(), keyring.NewMaster()
	again, err := keyring.ParseRecovery(a.Recovery())
	if err != nil || a.ID() != again.ID() || a.ID() == b.ID() || len(a.ID()) != 16 {
		t.Errorf("IDs %s, %s, %s; %v", a.ID(), again.ID(), b.ID(), err)
	}
}

func TestIdentityFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "config", "coffer", "identity")
	if _, err := keyring.ReadIdentityFile(path, nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("read nothing: %v, want ErrNotExist", err)
	}
	ids, made, err := keyring.EnsureIdentityFile(path, nil)
	if err != nil || !made || len(ids) != 1 {
		t.Fatalf("make: %v, %v, %v", ids, made, err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v; want 0600", info.Mode(), err)
	}
	if list, err := os.ReadDir(filepath.Dir(path)); err != nil || len(list) != 1 {
		t.Errorf("left beside the file: %v, %v", list, err)
	}
	to, err := ids[0].Recipient()
	if err != nil {
		t.Fatal(err)
	}
	m, master := create(t, to)
	again, made, err := keyring.EnsureIdentityFile(path, nil)
	if err != nil || made {
		t.Fatalf("read: %v, made %v", err, made)
	}
	wantOpen(t, m, master, again...)
	if err := os.WriteFile(path, []byte("nonsense"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := keyring.EnsureIdentityFile(path, nil); !errors.Is(err, keyring.ErrDamaged) {
		t.Errorf("read nonsense: %v, want ErrDamaged", err)
	}
}
