package mover

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"coffer/chunkfmt"
	"coffer/media"
	"coffer/media/remote"
	"coffer/pipeline"
	"coffer/pipeline/agent"
	"coffer/pipeline/channel"
	"coffer/pipeline/stage"
)

// DestinationOptions say what a Destination serves. All fields but the limits, Clock and Log are needed.
type DestinationOptions struct {
	Medium   media.Medium // where the store is; not closed by the Destination
	Store    chunkfmt.StoreID
	Registry *channel.Registry
	Starter  Starter
	// CatalogPath gives the file of a volume's catalog.
	CatalogPath func(chunkfmt.VolumeID) string
	// LeaseDir is a folder for the leases that are held, so that they outlive the process.
	LeaseDir string
	// Removals keeps what clients have removed; nil: nothing can be. What an append-only client has removed stays for
	// Grace after it has said so, and until it is approved of.
	Removals *Removals
	Grace    time.Duration

	Window     int           // buffers of 1 MiB that may be under way in a pipe; 32
	ChunkBytes int64         // length at which a chunk is closed; 128 MiB
	LeaseTime  time.Duration // for which a client that is not heard of keeps its volume; a minute
	Faults     stage.Faults  // deliberate defects, for negative controls of crash tests only
	Clock      func() time.Time
	Log        *slog.Logger
}

// Destination is the storing end of the pipes of other machines, and where they read what is stored. It holds no key.
// Its Handler is for a channel.Server; Run must run beside it. Methods may be called concurrently.
type Destination struct {
	o    DestinationOptions
	life context.Context // of pipes
	stop context.CancelFunc

	mu      sync.Mutex // guards the map; nothing is locked under it
	volumes map[chunkfmt.VolumeID]*farVolume
	closed  bool
}

// Codes of answers that are of package mover alone.
const (
	codeNoPipe = "no-pipe" // there is no such pipe here: attach again
	codeVoid   = "void"    // a later session has begun: nothing more of this one counts
	codeBad    = "bad"     // the request is none
	// codeOvertaken: a request that its client made later came first.
	codeOvertaken = "overtaken"
)

// NewDestination makes a destination that ends with ctx or Close.
func NewDestination(ctx context.Context, o DestinationOptions) *Destination {
	if o.Window == 0 {
		o.Window = 32
	}
	if o.ChunkBytes == 0 {
		o.ChunkBytes = 128 << 20
	}
	if o.LeaseTime == 0 {
		o.LeaseTime = time.Minute
	}
	if o.Clock == nil {
		o.Clock = time.Now
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	d := &Destination{o: o, volumes: map[chunkfmt.VolumeID]*farVolume{}}
	d.life, d.stop = context.WithCancel(ctx)
	return d
}

// StoreAnswer tells a client which store this is.
type StoreAnswer struct {
	Store string `json:"store"` // hexadecimal
}

// Handler answers clients, which a channel.Server has let in:
//
//	GET    /v1/store                          which store this is: StoreAnswer
//	       /v1/volumes/{volume}/…             what is stored of a volume, see remote.Handler
//	POST   /v1/volumes/{volume}/branches      a branch of it, for what came too late: BranchRequest
//	POST   /v1/pipes                          the receiving half of a pipe: agent.Attach, agent.Attached
//	GET    /v1/pipes/{pipe}/agents/{agent}    upgraded: buffers
//	GET    /v1/pipes/{pipe}/acks              upgraded: acknowledgements
//	DELETE /v1/pipes/{pipe}                   ends a pipe through which all has come
//
// A failure is a status of 4xx or 5xx with a JSON body of a code and a message.
func (d *Destination) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/store", func(w http.ResponseWriter, r *http.Request) {
		channel.Answer(w, http.StatusOK, StoreAnswer{d.o.Store.String()})
	})
	mux.HandleFunc("/v1/volumes/{volume}/", d.volume)
	mux.HandleFunc("POST /v1/volumes/{volume}/branches", d.branch)
	mux.HandleFunc("POST "+agent.Pipes, d.attach)
	mux.HandleFunc("GET "+agent.Pipes+"/{pipe}/agents/{agent}", d.agent)
	mux.HandleFunc("GET "+agent.Pipes+"/{pipe}/acks", d.acks)
	mux.HandleFunc("DELETE "+agent.Pipes+"/{pipe}", d.end)
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		d.fail(w, r, fmt.Errorf("%s %s: %w", r.Method, r.URL.Path, errBad))
	})
	return mux
}

