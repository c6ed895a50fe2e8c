package chunkfmt

import (
	"slices"

	"lukechampine.com/blake3"
)

// SessionChain returns the first value of a session's chain: the head of its
// predecessor's, zero for the first session, bound to the session.
func SessionChain(prev Hash, id SessionID) Hash {
	return chainStep("coffer v1 session chain", prev, id[:])
}

// NextChain returns the chain after one batch payload, the plaintext as packed. Each part
// of a batch is a step.
func NextChain(prev Hash, payload []byte) Hash {
	return chainStep("coffer v1 batch chain", prev, payload)
}

func chainStep(context string, prev Hash, b []byte) (out Hash) {
	blake3.DeriveKey(out[:], context, slices.Concat(prev[:], b))
	return out
}
