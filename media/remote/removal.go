package remote

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"coffer/chunkfmt"
	"coffer/media"
)

// maxList bounds a list of removed groups, in bytes.
const maxList = 1 << 30

// Removal says what becomes of the groups that a client has removed.
type Removal struct {
	// Running: they are being taken off the medium.
	Running bool `json:"running,omitempty"`
	// Until, if not zero: they wait for an administrator to approve of it, and at least until then.
	Until time.Time `json:"until,omitzero"`
	// Chunks were written anew, or are to be, with Groups less; the medium gets Bytes back. Left are chunks that were
	// worth it and stay as they are.
	Chunks int    `json:"chunks"`
	Groups int    `json:"groups"`
	Bytes  int64  `json:"bytes"`
	Left   int    `json:"left,omitempty"`
	Error  string `json:"error,omitempty"` // why it has ended before its time
	// Anew are the chunks that were written anew, as they are now.
	Anew []chunkfmt.ChunkID `json:"anew,omitempty"`
}

// pollTime is how long is waited before the server is asked again.
const pollTime = 200 * time.Millisecond

// RemoveGroups tells the server which groups were removed, by a list of size bytes as package cleaner has it, and returns
// when they are taken off the medium, or wait. With dryRun it asks what that would give back.
func (m *Medium) RemoveGroups(ctx context.Context, list io.ReaderAt, size int64, dryRun bool) (Removal, error) {
	path := "/removals"
	if dryRun {
		path += "?dry-run=1"
	}
	var r Removal
	body := func() io.Reader { return io.NewSectionReader(list, 0, size) }
	err := m.ask(ctx, http.MethodPost, path, body, func(answer *http.Response) error {
		return json.NewDecoder(io.LimitReader(answer.Body, maxAnswer)).Decode(&r)
	})
	for err == nil && r.Running {
		select {
		case <-time.After(pollTime):
		case <-ctx.Done():
			return r, ctx.Err() // the server goes on
		}
		r = Removal{}
		err = m.call(ctx, http.MethodGet, "/removals", nil, &r)
	}
	if err == nil && r.Error != "" {
		err = fmt.Errorf("the server: %s", r.Error)
	}
	if err != nil {
		return r, fmt.Errorf("have the server take removed groups off its medium: %w", err)
	}
	return r, nil
}

func (h *handler) remove(w http.ResponseWriter, r *http.Request) {
	if h.v.Remove == nil {
		answer(w, nil, errors.ErrUnsupported)
		return
	}
	if r.ContentLength < 0 || r.ContentLength > maxList {
		answer(w, nil, fmt.Errorf("a list of removed groups of %d bytes: %w", r.ContentLength, media.ErrName))
		return
	}
	removal, err := h.v.Remove(r, http.MaxBytesReader(w, r.Body, maxList), r.URL.Query().Get("dry-run") != "")
	answer(w, removal, err)
}

func (h *handler) removal(w http.ResponseWriter, r *http.Request) {
	if h.v.Removal == nil {
		answer(w, nil, errors.ErrUnsupported)
		return
	}
	answer(w, h.v.Removal(r), nil)
}
