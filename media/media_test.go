package media_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"coffer/chunkfmt"
	"coffer/media"
	"coffer/media/mem"
)

func TestChunkNames(t *testing.T) {
	v := chunkfmt.VolumeID{0xab, 15: 0xcd}
	const prefix = "volumes/ab0000000000000000000000000000cd/"
	for _, c := range []struct {
		id   chunkfmt.ChunkID
		want string
	}{
		{chunkfmt.MakeChunkID(1, 1, false), prefix + "000001-000001.chunk"},
		{chunkfmt.MakeChunkID(0xabcdef, 0x123456, false), prefix + "abcdef-123456.chunk"},
		{chunkfmt.MakeChunkID(16, 255, true), prefix + "000010-0000ff.mirror"},
		{chunkfmt.MakeChunkID(16, 255, false).Of(1), prefix + "000010-0000ff.chunk.01"},
		{chunkfmt.MakeChunkID(16, 255, false).Of(255), prefix + "000010-0000ff.chunk.ff"},
		{chunkfmt.MakeChunkID(chunkfmt.MaxOrdinal, chunkfmt.MaxChunkNumber, false), prefix + "ffffff-7fffffff.chunk"},
	} {
		if got := media.ChunkName(v, c.id); got != c.want {
			t.Errorf("name of %v: %s, want %s", c.id, got, c.want)
		}
		if err := media.CheckName(c.want); err != nil {
			t.Error(err)
		}
	}
	for _, name := range []string{
		"", "volumes/", prefix, prefix + "catalog", prefix + "000001-000001", prefix + "00001-000001.chunk", prefix + "0000001-000001.chunk",
		prefix + "00000A-000001.chunk", prefix + "+00001-000001.chunk", prefix + "000001-000001.chunk.mirror", prefix + "000001-000001.mirror.chunk",
		prefix + "000001-80000000.chunk", prefix + "x/000001-000001.chunk", "000001-000001.chunk", "/" + prefix + "000001-000001.chunk",
		strings.ToUpper(prefix) + "000001-000001.chunk", "volumes/ab/000001-000001.chunk", prefix + "1000000-000001.chunk",
		prefix + "000001-000001.chunk.00", prefix + "000001-000001.chunk.1", prefix + "000001-000001.chunk.0A", prefix + "000001-000001.01",
	} {
		if _, id, ok := media.ParseChunkName(name); ok {
			t.Errorf("parsed %q as %v", name, id)
		}
	}
}

func TestChunkNamesReturn(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		v := chunkfmt.VolumeID(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(rt, "volume"))
		id := chunkfmt.MakeChunkID(
			rapid.Uint32Range(1, chunkfmt.MaxOrdinal).Draw(rt, "ordinal"),
			rapid.Uint32Range(1, chunkfmt.MaxChunkNumber).Draw(rt, "number"),
			rapid.Bool().Draw(rt, "mirror")).Of(rapid.IntRange(0, chunkfmt.MaxGeneration).Draw(rt, "generation"))
		gotVolume, gotID, ok := media.ParseChunkName(media.ChunkName(v, id))
		if !ok || gotVolume != v || gotID != id {
			rt.Errorf("%v %v came back as %v %v %v", v, id, gotVolume, gotID, ok)
		}
	})
}

func FuzzParseChunkName(f *testing.F) {
	f.Add("volumes/ab0000000000000000000000000000cd/000001-000001.chunk")
	f.Add("volumes/ab0000000000000000000000000000cd/000001-7fffffff.mirror")
	f.Add("volumes/x")
	f.Fuzz(func(t *testing.T, name string) {
		if v, id, ok := media.ParseChunkName(name); ok && media.ChunkName(v, id) != name {
			t.Errorf("%q is not the name of %v %v", name, v, id)
		}
	})
}

func TestStore(t *testing.T) {
	m := mem.New(0)
	if _, err := media.OpenStore(t.Context(), m); !errors.Is(err, media.ErrNoStore) {
		t.Errorf("open nothing: %v, want ErrNoStore", err)
	}
	id, err := media.CreateStore(t.Context(), m)
	if err != nil || id == (chunkfmt.StoreID{}) {
		t.Fatalf("create: %v, %v", id, err)
	}
	if _, err := media.CreateStore(t.Context(), m); !errors.Is(err, media.ErrExist) {
		t.Errorf("create a second time: %v, want ErrExist", err)
	}
	whole, err := media.ReadAll(t.Context(), m, media.StoreName, 100)
	if err != nil {
		t.Fatal(err)
	}
	// Any bit of one copy may rot; of both, it is seen.
	for i := range whole {
		bad := append([]byte{}, whole...)
		bad[i] ^= 1 << (i % 8)
		if err := m.Put(t.Context(), media.StoreName, bad); err != nil {
			t.Fatal(err)
		}
		if got, err := media.OpenStore(t.Context(), m); err != nil || got != id {
			t.Errorf("byte %d of one copy is bad: %v, %v", i, got, err)
		}
		if err := m.Put(t.Context(), media.StoreCopyName, bad); err != nil {
			t.Fatal(err)
		}
		if got, err := media.OpenStore(t.Context(), m); !errors.Is(err, media.ErrStoreFormat) {
			t.Errorf("byte %d of both copies is bad: %v, %v; want ErrStoreFormat", i, got, err)
		}
		if err := m.Put(t.Context(), media.StoreCopyName, whole); err != nil {
			t.Fatal(err)
		}
	}
	if err := m.Remove(t.Context(), media.StoreName); err != nil {
		t.Fatal(err)
	}
	if got, err := media.OpenStore(t.Context(), m); err != nil || got != id {
		t.Errorf("the first copy is missing: %v, %v", got, err)
	}
}

func TestMendStore(t *testing.T) {
	m := mem.New(0)
	id, err := media.CreateStore(t.Context(), m)
	if err != nil {
		t.Fatal(err)
	}
	whole, err := media.ReadAll(t.Context(), m, media.StoreName, 100)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{media.StoreName, media.StoreCopyName} {
		for what, damage := range map[string]func() error{
			"damaged": func() error {
				b := bytes.Clone(whole)
				b[15] ^= 8
				return m.Put(t.Context(), name, b)
			},
			"missing": func() error { return m.Remove(t.Context(), name) },
			"whole":   func() error { return nil },
		} {
			if err := damage(); err != nil {
				t.Fatal(err)
			}
			mended, err := media.MendStore(t.Context(), m)
			if err != nil || (mended == name) != (what != "whole") {
				t.Errorf("%s %s: mended %q, %v", name, what, mended, err)
			}
			if b, err := media.ReadAll(t.Context(), m, name, 100); err != nil || !bytes.Equal(b, whole) {
				t.Errorf("%s %s: %x afterwards, %v", name, what, b, err)
			}
		}
	}
	for _, name := range []string{media.StoreName, media.StoreCopyName} {
		if err := m.Put(t.Context(), name, make([]byte, len(whole))); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := media.MendStore(t.Context(), m); !errors.Is(err, media.ErrStoreFormat) {
		t.Errorf("both copies of %v are damaged: %v", id, err)
	}
}

func TestReadAll(t *testing.T) {
	m := mem.New(0)
	if err := m.Put(t.Context(), "a", []byte("12345")); err != nil {
		t.Fatal(err)
	}
	for limit, fits := range map[int]bool{0: false, 4: false, 5: true, 6: true} {
		got, err := media.ReadAll(t.Context(), m, "a", limit)
		if (err == nil) != fits || fits && string(got) != "12345" {
			t.Errorf("limit %d: %q, %v", limit, got, err)
		}
	}
}
