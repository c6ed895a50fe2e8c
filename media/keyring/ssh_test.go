package keyring_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"os"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"

	"coffer/media/keyring"
)

// sshKey is a key as ssh-keygen makes it: the private half as a file holds it, the public half as a line without its
// comment.
type sshKey struct{ private, public string }

// keptKey is one of testdata: protected ones have the passphrase "sesame", behind one round of bcrypt.
func keptKey(t *testing.T, name string) sshKey {
	t.Helper()
	private, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	public, err := os.ReadFile("testdata/" + name + ".pub")
	if err != nil {
		t.Fatal(err)
	}
	fields := strings.Fields(string(public))
	return sshKey{string(private), fields[0] + " " + fields[1]}
}

func newSSHKey(t *testing.T, key crypto.Signer) sshKey {
	t.Helper()
	block, err := ssh.MarshalPrivateKey(key, "")
	if err != nil {
		t.Fatal(err)
	}
	public, err := ssh.NewPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	return sshKey{string(pem.EncodeToMemory(block)), strings.TrimSpace(string(ssh.MarshalAuthorizedKey(public)))}
}

func TestSSHKeys(t *testing.T) {
	_, ofEd25519, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	asked := 0
	ask := func(answer string) keyring.Ask {
		return func() ([]byte, error) { asked++; return []byte(answer), nil }
	}
	alice, toAlice := identity(t)
	for name, tc := range map[string]struct {
		key  sshKey
		asks int
	}{
		"ed25519":           {newSSHKey(t, ofEd25519), 0},
		"rsa":               {keptKey(t, "plain_rsa"), 0},
		"protected ed25519": {keptKey(t, "protected_ed25519"), 1},
		"protected rsa":     {keptKey(t, "protected_rsa"), 1},
	} {
		t.Run(name, func(t *testing.T) {
			m, master := create(t, toAlice)
			to, err := keyring.ParseRecipient(tc.key.public + " bob@laptop\x1b[2J\n")
			if err != nil {
				t.Fatal(err)
			}
			if want := tc.key.public + " bob@laptop[2J"; to.String() != want {
				t.Errorf("the recipient shows as %q, want %q", to, want)
			}
			if err := keyring.AddRecipient(t.Context(), m, to, alice); err != nil {
				t.Fatal(err)
			}
			asked = 0
			ids, err := keyring.ParseIdentities([]byte(tc.key.private), ask("sesame"))
			if err != nil {
				t.Fatal(err)
			}
			wantOpen(t, m, master, ids...)
			wantOpen(t, m, master, ids...)
			if asked != tc.asks {
				t.Errorf("asked for the key's passphrase %d times, want %d", asked, tc.asks)
			}
			wantRecipients(t, m, ids[0], toAlice, to)
			bare, err := ids[0].Recipient()
			if err != nil || bare.String() != tc.key.public {
				t.Errorf("the identity's public half is %q, %v", bare, err)
			}
			// Its comment does not make it another one.
			if err := keyring.AddRecipient(t.Context(), m, bare, alice); !errors.Is(err, keyring.ErrRecipient) {
				t.Errorf("add it again: %v, want ErrRecipient", err)
			}
			if err := keyring.RemoveRecipient(t.Context(), m, bare, false, ids...); !errors.Is(err, keyring.ErrLockedOut) {
				t.Errorf("remove itself: %v, want ErrLockedOut", err)
			}
			if tc.asks > 0 {
				asked = 0
				wrong, err := keyring.ParseIdentities([]byte(tc.key.private), ask("open"))
				if err != nil {
					t.Fatal(err)
				}
				wantRefused(t, m, keyring.ErrWrongKey, wrong...)
				if asked != 1 {
					t.Errorf("asked %d times for a passphrase that was wrong", asked)
				}
			}
			if err := keyring.RemoveRecipient(t.Context(), m, bare, false, alice); err != nil {
				t.Fatal(err)
			}
			asked = 0
			wantRefused(t, m, keyring.ErrWrongKey, ids...)
		})
	}
	ofECDSA, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	unfit := newSSHKey(t, ofECDSA)
	if _, err := keyring.ParseRecipient(unfit.public); !errors.Is(err, keyring.ErrRecipient) {
		t.Errorf("an ECDSA public key: %v, want ErrRecipient", err)
	}
	for _, text := range []string{unfit.private, unfit.private[:60], "-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n"} {
		if _, err := keyring.ParseIdentities([]byte(text), nil); !errors.Is(err, keyring.ErrDamaged) || strings.Contains(err.Error(), "AAAA") {
			t.Errorf("identity %.50q: %v, want ErrDamaged", text, err)
		}
	}
}
