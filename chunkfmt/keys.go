package chunkfmt

import (
	"crypto/hkdf"
	"crypto/sha256"
	"sync"

	"github.com/zeebo/blake3"
)

// VolumeKeys are the secrets of one volume, all derived from the store's master key.
// Make them with [DeriveVolumeKeys]; copies share what they hold. Concurrent use is safe.
type VolumeKeys struct {
	ID          VolumeID // visible
	Seal        [32]byte // session keys are derived from it
	Fingerprint [32]byte // key of the blocks' fingerprints
	Cut         [32]byte // key of the content-defined cuts

	hashers *sync.Pool // of *blake3.Hasher, keyed with Fingerprint
}

// DeriveVolumeKeys derives a volume's keys from the master key by HKDF-SHA256, salted
// with the store and bound to the volume's name.
func DeriveVolumeKeys(master [32]byte, store StoreID, name string) VolumeKeys {
	secret := derive(master[:], store[:], "coffer v1 volume "+name)
	id := derive(secret[:], nil, "coffer v1 volume id")
	k := VolumeKeys{
		ID:          VolumeID(id[:16]),
		Seal:        derive(secret[:], nil, "coffer v1 seal"),
		Fingerprint: derive(secret[:], nil, "coffer v1 fingerprint"),
		Cut:         derive(secret[:], nil, "coffer v1 cut"),
	}
	k.hashers = hasherPool(k.Fingerprint)
	return k
}

// Sum returns the fingerprint of a block's plaintext.
func (k *VolumeKeys) Sum(block []byte) Fingerprint {
	pool := k.hashers
	if pool == nil { // the keys were not derived but put together
		pool = hasherPool(k.Fingerprint)
	}
	h := pool.Get().(*keyedHash)
	defer pool.Put(h)
	h.Reset()
	h.Write(block)
	return Fingerprint(h.sum()[:16])
}

// keyedHash is a hasher with room for its result, so that hashing allocates nothing.
type keyedHash struct {
	*blake3.Hasher
	out [32]byte
}

func (h *keyedHash) sum() []byte { return h.Sum(h.out[:0]) }

func hasherPool(key [32]byte) *sync.Pool {
	return &sync.Pool{New: func() any { return newKeyedHash(key) }}
}

func newKeyedHash(key [32]byte) *keyedHash {
	h, err := blake3.NewKeyed(key[:])
	if err != nil {
		panic("chunkfmt: blake3: " + err.Error()) // only for a key that is not 32 bytes long
	}
	return &keyedHash{Hasher: h}
}

// derive returns 32 bytes of HKDF-SHA256.
func derive(secret, salt []byte, info string) [32]byte {
	b, err := hkdf.Key(sha256.New, secret, salt, info, 32)
	if err != nil {
		panic("chunkfmt: hkdf: " + err.Error()) // only for a length over 255 hashes
	}
	return [32]byte(b)
}
