package stage

import "sync"

// memory is the right to touch the bytes of one pipe's segment. The segment is
// unmapped when the pipe is closed; readers may come later, and must not find
// the address but an error.
type memory struct {
	mu   sync.RWMutex // held for reading for as long as bytes are touched
	gone bool
}

// enter takes the right; false if there is nothing any more. After true comes
// leave.
func (m *memory) enter() bool {
	m.mu.RLock()
	if m.gone {
		m.mu.RUnlock()
		return false
	}
	return true
}

func (m *memory) leave() { m.mu.RUnlock() }

// close waits until nobody touches the bytes, and ends the right.
func (m *memory) close() {
	m.mu.Lock()
	m.gone = true
	m.mu.Unlock()
}
