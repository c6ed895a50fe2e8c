package media

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"

	"coffer/chunkfmt"
)

// The store file makes a medium a store. It is kept twice. Without it the
// identity stands in every chunk header still.
//
//	0             8         10          26       30
//	+-------------+---------+-----------+--------+
//	| "COFFER\r\n" | version | store id  | CRC32C |   big-endian
//	+-------------+---------+-----------+--------+
//
// The line end in the magic shows a copy that went through a text conversion.
const (
	StoreName     = "coffer.store"
	StoreCopyName = "keys/copy/coffer.store"

	// KeyName and KeyCopyName are the two places of the master key as it is
	// sealed for public keys, PassphraseName and PassphraseCopyName those of it
	// sealed for a passphrase. Package keyring knows more.
	KeyName            = "keys/master.age"
	KeyCopyName        = "keys/copy/master.age"
	PassphraseName     = "keys/passphrase.age"
	PassphraseCopyName = "keys/copy/passphrase.age"

	storeMagic   = "COFFER\r\n"
	storeVersion = 1
	storeSize    = 30
)

// Errors of the store file.
var (
	// ErrNoStore: the medium is not a store.
	ErrNoStore = errors.New("not a coffer store")
	// ErrStoreFormat: there is a store file, damaged or of a later format.
	ErrStoreFormat = errors.New("unreadable store file")
)

// CreateStore makes the medium a store with a new random identity. It fails
// with ErrExist if it is one already, readable or not.
func CreateStore(ctx context.Context, m Medium) (chunkfmt.StoreID, error) {
	var id chunkfmt.StoreID
	for _, name := range []string{StoreName, StoreCopyName} {
		_, err := m.ReadAt(ctx, name, nil, 0)
		if err == nil {
			err = ErrExist
		}
		if !errors.Is(err, ErrNotExist) {
			return id, fmt.Errorf("create store: %s: %w", name, err)
		}
	}
	rand.Read(id[:]) // never fails: it ends the program instead
	// The copy first: a store of which only that was written shows as one
	// that was begun, and can be opened.
	for _, name := range []string{StoreCopyName, StoreName} {
		if err := m.Put(ctx, name, encodeStore(id)); err != nil {
			return id, fmt.Errorf("create store: %w", err)
		}
	}
	return id, nil
}

// OpenStore returns the identity of the store on a medium, from either copy. It
// fails with ErrNoStore if there is none, with ErrStoreFormat if what there is
// cannot be read.
func OpenStore(ctx context.Context, m Medium) (chunkfmt.StoreID, error) {
	var failed error
	for _, name := range []string{StoreName, StoreCopyName} {
		b, err := ReadAll(ctx, m, name, storeSize)
		if err == nil {
			var id chunkfmt.StoreID
			if id, err = decodeStore(b); err == nil {
				return id, nil
			}
		}
		if !errors.Is(err, ErrNotExist) {
			failed = errors.Join(failed, fmt.Errorf("open store: %s: %w", name, err))
		}
	}
	if failed == nil {
		failed = fmt.Errorf("open store: %w", ErrNoStore)
	}
	return chunkfmt.StoreID{}, failed
}

// MendStore puts a store file that is missing or damaged right from its copy, or
// the copy from it, and says which. If neither can be read, it fails as OpenStore
// does.
func MendStore(ctx context.Context, m Medium) (mended string, err error) {
	id, err := OpenStore(ctx, m)
	if err != nil {
		return "", err
	}
	for _, name := range []string{StoreName, StoreCopyName} {
		b, err := ReadAll(ctx, m, name, storeSize)
		if err == nil && CheckStoreFile(b) == nil {
			continue
		}
		if ctx.Err() != nil {
			return "", ctx.Err()
		}
		if err := m.Put(ctx, name, encodeStore(id)); err != nil {
			return "", fmt.Errorf("mend the store file: %w", err)
		}
		mended = name
	}
	return mended, nil
}

func encodeStore(id chunkfmt.StoreID) []byte {
	b := append([]byte(storeMagic), 0, storeVersion)
	b = append(b, id[:]...)
	return binary.BigEndian.AppendUint32(b, chunkfmt.Checksum(b))
}

func decodeStore(b []byte) (chunkfmt.StoreID, error) {
	be := binary.BigEndian
	if len(b) < storeSize || !bytes.HasPrefix(b, []byte(storeMagic)) {
		return chunkfmt.StoreID{}, fmt.Errorf("%w: %d bytes, want %d that begin with %q", ErrStoreFormat, len(b), storeSize, storeMagic)
	}
	b = b[:storeSize]
	if got, want := be.Uint32(b[26:]), chunkfmt.Checksum(b[:26]); got != want {
		return chunkfmt.StoreID{}, fmt.Errorf("%w: checksum is %08x, want %08x", ErrStoreFormat, got, want)
	}
	if v := be.Uint16(b[8:]); v != storeVersion {
		return chunkfmt.StoreID{}, fmt.Errorf("%w: version %d, want %d", ErrStoreFormat, v, storeVersion)
	}
	return chunkfmt.StoreID(b[10:26]), nil
}

// CheckStoreFile checks the bytes of a store file or of its copy. It fails with
// ErrStoreFormat.
func CheckStoreFile(b []byte) error {
	if len(b) > storeSize {
		return fmt.Errorf("%w: %d bytes, want %d", ErrStoreFormat, len(b), storeSize)
	}
	_, err := decodeStore(b)
	return err
}
