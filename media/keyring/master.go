package keyring

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"encoding/hex"
	"fmt"
	"log/slog"
	"strings"
)

// redacted is what a master key shows of itself.
const redacted = "[master key]"

// Master is the master key of a store. Printing or logging it shows nothing,
// and it cannot be marshalled.
type Master struct{ key [32]byte }

// NewMaster returns a new random master key.
func NewMaster() Master {
	var m Master
	rand.Read(m.key[:]) // never fails: it ends the program instead
	return m
}

// Key returns the key's bytes, for deriving other keys.
func (m Master) Key() [32]byte { return m.key }

// ID returns a public name of the key, for telling whether a store still has
// the key it had. Nothing about the key follows from it.
func (m Master) ID() string {
	sum := sha256.Sum256(append([]byte("coffer master key id\x00"), m.key[:]...))
	return hex.EncodeToString(sum[:8])
}

// Format writes a placeholder whatever the verb.
func (m Master) Format(f fmt.State, _ rune) { fmt.Fprint(f, redacted) }

// LogValue returns a placeholder.
func (m Master) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText fails, so that no encoder writes a key by mistake.
func (m Master) MarshalText() ([]byte, error) {
	return nil, fmt.Errorf("%s is not to be marshalled", redacted)
}

// The recovery key is base32 of the 32 bytes and 3 bytes of checksum: 56
// letters and digits in groups of 7, of an alphabet in which no two look alike
// (Crockford's: no I, L, O, U).
const (
	recoveryPrefix = "coffer1"
	recoveryGroup  = 7
	checksumSize   = 3
)

var recoveryEncoding = base32.NewEncoding("0123456789abcdefghjkmnpqrstvwxyz").WithPadding(base32.NoPadding)

// Recovery returns the key as text to be written down. It is as secret as the
// key.
func (m Master) Recovery() string {
	text := recoveryEncoding.EncodeToString(append(m.key[:], checksum(m.key[:])...))
	var b strings.Builder
	b.WriteString(recoveryPrefix)
	for ; text != ""; text = text[recoveryGroup:] {
		b.WriteString("-" + text[:recoveryGroup])
	}
	return b.String()
}

// ParseRecovery reads what Recovery returned, whatever became of case, spaces
// and dashes; I and L are read as 1, O as 0. It fails with ErrDamaged, which
// repeats nothing of the text.
func ParseRecovery(text string) (Master, error) {
	text = strings.Map(func(r rune) rune {
		if r == '-' || r == ' ' || r == '\t' || r == '\n' || r == '\r' {
			return -1
		}
		return r
	}, strings.ToLower(text))
	text, ok := strings.CutPrefix(text, recoveryPrefix)
	if !ok {
		return Master{}, fmt.Errorf("%w: a recovery key begins with %s-", ErrDamaged, recoveryPrefix)
	}
	text = strings.NewReplacer("i", "1", "l", "1", "o", "0").Replace(text)
	b, err := recoveryEncoding.DecodeString(text)
	var m Master
	if want := len(m.key) + checksumSize; err != nil || len(b) != want {
		return Master{}, fmt.Errorf("%w: a recovery key has %d letters and digits after %s-",
			ErrDamaged, recoveryEncoding.EncodedLen(want), recoveryPrefix)
	}
	copy(m.key[:], b)
	if string(checksum(m.key[:])) != string(b[len(m.key):]) {
		return Master{}, fmt.Errorf("%w: the recovery key has a letter wrong", ErrDamaged)
	}
	return m, nil
}

func checksum(key []byte) []byte {
	sum := sha256.Sum256(append([]byte("coffer recovery key\x00"), key...))
	return sum[:checksumSize]
}