var (
	errBad    = errors.New("no such request")
	errVoid   = errors.New("a later session of the volume has begun")
	errNoPipe = errors.New("there is no such pipe")
)

// overtakenError: a request comes after one that its client made later.
type overtakenError struct{ after uint64 }

func (e *overtakenError) Error() string { return "the request comes after a later one" }

// fail answers with what went wrong.
func (d *Destination) fail(w http.ResponseWriter, r *http.Request, err error) {
	f := channel.Failure{Code: remote.Code(err), Message: err.Error()}
	status := http.StatusInternalServerError
	var late *overtakenError
	switch {
	case errors.Is(err, channel.ErrRefused):
		f.Code, status = "refused", http.StatusForbidden
	case errors.Is(err, media.ErrLocked):
		status = http.StatusConflict
	case errors.Is(err, errVoid):
		f.Code, status = codeVoid, http.StatusConflict
	case errors.Is(err, errNoPipe):
		f.Code, status = codeNoPipe, http.StatusNotFound
	case errors.As(err, &late):
		f.Code, f.After, status = codeOvertaken, late.after, http.StatusConflict
	case errors.Is(err, errBad):
		f.Code, status = codeBad, http.StatusBadRequest
	}
	d.o.Log.Warn("a client's request was not granted", "client", channel.ClientOf(r.Context()).Name, "from", r.RemoteAddr, "cause", err)
	channel.Answer(w, status, f)
}

// mine is the volume of that name, if it is the client's.
func (d *Destination) mine(r *http.Request, volume string) (*farVolume, error) {
	id, err := chunkfmt.ParseVolumeID(volume)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errBad, err)
	}
	if err := d.o.Registry.Own(channel.ClientOf(r.Context()), id); err != nil {
		return nil, err
	}
	return d.ofID(id)
}

// ofID is a volume, whoever it belongs to.
func (d *Destination) ofID(id chunkfmt.VolumeID) (*farVolume, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return nil, errors.New("the server is ending")
	}
	v := d.volumes[id]
	if v == nil {
		v = &farVolume{d: d, id: id}
		v.lease.path, v.lease.shut = d.leasePath(id), d.shut
		d.volumes[id] = v
	}
	return v, nil
}

// shut says whether a client was revoked. One that can't be looked up now may still come.
func (d *Destination) shut(client channel.Key) bool {
	_, err := d.o.Registry.Client(client)
	return errors.Is(err, channel.ErrRefused)
}

// volume answers what remote.Handler does.
func (d *Destination) volume(w http.ResponseWriter, r *http.Request) {
	v, err := d.mine(r, r.PathValue("volume"))
	if err == nil {
		err = v.open(r.Context())
	}
	if err != nil {
		d.fail(w, r, err)
		return
	}
	http.StripPrefix("/v1/volumes/"+r.PathValue("volume"), v.handler).ServeHTTP(w, r)
}

func (d *Destination) attach(w http.ResponseWriter, r *http.Request) {
	var a agent.Attach
	if err := channel.Read(w, r, &a); err != nil {
		d.fail(w, r, fmt.Errorf("%w: %w", errBad, err))
		return
	}
	v, err := d.mine(r, a.Volume)
	var reply agent.Attached
	if err == nil {
		reply, err = v.attach(r.Context(), channel.ClientOf(r.Context()), a)
	}
	if err != nil {
		d.fail(w, r, err)
		return
	}
	channel.Answer(w, http.StatusOK, reply)
}

