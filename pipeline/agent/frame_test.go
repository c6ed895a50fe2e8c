package agent

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"slices"
	"testing"

	"coffer/chunkfmt"
	"coffer/pipeline/stage"
)

func placesUpTo(n int) (all []stage.Place) {
	for i := range n {
		all = append(all, stage.Place{Seq: chunkfmt.MakeSeq(1, uint64(i+1)), At: chunkfmt.Location{
			Chunk: chunkfmt.MakeChunkID(1, 1, false), Offset: uint64(i) * 100, Length: 90}})
	}
	return all
}

// TestAcks: acknowledgements come over whole, however many places they have, and none says more than is stable.
func TestAcks(t *testing.T) {
	for _, n := range []int{0, 1, maxPlaces, maxPlaces + 1, 3*maxPlaces + 5} {
		want := placesUpTo(n)
		last := chunkfmt.MakeSeq(1, uint64(n)+7)
		in := bufio.NewReader(bytes.NewReader(appendAck(nil, last, want)))
		var got []stage.Place
		var upTo chunkfmt.Seq
		for upTo != last {
			kind, body, err := readMessage(in, nil)
			if err != nil || kind != msgAck {
				t.Fatalf("%d places: %q, %v", n, kind, err)
			}
			next, places, err := parseAck(body)
			if err != nil || next < upTo || len(got)+len(places) < n && next >= want[len(got)+len(places)].Seq {
				t.Fatalf("%d places: up to %v after %v, %v", n, next, upTo, err)
			}
			got, upTo = append(got, places...), next
		}
		if !slices.Equal(got, want) {
			t.Errorf("%d places: %d came", n, len(got))
		}
	}
}

func TestTrouble(t *testing.T) {
	for _, want := range []*Trouble{nil, {Code: "full", Message: "no space"}} {
		kind, body, err := readMessage(bufio.NewReader(bytes.NewReader(appendTrouble(nil, msgStall, want))), nil)
		if err != nil || kind != msgStall {
			t.Fatal(err)
		}
		got, err := parseTrouble(body)
		if err != nil || (got == nil) != (want == nil) || got != nil && *got != *want {
			t.Errorf("%+v, %v, want %+v", got, err, want)
		}
	}
}

// FuzzFrame: whatever comes, a frame is refused or within its limit.
func FuzzFrame(f *testing.F) {
	var head [frameHeader]byte
	putFrame(&head, chunkfmt.MakeSeq(1, 1), 5)
	f.Add(append(head[:], "hello"...))
	f.Add(bytes.Repeat([]byte{0xff}, frameHeader))
	f.Fuzz(func(t *testing.T, b []byte) {
		const limit = 1000
		first, n, err := readFrame(bytes.NewReader(b), limit)
		switch {
		case err == nil && (first == 0 || n < 1 || n > limit):
			t.Errorf("frame %v of %d bytes", first, n)
		case err != nil && !errors.Is(err, ErrProtocol) && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF):
			t.Errorf("%v", err)
		}
	})
}

// FuzzMessage: whatever comes, messages are refused or make sense, and take no more memory than their limit.
func FuzzMessage(f *testing.F) {
	f.Add(appendAck(nil, chunkfmt.MakeSeq(1, 9), placesUpTo(3)))
	f.Add(appendTrouble(nil, msgFail, &Trouble{Code: "x", Message: "y"}))
	f.Add([]byte{msgAck, 0xff, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, b []byte) {
		in := bufio.NewReader(bytes.NewReader(b))
		for {
			kind, body, err := readMessage(in, nil)
			if err != nil {
				return
			}
			switch kind {
			case msgAck:
				upTo, places, err := parseAck(body)
				for _, p := range places {
					if err == nil && p.Seq > upTo {
						t.Errorf("%v is stable, and %v lies at %+v", upTo, p.Seq, p.At)
					}
				}
			case msgStall, msgFail:
				_, _ = parseTrouble(body) // must not panic
			}
		}
	})
}
