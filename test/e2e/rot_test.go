package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"coffer/chunkfmt"
	"coffer/test/rig"
)

// flip is a place in a store where one bit is to be turned.
type flip struct {
	what string
	file string
	off  int64
	data bool // a data group is hit: its files may be lost, and nothing else
}

// TestRot turns one bit in each kind of structure of a store's chunks, in turn. The mount opens; whatever is
// read is right or an error; what is not hit reads; and metadata, stored twice, is never lost.
func TestRot(t *testing.T) {
	seed := uint64(rig.Count(t, "COFFER_SEED", int(time.Now().UnixNano()&0xffffffff)))
	t.Logf("COFFER_SEED=%d", seed)
	rng := rand.New(rand.NewPCG(seed, 2))
	p := newPlace(t)
	m := p.mount(t, "--checkpoint-after", "1KiB")
	want := map[string][]byte{}
	for i := range 30 {
		name := fmt.Sprintf("file%02d", i)
		want[name] = noise(1 + rng.IntN(1<<(8+i%13)))
		rig.Must(t, os.WriteFile(m.Path(name), want[name], 0o644))
	}
	m.Unmount(t)
	sound := p.store + ".sound"
	rig.CopyTree(t, p.store, sound)
	known := p.State() + ".sound"
	rig.CopyTree(t, p.State(), known)
	for _, f := range flips(t, rng, p.store) {
		for _, rebuilt := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s rebuilt=%v", f.what, rebuilt), func(t *testing.T) {
				rig.Must(t, os.RemoveAll(p.store))
				rig.CopyTree(t, sound, p.store)
				turnBit(t, f.file, f.off, rng.IntN(8))
				rig.Must(t, os.RemoveAll(p.State()))
				rig.CopyTree(t, known, p.State())
				u := p.User
				if rebuilt { // as on another machine, where nothing is known
					rig.DropCatalogs(t, p.store)
					u = rig.NewUser(t, t.TempDir())
					rig.Must(t, os.MkdirAll(filepath.Dir(u.Identity()), 0o700))
					rig.CopyTree(t, p.Identity(), u.Identity())
				}
				m := u.Mount(t, p.store, p.mnt)
				lost := readAgainst(t, m, want)
				m.Kill() // the store is thrown away
				switch {
				case !f.data && len(lost) > 0:
					t.Errorf("%s at %d of %s: metadata is stored twice, and yet %q can't be read", f.what, f.off, f.file, lost)
				case f.data && len(lost) > 12:
					t.Errorf("%s: one group was hit and %d files are lost", f.what, len(lost))
				case f.what == "data payload" && len(lost) == 0:
					t.Errorf("the payload of a group was changed and everything reads: what is read is not checked")
				}
			})
		}
	}
}

// readAgainst reads every file and names those that give EIO. Anything else than the right bytes or EIO fails.
func readAgainst(t *testing.T, m *rig.Mount, want map[string][]byte) (lost []string) {
	t.Helper()
	for name, data := range want {
		got, err := os.ReadFile(m.Path(name))
		switch {
		case errors.Is(err, unix.EIO):
			lost = append(lost, name)
		case err != nil:
			t.Errorf("read %s: %v", name, err)
		case !bytes.Equal(got, data):
			t.Errorf("%s has wrong bytes", name)
		}
	}
	return lost
}

func turnBit(t *testing.T, path string, off int64, bit int) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	rig.Must(t, err)
	var b [1]byte
	_, err = f.ReadAt(b[:], off)
	rig.Must(t, err)
	b[0] ^= 1 << bit
	_, err = f.WriteAt(b[:], off)
	rig.Must(t, err, f.Close())
}

// flips chooses a place in each kind of structure, of the data chunks and of their mirrors.
func flips(t *testing.T, rng *rand.Rand, store string) []flip {
	t.Helper()
	kinds := map[chunkfmt.Kind]string{
		chunkfmt.KindData: "data", chunkfmt.KindBatch: "batch", chunkfmt.KindSessionHeader: "session header",
		chunkfmt.KindSessionFooter: "session footer", chunkfmt.KindArchiveHeader: "archive header", chunkfmt.KindArchiveFooter: "archive footer",
		chunkfmt.KindCheckpoint: "checkpoint",
	}
	var all []flip
	for _, path := range rig.Chunks(t, store) {
		where := ""
		if strings.HasSuffix(path, ".mirror") {
			where = "mirror "
		}
		f, err := os.Open(path)
		rig.Must(t, err)
		info, err := f.Stat()
		rig.Must(t, err)
		add := func(what string, from, n int64, data bool) {
			if n > 0 {
				all = append(all, flip{where + what, path, from + rng.Int64N(n), data})
			}
		}
		add("chunk header", 0, chunkfmt.ChunkHeaderSize, false)
		scanner := chunkfmt.NewScanner(f, info.Size())
		seen := map[chunkfmt.Kind]int{}
		for {
			e, err := scanner.Next()
			if err == io.EOF {
				break
			}
			rig.Must(t, err)
			if seen[e.Tag.Kind]++; seen[e.Tag.Kind] > 2 {
				continue
			}
			isData := e.Tag.Kind == chunkfmt.KindData
			add(kinds[e.Tag.Kind]+" tag", e.At, chunkfmt.TagSize, isData)
			add(kinds[e.Tag.Kind]+" payload", e.At+chunkfmt.TagSize, int64(e.Tag.StoredLen()), isData)
		}
		end := scanner.Valid()
		add("footer", end, (info.Size()-end)/2, false)
		add("end of the footer", info.Size()-32, 32, false)
		rig.Must(t, f.Close())
	}
	if len(all) < 10 {
		t.Fatalf("only %d structures were found in %s", len(all), store)
	}
	return all
}

// TestTornChunk leaves bytes of all kinds behind the end of the last chunk, as a crash can, and loses
// nothing that was acknowledged.
func TestTornChunk(t *testing.T) {
	p := newPlace(t)
	for round, torn := range [][]byte{noise(1000), make([]byte, 4096), noise(3)} {
		m := p.mount(t)
		name, data := fmt.Sprintf("round%d", round), noise(700_000)
		rig.Must(t, writeSynced(m.Path(name), data))
		m.Kill()
		newest, at := "", int64(0)
		for _, c := range rig.Chunks(t, p.store) {
			if stamp := modified(t, c); stamp > at && !strings.HasSuffix(c, ".mirror") {
				newest, at = c, stamp
			}
		}
		f, err := os.OpenFile(newest, os.O_APPEND|os.O_WRONLY, 0)
		rig.Must(t, err)
		_, err = f.Write(torn)
		rig.Must(t, err, f.Close())
		m = p.mount(t)
		verify(t, m, map[string][]byte{name: data})
		m.Unmount(t)
	}
}
