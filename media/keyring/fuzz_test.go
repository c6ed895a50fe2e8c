package keyring

import (
	"fmt"
	"strings"
	"testing"
)

func FuzzPayload(f *testing.F) {
	key := payloadKey + strings.Repeat("0f", 32) + "\n"
	f.Add(payloadFirst + "\n" + key + payloadRecipient + passphraseText + "\n")
	f.Add(payloadFirst + "\n" + key + key)
	f.Add(payloadFirst + "\n" + payloadRecipient + "age1\n")
	f.Add("")
	f.Fuzz(func(t *testing.T, text string) {
		p, err := parsePayload(text)
		if err != nil {
			if strings.Contains(err.Error(), "0f0f") {
				t.Errorf("the error shows a key: %v", err)
			}
			return
		}
		if !strings.Contains(strings.ToLower(text), fmt.Sprintf("%x", p.master.key)) {
			t.Errorf("%q was read as another key", text)
		}
	})
}
