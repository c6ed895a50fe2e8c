package channel

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"os"
	"path/filepath"
	"time"
)

// Key is the public key by which a machine is known.
type Key [ed25519.PublicKeySize]byte

// String is the key in unpadded base64url, as in invitations and logs. It is no secret.
func (k Key) String() string { return base64.RawURLEncoding.EncodeToString(k[:]) }

// MarshalText is String.
func (k Key) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// UnmarshalText reads what String gives.
func (k *Key) UnmarshalText(text []byte) error {
	b, err := base64.RawURLEncoding.DecodeString(string(text))
	if err != nil || len(b) != len(k) {
		return fmt.Errorf("key %.60q: %w", text, ErrFormat)
	}
	*k = Key(b)
	return nil
}

// Identity is a machine's own key pair.
type Identity struct {
	key  Key
	cert tls.Certificate
}

// Key is the public half.
func (id Identity) Key() Key { return id.key }

const identityType = "PRIVATE KEY"

// EnsureIdentity reads the key pair from a file, PKCS #8 in PEM; if there is none it makes one, 0600, with its
// folder.
func EnsureIdentity(path string) (Identity, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return createIdentity(path)
	}
	if err != nil {
		return Identity{}, fmt.Errorf("read this machine's key: %w", err)
	}
	block, _ := pem.Decode(text)
	if block == nil || block.Type != identityType {
		return Identity{}, fmt.Errorf("this machine's key, %s: %w", path, ErrFormat)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	private, ok := parsed.(ed25519.PrivateKey)
	if err != nil || !ok {
		return Identity{}, fmt.Errorf("this machine's key, %s: %w", path, errors.Join(ErrFormat, err))
	}
	return newIdentity(private)
}

func createIdentity(path string) (Identity, error) {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return Identity{}, fmt.Errorf("make this machine's key: %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return Identity{}, fmt.Errorf("make this machine's key: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return Identity{}, fmt.Errorf("make the folder of this machine's key: %w", err)
	}
	err = writeNew(path, pem.EncodeToMemory(&pem.Block{Type: identityType, Bytes: der}))
	if errors.Is(err, fs.ErrExist) {
		return EnsureIdentity(path) // another process was quicker
	}
	if err != nil {
		return Identity{}, fmt.Errorf("keep this machine's key: %w", err)
	}
	return newIdentity(private)
}

// newIdentity makes the certificate that TLS wants around a key. Nothing in it counts but the key.
func newIdentity(private ed25519.PrivateKey) (Identity, error) {
	template := x509.Certificate{
		SerialNumber: big.NewInt(1),
		NotBefore:    time.Unix(0, 0),
		NotAfter:     time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC),
	}
	der, err := x509.CreateCertificate(rand.Reader, &template, &template, private.Public(), private)
	if err != nil {
		return Identity{}, fmt.Errorf("make a certificate: %w", err)
	}
	id := Identity{cert: tls.Certificate{Certificate: [][]byte{der}, PrivateKey: private}}
	copy(id.key[:], private.Public().(ed25519.PublicKey))
	return id, nil
}

// peerKey is the key that the other side has proved to have.
func peerKey(state *tls.ConnectionState) (Key, error) {
	if state == nil || len(state.PeerCertificates) == 0 {
		return Key{}, fmt.Errorf("the other side shows no key: %w", ErrRefused)
	}
	public, ok := state.PeerCertificates[0].PublicKey.(ed25519.PublicKey)
	if !ok {
		return Key{}, fmt.Errorf("the other side's key is a %T: %w", state.PeerCertificates[0].PublicKey, ErrRefused)
	}
	return Key(public), nil
}

func (id Identity) config() *tls.Config {
	return &tls.Config{
		MinVersion:             tls.VersionTLS13,
		Certificates:           []tls.Certificate{id.cert},
		SessionTicketsDisabled: true,
		NextProtos:             []string{"http/1.1"},
	}
}

// serverConfig lets every key in that is proved: which of them may do what is asked is for the requests to decide.
func (id Identity) serverConfig() *tls.Config {
	c := id.config()
	c.ClientAuth = tls.RequireAnyClientCert
	return c
}

// clientConfig talks to the server with that key only.
func (id Identity) clientConfig(server Key) *tls.Config {
	c := id.config()
	// Names and authorities are not asked; VerifyConnection compares the key.
	c.InsecureSkipVerify = true
	c.VerifyConnection = func(state tls.ConnectionState) error {
		key, err := peerKey(&state)
		if err != nil {
			return err
		}
		if key != server {
			return fmt.Errorf("the server has the key %v, not %v as it had: %w", key, server, ErrRefused)
		}
		return nil
	}
	return c
}
