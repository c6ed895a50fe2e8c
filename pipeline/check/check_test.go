package check_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"coffer/chunkfmt"
	"coffer/media"
	"coffer/media/scrub"
	"coffer/pipeline/check"
)

// noise is data that neither compresses nor is the same twice.
func noise(seed uint64, n int) []byte {
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8), 9}).Read(b)
	return b
}

// history makes a volume of three archives in two sessions, with files that change, move and go.
func history(t *testing.T) *rig {
	r := newRig(t)
	s := r.open()
	files := map[string][]byte{"d/large": noise(1, 700_000), "d/changed": noise(2, 200_000), "gone": noise(3, 200_000)}
	for i := range 10 {
		files[fmt.Sprintf("small/%d", i)] = noise(uint64(10+i), 3000+i)
	}
	s.put(files)
	s.seal("one")
	s.rename("d", "moved")
	s.seal("two")
	s.close()
	s = r.open()
	delete(files, "gone")
	for name, data := range map[string][]byte{"moved/large": files["d/large"], "moved/changed": noise(4, 200_000)} {
		files[name] = data
	}
	delete(files, "d/large")
	delete(files, "d/changed")
	s.put(files)
	s.seal("three")
	s.close()
	return r
}

func wantNothing(t *testing.T, all []check.Finding) {
	t.Helper()
	for _, f := range all {
		t.Errorf("found: %v", &f.Finding)
	}
}

func TestWhole(t *testing.T) {
	r := history(t)
	all, result := r.check(check.Options{})
	wantNothing(t, all)
	if result.Read != 0 || result.Groups == 0 || len(result.Amendments()) > 0 {
		t.Errorf("without data: %+v", result)
	}
	all, result = r.check(check.Options{Pick: everything})
	wantNothing(t, all)
	if result.Read < result.Groups || len(result.Amendments()) > 0 {
		t.Errorf("with data: %+v", result)
	}
}

// TestNamesFiles damages a group at a time and wants the files and archives named that have it, under the names that
// they had.
func TestNamesFiles(t *testing.T) {
	r := history(t)
	small := func(i int) string { return fmt.Sprintf("/small/%d: one two three now", i) }
	var smalls []string
	for i := range 10 {
		smalls = append(smalls, small(i))
	}
	for path, want := range map[string]string{
		"moved/large":   "/d/large: one\n/moved/large: two three now",
		"moved/changed": "/moved/changed: three now",
		"small/3":       strings.Join(smalls, "\n"),
	} {
		tag := r.tagOf(path)
		r.flip(tag.name, tag.payload()+50, 3)
		if all, _ := r.check(check.Options{}); len(all) > 0 {
			t.Errorf("%s: %v was found without reading data", path, &all[0].Finding)
		}
		all, result := r.check(check.Options{Pick: everything})
		r.flip(tag.name, tag.payload()+50, 3)
		if got := told(all); got != want || len(all) != 1 || result.Lost != 1 {
			t.Errorf("%s: %d findings name\n%s\nwant\n%s", path, len(all), got, want)
			continue
		}
		if len(all[0].Groups) != 1 || all[0].Groups[0] != tag.Tag.Seq || all[0].Object != tag.name {
			t.Errorf("%s: %v: groups %v, want %v", path, &all[0].Finding, all[0].Groups, tag.Tag.Seq)
		}
		if n := len(result.Amendments()); n != 1 {
			t.Errorf("%s: %d records for the log", path, n)
		}
	}
}

// TestEveryStructure damages tags, headers, footers and metadata, which no data has to be read for.
func TestEveryStructure(t *testing.T) {
	r := history(t)
	for _, mirror := range []bool{false, true} {
		for _, tag := range r.tags(mirror) {
			places := []int64{tag.At + 40}
			if tag.Tag.Kind != chunkfmt.KindData {
				places = append(places, tag.payload()+5)
			}
			for _, at := range places {
				r.flip(tag.name, at, 2)
				all, _ := r.check(check.Options{})
				if len(all) != 1 || all[0].Object != tag.name || at < all[0].Offset || at >= all[0].Offset+all[0].Length {
					t.Errorf("%v %v at %d of %s: %v", tag.Tag.Kind, tag.Tag.Seq, at, tag.name, all)
				}
				r.flip(tag.name, at, 2)
			}
		}
	}
	wantNothing(t, first(r.check(check.Options{})))
}

func first(all []check.Finding, _ check.Result) []check.Finding { return all }

