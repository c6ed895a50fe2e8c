package chunkfmt

import (
	"crypto/hkdf"
	"crypto/sha256"
)

// VolumeKeys are the secrets of one volume, all derived from the store's master key.
// Make them with [DeriveVolumeKeys]; copies share what they hold. Concurrent use is safe.
type VolumeKeys struct {
	ID          VolumeID // visible
	Seal        [32]byte // session keys are derived from it
	Fingerprint [32]byte // key of the blocks' fingerprints
	Cut         [32]byte // key of the content-defined cuts
}

// DeriveVolumeKeys derives a volume's keys from the master key by HKDF-SHA256, salted
// with the store and bound to the volume's name.
func DeriveVolumeKeys(master [32]byte, store StoreID, name string) VolumeKeys {
	secret := derive(master[:], store[:], "coffer v1 volume "+name)
	id := derive(secret[:], nil, "coffer v1 volume id")
	return VolumeKeys{
		ID:          VolumeID(id[:16]),
		Seal:        derive(secret[:], nil, "coffer v1 seal"),
		Fingerprint: derive(secret[:], nil, "coffer v1 fingerprint"),
		Cut:         derive(secret[:], nil, "coffer v1 cut"),
	}
}

// Sum returns the fingerprint of a block's plaintext.
func (k *VolumeKeys) Sum(block []byte) Fingerprint {
	key := keyWords(k.Fingerprint)
	sum := keyedSum(&key, block)
	return Fingerprint(sum[:16])
}

// derive returns 32 bytes of HKDF-SHA256.
func derive(secret, salt []byte, info string) [32]byte {
	b, err := hkdf.Key(sha256.New, secret, salt, info, 32)
	if err != nil {
		panic("chunkfmt: hkdf: " + err.Error()) // only for a length over 255 hashes
	}
	return [32]byte(b)
}
