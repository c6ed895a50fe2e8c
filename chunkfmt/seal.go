package chunkfmt

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"fmt"
	"sync"
)

// SealOverhead is how many bytes the sealed form is longer than the plaintext.
const SealOverhead = 16

// Sealer seals and opens the tags of one session. Concurrent use is safe.
type Sealer struct {
	volume  VolumeID
	session SessionID
	payload cipher.AEAD  // AES-256-GCM
	private cipher.Block // AES-256, pads of the private fields
	nonce   [8]uint32    // key of the nonces' PRF
	content [8]uint32    // key of the hash of content, for callers that have none
	scratch sync.Pool    // of *sealScratch
}

// sealScratch holds what a call hands to interfaces, so that calls allocate nothing and
// the caller's tag stays on its stack.
type sealScratch struct {
	iv   [12]byte
	pad  [aes.BlockSize]byte
	aad  []byte
	prf  []byte   // what the nonce is made of
	hash [32]byte // of content
}

// NewSealer derives the session's keys. It fails only where the platform forbids AES-GCM
// with a given nonce.
func NewSealer(k *VolumeKeys, s SessionID) (*Sealer, error) {
	key := func(what string) [32]byte { return derive(k.Seal[:], s[:], "coffer v1 session "+what) }
	payload, private, nonce, content := key("payload"), key("private"), key("nonce"), key("content")
	block, err := aes.NewCipher(payload[:])
	if err != nil {
		return nil, fmt.Errorf("session %v: %w", s, err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return nil, fmt.Errorf("session %v: %w", s, err)
	}
	pad, err := aes.NewCipher(private[:])
	if err != nil {
		return nil, fmt.Errorf("session %v: %w", s, err)
	}
	sealer := &Sealer{
		volume: k.ID, session: s, payload: aead, private: pad,
		nonce: keyWords(nonce), content: keyWords(content),
	}
	sealer.scratch.New = func() any { return &sealScratch{} }
	return sealer, nil
}

// Seal appends the sealed form of plain to dst, SealOverhead bytes longer, and returns
// the extended slice. It fills in the tag's Version, Nonce, Private, OptionsLen,
// SealedLen, CRC and FlagOptions; Kind, Seq and the other flags must be set before.
// plain is the payload as it goes to the medium: compressed already.
//
// content stands for the plaintext in the nonce: the concatenated fingerprints of the
// blocks for data; nil makes Seal hash plain itself. The nonce is a pseudorandom function of
// content, of p and of all that is authenticated, so two plaintexts meet under one nonce only if
// one session compresses the same content of the same number to different bytes of one length.
//
// dst and plain must be disjoint or plain must lie exactly where its sealed form goes;
// Seal allocates only when dst is too short. options is the options header, or empty.
func (s *Sealer) Seal(dst []byte, t *Tag, p Private, content, options, plain []byte) []byte {
	c := s.scratch.Get().(*sealScratch)
	defer s.scratch.Put(c)

	t.Version = TagVersion
	t.OptionsLen = uint32(len(options))
	t.SealedLen = uint32(len(plain) + SealOverhead)
	t.Flags &^= FlagOptions
	if len(options) > 0 {
		t.Flags |= FlagOptions
	}
	if content == nil {
		c.hash = keyedSum(&s.content, plain)
		content = c.hash[:]
	}
	packed := p.pack()
	s.associate(c, t, packed, options)
	s.deriveNonce(c, content)
	t.Nonce = c.iv
	t.Private = s.xorPad(c, packed)

	start := len(dst)
	dst = s.payload.Seal(dst, c.iv[:], plain, c.aad)
	t.CRC = Checksum(options, dst[start:])
	return dst
}

// Open appends the plaintext of sealed to dst and returns the extended slice and the
// private field. dst and sealed must be disjoint or exactly in place, as for Seal.
// It fails with ErrAuth when the bytes were not sealed by this session as this tag, and
// with ErrDamaged when the lengths contradict the tag or it is void. On failure dst's room is undefined.
func (s *Sealer) Open(dst []byte, t *Tag, options, sealed []byte) (plain []byte, p Private, err error) {
	if t.Flags&FlagVoid != 0 {
		return nil, Private{}, fmt.Errorf("open %v: it was damaged and is void: %w", t.Seq, ErrDamaged)
	}
	if len(options) != int(t.OptionsLen) || len(sealed) != int(t.SealedLen) {
		return nil, Private{}, fmt.Errorf("open %v: %d and %d bytes, want %d and %d: %w",
			t.Seq, len(options), len(sealed), t.OptionsLen, t.SealedLen, ErrDamaged)
	}
	c := s.scratch.Get().(*sealScratch)
	defer s.scratch.Put(c)

	c.iv = t.Nonce
	packed := s.xorPad(c, t.Private)
	s.associate(c, t, packed, options)
	plain, err = s.payload.Open(dst, c.iv[:], sealed, c.aad)
	if err != nil {
		return nil, Private{}, fmt.Errorf("open %v, %v: %w", t.Seq, t.Kind, ErrAuth)
	}
	p = unpackPrivate(packed)
	if p.RawLen > MaxRaw {
		return nil, Private{}, fmt.Errorf("open %v: raw length %d, at most %d: %w", t.Seq, p.RawLen, MaxRaw, ErrDamaged)
	}
	return plain, p, nil
}

// OpenPrivate decrypts the private field without authenticating it: good for estimates,
// never for trust. Open gives the authenticated one.
func (s *Sealer) OpenPrivate(t *Tag) Private {
	c := s.scratch.Get().(*sealScratch)
	defer s.scratch.Put(c)
	c.iv = t.Nonce
	return unpackPrivate(s.xorPad(c, t.Private))
}

// associate builds the associated data: the tag without its placement and its CRCs, the
// private field in the clear in its place, the volume, the session and the options.
// The nonce is left out because it is derived from this very data; GCM binds it.
func (s *Sealer) associate(c *sealScratch, t *Tag, packed [PrivateSize]byte, options []byte) {
	bare := Tag{
		Version: t.Version, Kind: t.Kind, Flags: t.Flags &^ FlagCopy, Seq: t.Seq,
		OptionsLen: t.OptionsLen, SealedLen: t.SealedLen, Private: packed,
	}
	if cap(c.aad) < TagSize {
		c.aad = make([]byte, TagSize, 512)
	}
	c.aad = c.aad[:TagSize]
	bare.putFields(c.aad)
	clear(c.aad[tagSumAt:])
	c.aad = append(c.aad, s.volume[:]...)
	c.aad = append(c.aad, s.session[:]...)
	c.aad = append(c.aad, options...)
}

// deriveNonce puts the synthetic nonce into c.iv.
func (s *Sealer) deriveNonce(c *sealScratch, content []byte) {
	c.prf = binary.BigEndian.AppendUint64(c.prf[:0], uint64(len(c.aad)))
	c.prf = append(c.prf, c.aad...)
	c.prf = append(c.prf, content...)
	sum := keyedSum(&s.nonce, c.prf)
	copy(c.iv[:], sum[:])
}

// xorPad encrypts or decrypts a private field with the pad that belongs to c.iv.
func (s *Sealer) xorPad(c *sealScratch, b [PrivateSize]byte) [PrivateSize]byte {
	clear(c.pad[:])
	copy(c.pad[:], c.iv[:])
	s.private.Encrypt(c.pad[:], c.pad[:])
	for i := range b {
		b[i] ^= c.pad[i]
	}
	return b
}
