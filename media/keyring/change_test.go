package keyring_test

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"syscall"
	"testing"

	"coffer/media"
	"coffer/media/faulty"
	"coffer/media/keyring"
	"coffer/media/mem"
)

// someone has an identity and is a recipient.
type someone struct {
	name string
	id   keyring.Identity
	to   keyring.Recipient
}

// the answers with one recipient.
func the(r keyring.Recipient) func() (keyring.Recipient, error) {
	return func() (keyring.Recipient, error) { return r, nil }
}

func wantRecipients(t *testing.T, m media.Medium, by keyring.Identity, want ...keyring.Recipient) {
	t.Helper()
	list, err := keyring.Recipients(t.Context(), m, by)
	if err != nil || fmt.Sprint(list) != fmt.Sprint(want) {
		t.Errorf("recipients: %.300v, %v; want %.300v", list, err, want)
	}
}

// TestPassphraseBesideKeys changes each kind of recipient by means of the other.
func TestPassphraseBesideKeys(t *testing.T) {
	alice, toAlice := identity(t)
	bob, toBob := identity(t)
	word, toWord := passphrase(t, "correct horse")
	other, toOther := passphrase(t, "battery staple")
	m, master := create(t, toAlice)
	do := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	ctx := t.Context()
	if err := keyring.ChangePassphrase(ctx, m, the(toWord), alice); !errors.Is(err, keyring.ErrRecipient) {
		t.Errorf("change a passphrase that is not there: %v", err)
	}
	do(keyring.AddRecipient(ctx, m, toWord, alice))
	if err := keyring.AddRecipient(ctx, m, toOther, alice); !errors.Is(err, keyring.ErrRecipient) {
		t.Errorf("add a second passphrase: %v", err)
	}
	do(keyring.AddRecipient(ctx, m, toBob, word))
	wantRecipients(t, m, word, toAlice, toBob, toWord)
	for _, id := range []keyring.Identity{alice, bob, word, master.Identity()} {
		wantOpen(t, m, master, id)
	}
	do(keyring.ChangePassphrase(ctx, m, the(toOther), alice))
	wantRefused(t, m, keyring.ErrWrongKey, word)
	do(keyring.RemoveRecipient(ctx, m, toAlice, false, other))
	wantRefused(t, m, keyring.ErrWrongKey, alice)
	do(keyring.RemoveRecipient(ctx, m, toBob, false, other))
	wantRecipients(t, m, other, toOther)
	do(keyring.AddRecipient(ctx, m, toAlice, other))
	do(keyring.RemoveRecipient(ctx, m, toOther, false, alice))
	wantRefused(t, m, keyring.ErrWrongKey, other)
	wantRecipients(t, m, alice, toAlice)
	if left, err := m.List(ctx, ""); err != nil || len(left) != 2 {
		t.Errorf("left in the store: %v, %v; want the two copies for public keys", left, err)
	}
}

// TestPassphraseStaysAsItIs: a copy that rotted is not put in the place of the good one.
func TestPassphraseStaysAsItIs(t *testing.T) {
	alice, toAlice := identity(t)
	_, toBob := identity(t)
	word, toWord := passphrase(t, "correct horse")
	m, master := create(t, toAlice, toWord)
	if err := m.Put(t.Context(), keyring.PassphraseName, []byte("rotten")); err != nil {
		t.Fatal(err)
	}
	if err := keyring.AddRecipient(t.Context(), m, toBob, alice); err != nil {
		t.Fatal(err)
	}
	wantOpen(t, m, master, word)
}

// TestNotLockedOut removes what opens the store, and wants to be told.
func TestNotLockedOut(t *testing.T) {
	alice, toAlice := identity(t)
	bob, toBob := identity(t)
	m, master := create(t, toAlice, toBob)
	remove := func(r keyring.Recipient, force bool, ids ...keyring.Identity) error {
		return keyring.RemoveRecipient(t.Context(), m, r, force, ids...)
	}
	if err := remove(toAlice, false, alice); !errors.Is(err, keyring.ErrLockedOut) {
		t.Errorf("remove oneself: %v, want ErrLockedOut", err)
	}
	wantOpen(t, m, master, alice)
	if err := remove(toAlice, false, alice, bob); err != nil {
		t.Errorf("remove one of two that one has: %v", err)
	}
	if err := remove(toBob, false, master.Identity()); !errors.Is(err, keyring.ErrLockedOut) {
		t.Errorf("remove the last: %v, want ErrLockedOut", err)
	}
	wantOpen(t, m, master, bob)
	if err := remove(toBob, true, bob); err != nil {
		t.Fatal(err)
	}
	wantRefused(t, m, keyring.ErrWrongKey, alice, bob)
	wantRecipients(t, m, master.Identity())
	wantRefused(t, m, keyring.ErrWrongKey, keyring.NewMaster().Identity())
	// The recovery key lets one in again.
	if err := keyring.AddRecipient(t.Context(), m, toAlice, master.Identity()); err != nil {
		t.Fatal(err)
	}
	wantOpen(t, m, master, alice)
	if err := remove(toAlice, true, master.Identity()); err != nil {
		t.Errorf("remove the last with the recovery key at hand: %v", err)
	}
}

