package mover

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"coffer/chunkfmt"
	"coffer/media"
	"coffer/pipeline/agent"
)

// TestMutatedRequests has a client that is let in ask for all that there is to ask for, in ways that are not quite
// right. Each is answered, none makes a handler panic or the server keep more than a bound.
func TestMutatedRequests(t *testing.T) {
	t.Parallel()
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	d := newDoors(t)
	g := d.client
	base := "/v1/volumes/" + g.volume.String()
	name := media.ChunkName(g.volume, chunkfmt.MakeChunkID(1, 1, false))
	attach, err := json.Marshal(agent.Attach{
		Pipe: "pipe", Volume: g.volume.String(), Session: hex.EncodeToString(make([]byte, len(chunkfmt.SessionID{}))),
		Ordinal: 1, Agents: 2, Holder: "a test", Attempt: 1,
	})
	if err != nil {
		t.Fatal(err)
	}
	requests := []struct{ method, path, body string }{
		{"GET", "/v1/store", ""},
		{"POST", "/v1/enroll", `{"secret":"AAAAAAAAAAAAAAAAAAAAAA=="}`},
		{"POST", agent.Pipes, string(attach)},
		{"GET", agent.Pipes + "/pipe/agents/0", ""},
		{"GET", agent.Pipes + "/pipe/acks", ""},
		{"DELETE", agent.Pipes + "/nopipe", ""},
		{"GET", base + "/objects?prefix=" + media.VolumePrefix(g.volume), ""},
		{"GET", base + "/objects/" + name + "?off=0&len=100", ""},
		{"POST", base + "/sync/" + name, ""},
		{"GET", base + "/space", ""},
		{"GET", base + "/places/1099511627777", ""},
		{"POST", base + "/lease", `{"holder":"a test"}`},
		{"DELETE", base + "/lease", ""},
		{"GET", base + "/removals", ""},
		{"POST", base + "/branches", `{"branch":"` + strings.Repeat("ab", 16) + `","before":1,"sessions":["00"]}`},
	}
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	answers := map[int]int{}
	for range 400 {
		r := requests[rng.IntN(len(requests))]
		path, body := mutated(rng, r.path), mutated(rng, r.body)
		request, err := http.NewRequestWithContext(t.Context(), r.method, g.link.Base()+path, bytes.NewReader([]byte(body)))
		if err != nil {
			continue // not even a client's library makes a request of it
		}
		answer, err := g.link.HTTP().Do(request)
		if err != nil {
			t.Fatalf("%s %q with %q was not answered: %v", r.method, path, body, err)
		}
		n, err := io.Copy(io.Discard, answer.Body)
		answer.Body.Close()
		if err != nil || n > 1<<20 {
			t.Errorf("%s %q with %q: %d bytes came, %v", r.method, path, body, n, err)
		}
		answers[answer.StatusCode]++
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 64<<20 {
		t.Errorf("%d bytes are kept of 400 requests", grown)
	}
	d.log.mu.Lock()
	for _, line := range d.log.text {
		if strings.Contains(line, "panic") {
			t.Errorf("the server says %s", line)
		}
	}
	d.log.mu.Unlock()
	if err := g.link.Call(t.Context(), "GET", "/v1/store", nil, nil); err != nil {
		t.Errorf("and then a good request: %v", err)
	}
	t.Logf("answers by status: %v", answers)
	if len(answers) < 3 {
		t.Errorf("answers by status: %v: the requests are all alike", answers)
	}
}

// mutated changes a text in some places, and in a third of all cases none.
func mutated(rng *rand.Rand, s string) string {
	b := []byte(s)
	for range rng.IntN(3) {
		if len(b) == 0 {
			return string(b)
		}
		at := rng.IntN(len(b))
		switch rng.IntN(6) {
		case 0:
			b[at] = byte(' ' + 1 + rng.IntN(94))
		case 1:
			b = b[:at]
		case 2:
			b = append(b[:at:at], append([]byte(fmt.Sprint(rng.Uint64())), b[at:]...)...)
		case 3:
			b = append(b[:at:at], append([]byte("-1"), b[at:]...)...)
		case 4:
			b = append(b[:at:at], append(bytes.Repeat([]byte("["), 1+rng.IntN(5000)), b[at:]...)...)
		default:
			b = append(b, b[:at]...)
		}
	}
	if len(b) == 0 || s[:1] == "/" && b[0] != '/' {
		return s
	}
	return string(b)
}
