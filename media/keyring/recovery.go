package keyring

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"

	"filippo.io/age"
)

// recoveryStanza is the part of an age file's header by which the master key
// opens the file that holds it, and so its recovery key does: for whoever has
// come in by a passphrase, or has nothing else, to read who the recipients are,
// and to prove that it is the key of this store.
//
//	-> coffer-recovery <salt, 16 bytes in base64>
//	<file key, sealed with AES-256-GCM under HKDF-SHA-256 of the master key>
const recoveryStanza = "coffer-recovery"

const recoverySalt = 16

var stanzaEncoding = base64.RawStdEncoding.Strict()

// Identity opens what a store keeps sealed by its own master key: the key
// itself. It is how a recovery key gets in.
func (m Master) Identity() Identity { return Identity{age: recoveryIdentity{m}} }

type recoveryRecipient struct{ master Master }

// Wrap implements age.Recipient.
func (r recoveryRecipient) Wrap(fileKey []byte) ([]*age.Stanza, error) {
	salt := make([]byte, recoverySalt)
	rand.Read(salt)
	aead, err := r.master.wrapping(salt)
	if err != nil {
		return nil, err
	}
	return []*age.Stanza{{
		Type: recoveryStanza, Args: []string{stanzaEncoding.EncodeToString(salt)},
		// The key is of this salt and used once.
		Body: aead.Seal(nil, make([]byte, aead.NonceSize()), fileKey, nil),
	}}, nil
}

type recoveryIdentity struct{ master Master }

// Unwrap implements age.Identity.
func (i recoveryIdentity) Unwrap(stanzas []*age.Stanza) ([]byte, error) {
	for _, s := range stanzas {
		if s.Type != recoveryStanza || len(s.Args) != 1 {
			continue
		}
		salt, err := stanzaEncoding.DecodeString(s.Args[0])
		if err != nil {
			continue
		}
		aead, err := i.master.wrapping(salt)
		if err != nil {
			return nil, err
		}
		if fileKey, err := aead.Open(nil, make([]byte, aead.NonceSize()), s.Body, nil); err == nil {
			return fileKey, nil
		}
	}
	return nil, age.ErrIncorrectIdentity
}

func (m Master) wrapping(salt []byte) (cipher.AEAD, error) {
	key, err := hkdf.Key(sha256.New, m.key[:], salt, "coffer key file", 32)
	if err != nil {
		return nil, fmt.Errorf("derive the key of a key file: %w", err)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}