// pipe finds a pipe of the client's.
func (d *Destination) pipe(r *http.Request) (*farPipe, error) {
	name, key := r.PathValue("pipe"), channel.ClientOf(r.Context()).Key
	d.mu.Lock()
	var all []*farVolume
	for _, v := range d.volumes {
		all = append(all, v)
	}
	d.mu.Unlock()
	for _, v := range all {
		if p := v.current(); p != nil && p.name == name && p.client == key {
			return p, nil
		}
	}
	return nil, fmt.Errorf("pipe %.80q: %w", name, errNoPipe)
}

func (d *Destination) agent(w http.ResponseWriter, r *http.Request) {
	p, err := d.pipe(r)
	k, err1 := strconv.Atoi(r.PathValue("agent"))
	if err == nil && (err1 != nil || k < 0 || k >= p.agents) {
		err = fmt.Errorf("agent %.20q: %w", r.PathValue("agent"), errBad)
	}
	if err != nil {
		d.fail(w, r, err)
		return
	}
	conn, in, err := channel.Hijack(w, r)
	if err != nil {
		return // the client knows
	}
	if !p.receiver.Agent(k, conn, in) {
		_ = conn.Close()
	}
}

func (d *Destination) acks(w http.ResponseWriter, r *http.Request) {
	p, err := d.pipe(r)
	if err != nil {
		d.fail(w, r, err)
		return
	}
	conn, in, err := channel.Hijack(w, r)
	if err != nil {
		return
	}
	err = p.receiver.Acks(p.life, conn, in)
	d.o.Log.Debug("the connection of acknowledgements has ended", "server pipe", p.name, "cause", err)
}

func (d *Destination) end(w http.ResponseWriter, r *http.Request) {
	p, err := d.pipe(r)
	if err == nil {
		p.receiver.End()
		select {
		case <-p.over:
			err = p.err
		case <-r.Context().Done():
			return
		}
	}
	if err != nil {
		d.fail(w, r, err)
		return
	}
	channel.Answer(w, http.StatusOK, struct{}{})
}

// Run looks after pipes whose writers are gone, clients that were revoked, and what is to be removed, until the
// destination ends.
func (d *Destination) Run() {
	const often = 2 * time.Second
	t := time.NewTicker(often)
	defer t.Stop()
	for {
		d.lookAfterRemovals(d.life)
		select {
		case <-d.life.Done():
			return
		case <-t.C:
		}
		d.mu.Lock()
		var all []*farVolume
		for _, v := range d.volumes {
			all = append(all, v)
		}
		d.mu.Unlock()
		for _, v := range all {
			v.lookAfter()
		}
	}
}

// Status is a moment's picture of the pipes, by client.
func (d *Destination) Status() []FarStatus {
	d.mu.Lock()
	defer d.mu.Unlock()
	var all []FarStatus
	for _, v := range d.volumes {
		if p := v.current(); p != nil {
			all = append(all, FarStatus{
				Client: p.clientName, Holder: p.holder, Volume: v.id.String(), Acked: p.intake.Acked(),
				Silent: p.receiver.Silence().Seconds(), Pipe: p.pipe.Status(),
			})
		}
	}
	return all
}

// FarStatus is a moment's picture of a client's pipe.
type FarStatus struct {
	Client string          `json:"client"`
	Holder string          `json:"holder"`
	Volume string          `json:"volume"` // hexadecimal
	Acked  chunkfmt.Seq    `json:"acked"`
	Silent float64         `json:"silent_seconds"` // for how long it was not heard of
	Pipe   pipeline.Status `json:"pipe"`
}

// Close stops all pipes, waits for them, and closes catalogs. What was acknowledged is stable.
func (d *Destination) Close() error {
	d.mu.Lock()
	d.closed = true
	all := d.volumes
	d.mu.Unlock()
	d.stop()
	var errs []error
	for _, v := range all {
		errs = append(errs, v.close())
	}
	return errors.Join(errs...)
}

func (d *Destination) leasePath(id chunkfmt.VolumeID) string {
	return strings.TrimSuffix(d.o.LeaseDir, "/") + "/" + id.String() + ".json"
}
