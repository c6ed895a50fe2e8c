package keyring

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"

	"filippo.io/age"
)

// payload is what the age file for public keys holds, as lines of text:
//
//	coffer master key 1
//	key <64 hex digits>
//	recipient <public key>      one line each
//
// The recipients are repeated inside because those of an age file are
// anonymous: without the list none could be added or removed by itself. The file
// for a passphrase has none: that there is one says that the passphrase is a
// recipient. In a store of before, a passphrase may stand in the one file, as the
// only recipient; then it is in the list.
type payload struct {
	master     Master
	recipients []Recipient
}

const (
	payloadFirst     = "coffer master key 1"
	payloadKey       = "key "
	payloadRecipient = "recipient "
)

// seal makes the file for public keys, which the master key opens too, and the
// one for a passphrase; nil: there is none, or it stays as it is.
func seal(p payload) (keys, phrase []byte, err error) {
	head := fmt.Sprintf("%s\n%s%x\n", payloadFirst, payloadKey, p.master.key[:])
	to, text := []age.Recipient{recoveryRecipient{p.master}}, head
	phrases := 0
	for _, r := range p.recipients {
		if r.isPassphrase() {
			phrases++
			if phrase, err = sealPhrase(head, r); err != nil {
				return nil, nil, err
			}
			continue
		}
		if _, hybrid := r.age.(*age.HybridRecipient); hybrid {
			// A classic recipient beside it weakens the file, which the user
			// who adds one wants; age would refuse.
			r.age = unlabelled{r.age}
		}
		to = append(to, r.age)
		text += payloadRecipient + r.text + "\n"
	}
	if phrases > 1 {
		return nil, nil, fmt.Errorf("%w: two passphrases", ErrRecipient)
	}
	keys, err = encrypt(text, to...)
	return keys, phrase, err
}

func sealPhrase(head string, r Recipient) ([]byte, error) {
	if r.stays || r.sealed != nil {
		return r.sealed, nil
	}
	return encrypt(head, r.age)
}

func encrypt(text string, to ...age.Recipient) ([]byte, error) {
	var sealed bytes.Buffer
	w, err := age.Encrypt(&sealed, to...)
	if err != nil {
		return nil, err
	}
	if _, err := io.WriteString(w, text); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return sealed.Bytes(), nil
}

// unlabelled hides a recipient's demand to be among its like.
type unlabelled struct{ age.Recipient }

func unseal(sealed []byte, ids []Identity) (payload, error) {
	list := make([]age.Identity, 0, len(ids))
	for _, i := range ids {
		if i.age != nil {
			list = append(list, i.age)
		}
	}
	if len(list) == 0 {
		return payload{}, fmt.Errorf("%w: none given", ErrWrongKey)
	}
	r, err := age.Decrypt(bytes.NewReader(sealed), list...)
	if noMatch := new(age.NoIdentityMatchError); errors.As(err, &noMatch) {
		return payload{}, ErrWrongKey
	}
	if errors.Is(err, ErrWrongKey) {
		return payload{}, err
	}
	if err != nil {
		return payload{}, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	text, err := io.ReadAll(io.LimitReader(r, maxFile))
	if err != nil {
		return payload{}, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	p, err := parsePayload(string(text))
	for i := range p.recipients {
		if r := &p.recipients[i]; r.isPassphrase() {
			r.sealed = sealed
		}
	}
	return p, err
}

// parsePayload names lines by number in its errors, never by content.
func parsePayload(text string) (payload, error) {
	var p payload
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	if lines[0] != payloadFirst {
		return payload{}, fmt.Errorf("%w: of a format that this program does not know", ErrDamaged)
	}
	keyed := false
	for n, line := range lines[1:] {
		value, isKey := strings.CutPrefix(line, payloadKey)
		if isKey {
			b, err := hex.DecodeString(value)
			if err != nil || len(b) != len(p.master.key) || keyed {
				return payload{}, fmt.Errorf("%w: line %d", ErrDamaged, n+2)
			}
			keyed = true
			copy(p.master.key[:], b)
			continue
		}
		value, isRecipient := strings.CutPrefix(line, payloadRecipient)
		if !isRecipient {
			return payload{}, fmt.Errorf("%w: line %d", ErrDamaged, n+2)
		}
		if value == passphraseText {
			p.recipients = append(p.recipients, Recipient{text: value})
			continue
		}
		r, err := ParseRecipient(value)
		if err != nil {
			return payload{}, fmt.Errorf("%w: line %d", ErrDamaged, n+2)
		}
		p.recipients = append(p.recipients, r)
	}
	if !keyed {
		return payload{}, fmt.Errorf("%w: no key in it", ErrDamaged)
	}
	return p, nil
}
