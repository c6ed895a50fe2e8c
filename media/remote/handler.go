package remote

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"

	"coffer/chunkfmt"
	"coffer/media"
)

// maxRead is the most bytes of one read.
const maxRead = 16 << 20

// Volume is what a Handler answers for: the chunks of one volume, and nothing else on the medium.
type Volume struct {
	ID     chunkfmt.VolumeID
	Medium media.Medium
	// Places finds a group on the medium; *media.Catalog does.
	Places func(chunkfmt.Seq) ([]chunkfmt.Location, error)
	// Space is what the medium has left for the volume.
	Space func(r *http.Request) (media.Space, error)
	// Lease takes, Release gives back the right to write the volume.
	Lease   func(r *http.Request, l Lease) error
	Release func(r *http.Request) error
	// Remove takes a list of removed groups, or says what it would give back, and Removal what became of the last one.
	// nil: nothing can be removed.
	Remove  func(r *http.Request, list io.Reader, dryRun bool) (Removal, error)
	Removal func(r *http.Request) Removal
}

// Lease is what is asked for: who wants to write, in one line for others; that the lease is to be kept until it is given
// back; and to take it from whoever has it.
type Lease struct {
	Holder         string
	Keep, TakeOver bool
}

// Handler answers a Medium. Paths begin where its Base ends:
//
//	GET    /objects?prefix=P            the names and sizes of chunks
//	GET    /objects/NAME?off=O&len=N    bytes, fewer at the end
//	POST   /sync/NAME                   makes a chunk stable
//	GET    /space                       free and total bytes
//	GET    /places/SEQ                  all places of a group
//	POST   /lease   DELETE /lease       the right to write
//	POST   /removals?dry-run=1          takes a list of removed groups, or says what it would give back: Removal
//	GET    /removals                    what became of it: Removal
//
// A failure is a status of 4xx or 5xx with a JSON body of a code and a message.
func Handler(v Volume) http.Handler {
	h := &handler{v}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /objects", h.list)
	mux.HandleFunc("GET /objects/{name...}", h.read)
	mux.HandleFunc("POST /sync/{name...}", h.sync)
	mux.HandleFunc("GET /space", h.space)
	mux.HandleFunc("GET /places/{seq}", h.place)
	mux.HandleFunc("POST /lease", h.lease)
	mux.HandleFunc("POST /removals", h.remove)
	mux.HandleFunc("GET /removals", h.removal)
	mux.HandleFunc("DELETE /lease", func(w http.ResponseWriter, r *http.Request) { answer(w, struct{}{}, v.Release(r)) })
	return mux
}

type handler struct{ v Volume }

// chunk is the name of a chunk of this volume that the request is about.
func (h *handler) chunk(r *http.Request) (string, error) {
	name := r.PathValue("name")
	if v, _, ok := media.ParseChunkName(name); !ok || v != h.v.ID {
		return "", media.ErrName
	}
	return name, nil
}

func (h *handler) list(w http.ResponseWriter, r *http.Request) {
	prefix := r.URL.Query().Get("prefix")
	if !strings.HasPrefix(prefix, media.VolumePrefix(h.v.ID)) {
		answer(w, nil, media.ErrName)
		return
	}
	infos, err := h.v.Medium.List(r.Context(), prefix)
	chunks := make([]media.Info, 0, len(infos))
	for _, info := range infos {
		if v, _, ok := media.ParseChunkName(info.Name); ok && v == h.v.ID {
			chunks = append(chunks, info)
		}
	}
	answer(w, chunks, err)
}

// rooms have what was read on its way out.
var rooms = sync.Pool{New: func() any { return new([]byte) }}

func (h *handler) read(w http.ResponseWriter, r *http.Request) {
	name, err := h.chunk(r)
	off, err1 := strconv.ParseInt(r.URL.Query().Get("off"), 10, 64)
	n, err2 := strconv.Atoi(r.URL.Query().Get("len"))
	if err = errors.Join(err, err1, err2); err != nil || off < 0 || n < 0 || n > maxRead {
		answer(w, nil, errors.Join(media.ErrName, err))
		return
	}
	room := rooms.Get().(*[]byte)
	defer rooms.Put(room)
	if cap(*room) < n {
		*room = make([]byte, n)
	}
	n, err = h.v.Medium.ReadAt(r.Context(), name, (*room)[:n], off)
	if err != nil && err != io.EOF {
		answer(w, nil, err)
		return
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Content-Length", strconv.Itoa(n))
	_, _ = w.Write((*room)[:n]) // who asked may have gone
}

func (h *handler) sync(w http.ResponseWriter, r *http.Request) {
	name, err := h.chunk(r)
	if s, ok := h.v.Medium.(media.Syncer); ok && err == nil {
		err = s.Sync(r.Context(), name)
	}
	answer(w, struct{}{}, err)
}

func (h *handler) space(w http.ResponseWriter, r *http.Request) {
	space, err := h.v.Space(r)
	answer(w, space, err)
}

func (h *handler) place(w http.ResponseWriter, r *http.Request) {
	seq, err := strconv.ParseUint(r.PathValue("seq"), 10, 64)
	if err != nil {
		answer(w, nil, media.ErrNoTag)
		return
	}
	places, err := h.v.Places(chunkfmt.Seq(seq))
	answer(w, places, err)
}

func (h *handler) lease(w http.ResponseWriter, r *http.Request) {
	var l lease
	err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 4096)).Decode(&l)
	if err == nil {
		err = h.v.Lease(r, Lease(l))
	}
	answer(w, struct{}{}, err)
}

// answer sends v, or why there is none.
func answer(w http.ResponseWriter, v any, err error) {
	w.Header().Set("Content-Type", "application/json")
	if err != nil {
		status := http.StatusInternalServerError
		switch {
		case errors.Is(err, media.ErrNotExist), errors.Is(err, media.ErrNoTag), errors.Is(err, media.ErrName):
			status = http.StatusNotFound
		case errors.Is(err, media.ErrLocked):
			status = http.StatusConflict
		}
		w.WriteHeader(status)
		v = failure{Code(err), err.Error()}
	}
	_ = json.NewEncoder(w).Encode(v) // who asked may have gone
}
