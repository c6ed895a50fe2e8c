package pipeline

import (
	"fmt"
	"maps"
	"slices"
	"sync"
)

// Constructor makes the description of a stage of one kind from that kind's own configuration. It
// reports a configuration of another type as an error.
type Constructor func(config any) (StageSpec, error)

// Registry is the kinds of stage that a process can run, by name. The zero value is empty and
// ready. Concurrent use.
type Registry struct {
	mu    sync.RWMutex
	kinds map[string]Constructor
}

// Register adds a kind. A name can be taken once; ErrSpec otherwise.
func (r *Registry) Register(name string, c Constructor) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if name == "" || c == nil {
		return fmt.Errorf("register stage %q: %w: no name or no constructor", name, ErrSpec)
	}
	if r.kinds[name] != nil {
		return fmt.Errorf("register stage %q: %w: name is taken", name, ErrSpec)
	}
	if r.kinds == nil {
		r.kinds = make(map[string]Constructor)
	}
	r.kinds[name] = c
	return nil
}

// Lookup finds a kind by name; ErrUnknownKind if there is none.
func (r *Registry) Lookup(name string) (Constructor, error) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	c := r.kinds[name]
	if c == nil {
		return nil, fmt.Errorf("stage %q: %w", name, ErrUnknownKind)
	}
	return c, nil
}

// Names lists the registered kinds, sorted.
func (r *Registry) Names() []string {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return slices.Sorted(maps.Keys(r.kinds))
}
