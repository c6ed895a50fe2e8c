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

// payload is what the age file holds, as lines of text:
//
//	coffer master key 1
//	key <64 hex digits>
//	recipient <public key, or "passphrase">      one line each
//
// The recipients are repeated inside because those of an age file are
// anonymous: without the list none could be added or removed by itself.
type payload struct {
	master     Master
	recipients []Recipient
}

const (
	payloadFirst     = "coffer master key 1"
	payloadKey       = "key "
	payloadRecipient = "recipient "
)

func seal(p payload) ([]byte, error) {
	if len(p.recipients) == 0 {
		return nil, fmt.Errorf("%w: none given", ErrRecipient)
	}
	var to []age.Recipient
	text := fmt.Sprintf("%s\n%s%x\n", payloadFirst, payloadKey, p.master.key[:])
	for _, r := range p.recipients {
		switch {
		case r.text == passphraseText && len(p.recipients) > 1:
			return nil, ErrMixed
		case r.age == nil:
			return nil, fmt.Errorf("%w: %q cannot be sealed to", ErrRecipient, r.text)
		}
		if _, hybrid := r.age.(*age.HybridRecipient); hybrid {
			// A classic recipient beside it weakens the file, which the user
			// who adds one wants; age would refuse.
			r.age = unlabelled{r.age}
		}
		to = append(to, r.age)
		text += payloadRecipient + r.text + "\n"
	}
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
	if err != nil {
		return payload{}, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	text, err := io.ReadAll(io.LimitReader(r, maxFile))
	if err != nil {
		return payload{}, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return parsePayload(string(text))
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
