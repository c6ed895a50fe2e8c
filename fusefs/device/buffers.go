package device

// buffers are a bounded number of large buffers, made when they are first needed and used again.
type buffers struct {
	size int
	free chan []byte
	left chan struct{} // one for each that may still be made
}

func newBuffers(size, most int) *buffers {
	b := &buffers{size: size, free: make(chan []byte, most), left: make(chan struct{}, most)}
	for range most {
		b.left <- struct{}{}
	}
	return b
}

// get waits for a buffer. One that was used before is taken first: its memory is there already.
func (b *buffers) get() []byte {
	select {
	case buf := <-b.free:
		return buf
	default:
	}
	select {
	case buf := <-b.free:
		return buf
	case <-b.left:
		return make([]byte, b.size)
	}
}

func (b *buffers) put(buf []byte) { b.free <- buf }
