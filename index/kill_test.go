package index

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"testing"

	"coffer/chunkfmt"
)

// killEnv makes the test binary the process that is to be killed: it applies numbered
// batches to the index at the path in the variable and says which are in.
const killEnv = "COFFER_INDEX_KILL"

func TestMain(m *testing.M) {
	if path := os.Getenv(killEnv); path != "" {
		if err := applyForever(path); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(2)
		}
	}
	os.Exit(m.Run())
}

func applyForever(path string) error {
	x, err := Open(path, testID)
	if err != nil {
		return err
	}
	for {
		n := uint64(x.Head().Seq)
		var batches []Batch
		for range 1 + n%3 {
			n++
			batches = append(batches, numbered(n))
		}
		if err := x.Apply(batches, headAt(n), locateAll); err != nil {
			return err
		}
		fmt.Println(n)
	}
}

func headAt(n uint64) Head {
	return Head{Ordinal: 1, Seq: chunkfmt.Seq(n), Chain: chunkfmt.Hash{byte(n), byte(n >> 8)}}
}

// numbered makes the n-th batch of a fixed history.
func numbered(n uint64) Batch {
	r := rand.New(rand.NewPCG(n, 1))
	var b Batch
	for range 40 {
		ino := chunkfmt.Ino(1 + r.IntN(modelInos))
		name := strconv.Itoa(r.IntN(300))
		cookie := chunkfmt.FirstCookie + func() uint64 { v, _ := strconv.ParseUint(name, 10, 64); return v }()
		switch r.IntN(5) {
		case 0:
			b.Records = append(b.Records, recInode(ino, file(n)))
		case 1:
			b.Records = append(b.Records, recDirent(ino, name, chunkfmt.Dirent{Ino: ino, Cookie: cookie}))
		case 2:
			b.Records = append(b.Records, del(chunkfmt.RecDirent, chunkfmt.DirentKey(ino, name)))
		case 3:
			b.Records = append(b.Records, recExtent(ino, chunkfmt.Extent{
				Offset: uint64(r.IntN(2000)) * modelUnit, Length: modelUnit, Group: chunkfmt.MakeSeq(1, n)}))
		case 4:
			b.Records = append(b.Records, rec(chunkfmt.RecXattr, chunkfmt.XattrKey(ino, name), []byte(name)))
		}
	}
	if n%7 == 0 {
		b.Records = append(b.Records, recArchive(uint32(n/7)))
	}
	return b
}

// TestKill kills a process that applies, again and again, and checks each time that
// what it left is exactly the state after some batch, no earlier than it had said.
func TestKill(t *testing.T) {
	path := filepath.Join(t.TempDir(), "index")
	seed := rand.Uint64()
	t.Log("seed", seed)
	random := rand.New(rand.NewPCG(seed, 2))
	for range 8 {
		said := killOne(t, path, 1+random.IntN(12), random.IntN(3000))
		x, err := Open(path, testID)
		noError(t, err)
		n := uint64(x.Head().Seq)
		if n < said || x.Head() != headAt(n) {
			t.Fatalf("head %+v after batch %d was said to be in", x.Head(), said)
		}
		y := openTemp(t)
		var all []Batch
		for i := uint64(1); i <= n; i++ {
			all = append(all, numbered(i))
		}
		noError(t, y.Apply(all, headAt(n), locateAll))
		same(t, "present", dumpReader(t, &x.Reader, modelUnit), dumpReader(t, &y.Reader, modelUnit))
		same(t, "whole", wholeIndex(t, x), wholeIndex(t, y))
		for a := uint32(1); a < x.Archive(); a++ {
			same(t, fmt.Sprint("archive ", a), dumpReader(t, x.At(a), modelUnit), dumpReader(t, y.At(a), modelUnit))
		}
		noError(t, x.Close())
	}
}

// killOne runs the process until it has said so many lines and a little longer. It
// gives the last batch that the process said to be in.
func killOne(t *testing.T, path string, lines, spins int) (said uint64) {
	t.Helper()
	c := exec.Command(os.Args[0])
	c.Env = append(os.Environ(), killEnv+"="+path)
	c.Stderr = os.Stderr
	out, err := c.StdoutPipe()
	noError(t, err)
	noError(t, c.Start())
	in := bufio.NewScanner(out)
	read := func() bool {
		if !in.Scan() {
			return false
		}
		said, err = strconv.ParseUint(in.Text(), 10, 64)
		noError(t, err)
		return true
	}
	for range lines {
		if !read() {
			t.Fatalf("ended by itself: %v", c.Wait())
		}
	}
	for range spins {
		runtime.Gosched()
	}
	noError(t, c.Process.Kill())
	for read() {
	}
	_ = c.Wait() // it was killed
	return said
}