// TestMissing removes chunks, whole or in part.
func TestMissing(t *testing.T) {
	r := history(t)
	tag := r.tagOf("moved/large")
	path := filepath.Join(r.store, tag.name)
	b, err := os.ReadFile(path)
	must(t, err)

	must(t, os.Remove(path))
	all, result := r.check(check.Options{})
	if got := told(all); !strings.Contains(got, "/d/large: one") || !strings.Contains(got, "/small/3: one two three now") ||
		strings.Contains(got, "/moved/changed: three") || result.Lost < 4 {
		t.Errorf("without %s, %d groups lost:\n%s", tag.name, result.Lost, got)
	}
	gone := false
	for _, f := range all {
		gone = gone || f.Object == tag.name && f.What == scrub.Missing && f.Length == int64(len(b))
	}
	if !gone {
		t.Errorf("that %s is gone is not told: %v", tag.name, all)
	}

	must(t, os.WriteFile(path, b[:len(b)-10], 0o600))
	if all, _ := r.check(check.Options{}); len(all) != 1 || all[0].Object != tag.name {
		t.Errorf("without the end of a footer: %v", all)
	}
	must(t, os.WriteFile(path, b, 0o600))

	// The mirror has nothing that the chunk has not, and yet it is a copy less.
	mirror := media.ChunkName(r.keys().ID, chunkfmt.MakeChunkID(1, 1, true))
	must(t, os.Rename(filepath.Join(r.store, mirror), filepath.Join(r.store, "elsewhere")))
	if all, _ := r.check(check.Options{}); len(all) != 1 || all[0].Object != mirror || len(all[0].Files) > 0 {
		t.Errorf("without a mirror: %v", all)
	}
}

// TestMovedGroup: a group that lies in another chunk too is not lost.
func TestMovedGroup(t *testing.T) {
	r := history(t)
	tag := r.tagOf("moved/large")
	b, err := os.ReadFile(filepath.Join(r.store, tag.name))
	must(t, err)
	h, err := chunkfmt.ParseChunkHeader(b)
	must(t, err)
	h.Chunk, h.First = chunkfmt.MakeChunkID(1, 2, false), tag.Tag.Seq
	moved := tag.Tag
	moved.Offset = chunkfmt.ChunkHeaderSize
	chunk := append(h.Append(nil), make([]byte, chunkfmt.TagSize)...)
	moved.Put(chunk[moved.Offset:])
	chunk = append(chunk, b[tag.payload():][:tag.Tag.StoredLen()]...)
	chunk = chunkfmt.AppendFooter(chunk, []chunkfmt.Tag{moved})
	must(t, os.WriteFile(filepath.Join(r.store, media.ChunkName(r.keys().ID, h.Chunk)), chunk, 0o600))
	r.flip(tag.name, tag.payload()+9, 1)
	all, result := r.check(check.Options{Pick: everything})
	if len(all) != 1 || !all[0].Healed || len(all[0].Files) > 0 || len(result.Amendments()) > 0 {
		t.Errorf("a group with another place: %+v, %+v", all, result)
	}
}

// TestHealing damages data, notes it in the log, and puts some of it back: what is lost still is named, and no more.
func TestHealing(t *testing.T) {
	r := history(t)
	tag := r.tagOf("small/3")
	r.flip(tag.name, tag.payload()+50, 3)
	all, result := r.check(check.Options{Pick: everything})
	s := r.open()
	must(t, s.tree.Amend(t.Context(), result.Amendments()))
	if again, result := r.checkOf(check.Volume{ID: r.keys().ID, Medium: r.medium, Index: s.source.Index(), Groups: s.source.Groups()},
		check.Options{}); len(again) != len(all) || len(result.Amendments()) > 0 {
		t.Errorf("what is known to be damaged is read always: %v, %+v", again, result)
	}
	back := map[string][]byte{}
	for i := range 9 {
		back[fmt.Sprintf("back/%d", i)] = noise(uint64(10+i), 3000+i)
	}
	s.put(back)
	s.seal("back")
	s.close()
	all, result = r.check(check.Options{})
	if got := told(all); got != "/small/9: one two three" || result.Lost != 1 || len(result.Amendments()) > 0 {
		t.Errorf("what is not back: %+v\n%s", result, got)
	}
	r.wantFiles("two", map[string][]byte{"small/3": noise(13, 3003), "small/9": noise(19, 3009)}, "small/9")

	// The bytes come back by themselves: nothing is damaged any more.
	r.flip(tag.name, tag.payload()+50, 3)
	all, result = r.check(check.Options{})
	wantNothing(t, all)
	if n := len(result.Amendments()); n != 1 || result.Amendments()[0].Op != chunkfmt.OpDelete {
		t.Errorf("%d records for the log", n)
	}
}

// TestHealerDamaged damages the group that another one is healed from.
func TestHealerDamaged(t *testing.T) {
	r := history(t)
	tag := r.tagOf("moved/large")
	r.flip(tag.name, tag.payload()+50, 3)
	_, damaged := r.check(check.Options{Pick: everything})
	s := r.open()
	must(t, s.tree.Amend(t.Context(), damaged.Amendments()))
	s.put(map[string][]byte{"again": noise(1, 700_000)})
	s.seal("again")
	s.close()
	if all, result := r.check(check.Options{}); len(all) != 1 || !all[0].Healed || result.Lost > 0 {
		t.Errorf("healed: %+v", all)
	}
	healer := r.tagOf("again")
	r.flip(healer.name, healer.payload()+77, 3)
	all, _ := r.check(check.Options{Pick: everything})
	if got := told(all); got != "/again: again now\n/d/large: one\n/moved/large: two three" {
		t.Errorf("without what healed it:\n%s", got)
	}
}

