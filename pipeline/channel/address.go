package channel

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
)

// Scheme is what an address of a store on another machine begins with.
const Scheme = "coffer://"

// DefaultPort is the port of a server where an address names none.
const DefaultPort = "7433"

// Secret is what lets one client in, once.
type Secret [16]byte

func newSecret() (s Secret) {
	rand.Read(s[:]) // never fails: it ends the program instead
	return s
}

// digest is under which name a server keeps an invitation: whoever reads its files can use none.
func (s Secret) digest() string {
	sum := sha256.Sum256(s[:])
	return hex.EncodeToString(sum[:])
}

// Invitation is the server's key and the secret that lets a client in.
type Invitation struct {
	Server Key
	Secret Secret
}

// Address says where a store on another machine is: coffer://host:port, the first time with an invitation behind a
// slash.
type Address struct {
	Host       string // host:port
	Invitation *Invitation
}

// ParseAddress reads an address. The scheme is needed, the port is not.
func ParseAddress(text string) (Address, error) {
	rest, ok := strings.CutPrefix(text, Scheme)
	host, token, invited := strings.Cut(rest, "/")
	if !ok || host == "" || strings.ContainsAny(host, " @?#") {
		return Address{}, fmt.Errorf("address of a server: %w: it is to be like coffer://host:%s", ErrFormat, DefaultPort)
	}
	a := Address{Host: host}
	if _, _, err := net.SplitHostPort(host); err != nil {
		a.Host = net.JoinHostPort(strings.Trim(host, "[]"), DefaultPort)
	}
	if invited && token != "" {
		var i Invitation
		b, err := base64.RawURLEncoding.DecodeString(token)
		if err != nil || len(b) != len(i.Server)+len(i.Secret) {
			return Address{}, fmt.Errorf("invitation: %w: was all of it copied?", ErrFormat)
		}
		copy(i.Server[:], b)
		copy(i.Secret[:], b[len(i.Server):])
		a.Invitation = &i
	}
	return a, nil
}

// String is the address without its invitation, which is a secret.
func (a Address) String() string { return Scheme + a.Host }

// Invite is the address with its invitation.
func (a Address) Invite() string {
	if a.Invitation == nil {
		return a.String()
	}
	return a.String() + "/" + base64.RawURLEncoding.EncodeToString(append(a.Invitation.Server[:], a.Invitation.Secret[:]...))
}

// Pins are the keys of the servers that this machine knows, a file each in a folder of the user's.
type Pins struct{ Dir string }

type pin struct {
	Host string `json:"host"`
	Key  Key    `json:"key"`
}

func (p Pins) path(host string) string {
	sum := sha256.Sum256([]byte(host))
	return filepath.Join(p.Dir, hex.EncodeToString(sum[:8])+".json")
}

// Key is the key that the server at host:port had when it was first met; ErrUnknownServer if it never was.
func (p Pins) Key(host string) (Key, error) {
	var known pin
	err := readJSON(p.path(host), &known)
	if errors.Is(err, fs.ErrNotExist) {
		return Key{}, fmt.Errorf("%s: %w", host, ErrUnknownServer)
	}
	if err != nil {
		return Key{}, fmt.Errorf("find the key of %s: %w", host, err)
	}
	return known.Key, nil
}

// Set remembers a server's key.
func (p Pins) Set(host string, key Key) error {
	if err := os.MkdirAll(p.Dir, 0o700); err != nil {
		return fmt.Errorf("make the folder of known servers: %w", err)
	}
	if err := writeJSON(p.path(host), pin{host, key}, writeFile); err != nil {
		return fmt.Errorf("remember the key of %s: %w", host, err)
	}
	return nil
}