// TestFilesOfBefore opens and changes key files that were sealed when there was one file for everything and no way in
// for the recovery key.
func TestFilesOfBefore(t *testing.T) {
	master, err := keyring.ParseRecovery("coffer1-6t0hhby-0qh6bp9-pt9ah3t-561g3my-sw99gqp-1318kyn-a8zhjgr-szccqx5")
	if err != nil {
		t.Fatal(err)
	}
	word, toWord := passphrase(t, "correct horse")
	other, toOther := passphrase(t, "battery staple")
	classic, err := keyring.ParseIdentities([]byte(classicKey), nil)
	if err != nil {
		t.Fatal(err)
	}
	toClassic, err := classic[0].Recipient()
	if err != nil {
		t.Fatal(err)
	}
	alice, toAlice := identity(t)
	old := func(name string) *mem.Medium {
		b, err := os.ReadFile("testdata/" + name)
		if err != nil {
			t.Fatal(err)
		}
		m := mem.New(0)
		for _, name := range []string{keyring.MasterName, keyring.CopyName} {
			if err := m.Put(t.Context(), name, b); err != nil {
				t.Fatal(err)
			}
		}
		return m
	}
	for _, tc := range []struct {
		file  string
		by    keyring.Identity
		first keyring.Recipient
	}{{"passphrase-1.age", word, toWord}, {"x25519-1.age", classic[0], toClassic}} {
		m := old(tc.file)
		wantOpen(t, m, master, tc.by)
		wantRefused(t, m, keyring.ErrWrongKey, master.Identity())
		wantRecipients(t, m, tc.by, tc.first)
		if err := keyring.AddRecipient(t.Context(), m, toAlice, tc.by); err != nil {
			t.Fatal(err)
		}
		for _, id := range []keyring.Identity{tc.by, alice, master.Identity()} {
			wantOpen(t, m, master, id)
		}
	}
	m := old("passphrase-1.age")
	if err := keyring.ChangePassphrase(t.Context(), m, the(toOther), word); err != nil {
		t.Fatal(err)
	}
	wantOpen(t, m, master, other)
	wantRefused(t, m, keyring.ErrWrongKey, word)
}

// TestCrashWhileChanging lets each change fail after each of its writes, cuts the power there, and wants that everyone
// who could open the key before and may do so afterwards can open it from each of its copies that is left; then the
// change is made again.
func TestCrashWhileChanging(t *testing.T) {
	who := func(name string, id keyring.Identity, to keyring.Recipient) someone { return someone{name, id, to} }
	alice, toAlice := identity(t)
	bob, toBob := identity(t)
	word, toWord := passphrase(t, "correct horse")
	other, toOther := passphrase(t, "battery staple")
	a, b, p, q := who("alice", alice, toAlice), who("bob", bob, toBob), who("passphrase", word, toWord), who("new passphrase", other, toOther)
	ctx := t.Context()
	for _, tc := range []struct {
		name          string
		before, after []someone
		change        func(m media.Medium) error
	}{
		{"add a key", []someone{a}, []someone{a, b}, func(m media.Medium) error { return keyring.AddRecipient(ctx, m, toBob, alice) }},
		{"add a key to a passphrase", []someone{p}, []someone{p, b}, func(m media.Medium) error { return keyring.AddRecipient(ctx, m, toBob, word) }},
		{"add a passphrase", []someone{a}, []someone{a, p}, func(m media.Medium) error { return keyring.AddRecipient(ctx, m, toWord, alice) }},
		{"remove a key", []someone{a, b, p}, []someone{a, p}, func(m media.Medium) error {
			return keyring.RemoveRecipient(ctx, m, toBob, false, alice)
		}},
		{"remove the passphrase", []someone{a, p}, []someone{a}, func(m media.Medium) error {
			return keyring.RemoveRecipient(ctx, m, toWord, false, alice)
		}},
		{"change the passphrase", []someone{a, p}, []someone{a, q}, func(m media.Medium) error {
			return keyring.ChangePassphrase(ctx, m, the(toOther), alice)
		}},
		{"from key to passphrase", []someone{a}, []someone{p}, func(m media.Medium) error {
			master, err := keyring.Open(ctx, m, alice, word)
			if err != nil {
				return err
			}
			return keyring.Reseal(ctx, m, master, toWord)
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			for writes := 0; ; writes++ {
				var to []keyring.Recipient
				for _, s := range tc.before {
					to = append(to, s.to)
				}
				inner, master := create(t, to...)
				m := faulty.Wrap(inner, faulty.From(writes, faulty.Fail(syscall.EIO, faulty.Put, faulty.Remove)))
				failed := tc.change(m)
				after, err := m.Crash(ctx, 1)
				if err != nil {
					t.Fatal(err)
				}
				mayOpen := func(s someone, among []someone) bool {
					return slices.ContainsFunc(among, func(x someone) bool { return x.name == s.name })
				}
				one := false
				for _, s := range []someone{a, b, p, q} {
					_, err := keyring.Open(ctx, after, s.id)
					one = one || err == nil
					if err != nil && mayOpen(s, tc.before) && mayOpen(s, tc.after) {
						t.Errorf("after %d writes %s cannot open it: %v", writes, s.name, err)
					}
				}
				if !one {
					t.Errorf("after %d writes nobody can open it", writes)
				}
				if failed == nil {
					if writes < 2 {
						t.Errorf("the change made %d writes", writes)
					}
					break
				}
				if err := tc.change(after); err != nil && !errors.Is(err, keyring.ErrRecipient) && !errors.Is(err, keyring.ErrWrongKey) {
					t.Errorf("after %d writes, again: %v", writes, err)
				}
				for _, s := range tc.after {
					wantOpen(t, after, master, s.id)
				}
			}
		})
	}
}