// TestGivenUp: nobody misses a group that was given up since little of it is needed. Where what it was moved to is damaged,
// that names its files.
func TestGivenUp(t *testing.T) {
	r := history(t)
	old := r.tagOf("small/3")
	s := r.open()
	s.put(map[string][]byte{"small/3": noise(13, 3003), "small/5": noise(15, 3005)})
	s.seal("four")
	pruned := s.pruneAllBut("four")
	s.close()
	if pruned.Moved != 1 {
		t.Fatalf("%+v", pruned)
	}
	all, result := r.check(check.Options{Pick: everything})
	wantNothing(t, all)
	if len(result.Amendments()) > 0 || result.Groups != 1 {
		t.Errorf("nothing is damaged: %+v", result)
	}
	r.wantFiles("four", map[string][]byte{"small/3": noise(13, 3003), "small/5": noise(15, 3005)})
	x, v := r.reader()
	hold, err := check.Confirm(t.Context(), v.Index, v.Groups, []chunkfmt.Record{{
		Op: chunkfmt.OpPut, Kind: chunkfmt.RecBad, Key: chunkfmt.BadKey(old.Tag.Seq), Value: []byte("missed before it was given up"),
	}})
	must(t, err, x.Close())
	if len(hold) > 0 {
		t.Errorf("what was given up is said to be damaged: %v", hold)
	}
	var heir stored
	for _, tag := range r.tags(false) {
		if tag.Tag.Kind == chunkfmt.KindData {
			heir = tag
		}
	}
	r.flip(heir.name, heir.payload()+50, 3)
	all, result = r.check(check.Options{Pick: everything})
	if got := told(all); got != "/small/3: four now\n/small/5: four now" || len(all) != 1 || len(result.Amendments()) != 1 {
		t.Errorf("%d findings, %d records for the log, files:\n%s", len(all), len(result.Amendments()), got)
	}
}

// TestPrunedMeanwhile: an index from before a prune does not know what may go. Nobody misses it.
func TestPrunedMeanwhile(t *testing.T) {
	r := history(t)
	s := r.open()
	s.put(map[string][]byte{"small/3": noise(13, 3003), "small/5": noise(15, 3005)})
	s.seal("four")
	s.close()
	state := r.options.StateDir
	r.options.StateDir = t.TempDir() // another machine
	x, v := r.reader()
	r.options.StateDir = state
	s = r.open()
	pruned := s.pruneAllBut("four")
	s.close()
	if pruned.Moved == 0 || pruned.Removed == 0 || pruned.Chunks == 0 {
		t.Fatalf("%+v", pruned)
	}
	all, result := r.checkOf(v, check.Options{Pick: everything})
	wantNothing(t, all)
	if len(result.Amendments()) > 0 || result.Lost > 0 {
		t.Errorf("%+v", result)
	}
	must(t, x.Close())
}

// TestShare reads part of the data.
func TestShare(t *testing.T) {
	r := history(t)
	n := 0
	_, result := r.check(check.Options{Pick: func(chunkfmt.Seq) bool { n++; return n%2 == 0 }})
	if result.Read != n/2 || n < 3 {
		t.Errorf("%d of %d groups were read", result.Read, n)
	}
}

// TestWhileWritten checks while a session writes: nothing of that is damage.
func TestWhileWritten(t *testing.T) {
	r := history(t)
	s := r.open()
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for i := uint64(0); ; i++ {
			select {
			case <-stop:
				return
			default:
				s.put(map[string][]byte{"a": noise(1000+i, 300_000), "b": bytes.Repeat([]byte{byte(i)}, 5000)})
			}
		}
	}()
	for range 5 {
		must(t, s.tree.Settle(t.Context()))
		f, err := os.Create(filepath.Join(t.TempDir(), "copy"))
		must(t, err)
		must(t, s.source.Index().CopyTo(f), f.Close())
		x, err := openCopy(r, f.Name())
		must(t, err)
		v := check.Volume{ID: r.keys().ID, Medium: r.medium, Index: x.Index(), Groups: x.Groups()}
		wantNothing(t, first(r.checkOf(v, check.Options{Pick: everything})))
		must(t, x.Close())
	}
	close(stop)
	<-done
	s.close()
}

// TestAfterCrash: what a crash leaves is no damage.
func TestAfterCrash(t *testing.T) {
	r := history(t)
	s := r.open()
	s.put(map[string][]byte{"synced": noise(50, 300_000)})
	must(t, s.tree.Sync(t.Context()))
	s.put(map[string][]byte{"synced": noise(50, 300_000), "lost": noise(51, 300_000)})
	s.crash()
	s = r.open()
	s.put(map[string][]byte{"later": noise(52, 300_000)})
	s.close()
	wantNothing(t, first(r.check(check.Options{Pick: everything})))
}
