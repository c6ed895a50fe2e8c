package agent

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"coffer/chunkfmt"
	"coffer/pipeline/stage"
)

// ErrProtocol: the other side sent what no agent sends.
var ErrProtocol = errors.New("malformed message")

// A frame on an agent's connection is the number of the first tag, 8 bytes, the length, 4 bytes, both big-endian, and
// the bytes of the buffer. Nothing comes back on it.
const frameHeader = 8 + 4

func putFrame(b *[frameHeader]byte, first chunkfmt.Seq, n int) {
	binary.BigEndian.PutUint64(b[:], uint64(first))
	binary.BigEndian.PutUint32(b[8:], uint32(n))
}

// readFrame reads the header of a frame of at most limit bytes. io.EOF, bare, is the end between two frames.
func readFrame(r io.Reader, limit int) (first chunkfmt.Seq, n int, err error) {
	var b [frameHeader]byte
	if _, err := io.ReadFull(r, b[:]); err != nil {
		return 0, 0, err
	}
	first, length := chunkfmt.Seq(binary.BigEndian.Uint64(b[:])), binary.BigEndian.Uint32(b[8:])
	if first == 0 || length == 0 || uint64(length) > uint64(limit) {
		return 0, 0, fmt.Errorf("frame of %d bytes at %v: %w", length, first, ErrProtocol)
	}
	return first, int(length), nil
}

// The messages on the connection that acknowledgements come back on: a byte that says which, the length of the
// rest, 4 bytes, and the rest.
const (
	msgAck   = 'A' // from the receiver: number, 8 bytes, and places
	msgStall = 'S' // from the receiver: a Trouble; empty: it is over
	msgFail  = 'F' // from the receiver: a Trouble; nothing more comes
	msgPing  = 'P' // from either side, to show that it is there
	msgRetry = 'R' // from the sender: somebody waits for a medium that is full
)

// Trouble is why a receiver does not go on. Code is one of its machine's own codes, for programs.
type Trouble struct {
	Code    string `json:"code"`
	Message string `json:"message"`
	// Again: the pipe has ended for a reason that may pass, and the sender is to attach again.
	Again bool `json:"again,omitempty"`
}

// placeSize is the length of a place: number 8, chunk 8, offset 8, length 4.
const placeSize = 8 + 8 + 8 + 4

// maxMessage bounds a message: the places of all groups that may be under way, many times over.
const maxMessage = 1 << 20

// maxPlaces is how many places go into one message.
const maxPlaces = (maxMessage - 8) / placeSize

func appendMessage(b []byte, kind byte, body []byte) []byte {
	b = append(b, kind)
	b = binary.BigEndian.AppendUint32(b, uint32(len(body)))
	return append(b, body...)
}

func appendTrouble(b []byte, kind byte, t *Trouble) []byte {
	var body []byte
	if t != nil {
		body, _ = json.Marshal(t) // two strings
	}
	return appendMessage(b, kind, body)
}

// appendAck appends acknowledgements of all up to upTo: those of the places that do not fit in one come first.
func appendAck(b []byte, upTo chunkfmt.Seq, places []stage.Place) []byte {
	for len(places) > maxPlaces {
		// What is stable up to the last place of the part is stable.
		b = appendAck(b, places[maxPlaces-1].Seq-1, places[:maxPlaces-1])
		places = places[maxPlaces-1:]
	}
	be := binary.BigEndian
	b = append(b, msgAck)
	b = be.AppendUint32(b, uint32(8+len(places)*placeSize))
	b = be.AppendUint64(b, uint64(upTo))
	for _, p := range places {
		b = be.AppendUint64(b, uint64(p.Seq))
		b = be.AppendUint64(b, uint64(p.At.Chunk))
		b = be.AppendUint64(b, p.At.Offset)
		b = be.AppendUint32(b, p.At.Length)
	}
	return b
}

// readMessage reads one message; its body lasts until the next is read into room.
func readMessage(r *bufio.Reader, room []byte) (kind byte, body []byte, err error) {
	var head [5]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return 0, nil, err
	}
	n := binary.BigEndian.Uint32(head[1:])
	if n > maxMessage {
		return 0, nil, fmt.Errorf("message %q of %d bytes: %w", head[0], n, ErrProtocol)
	}
	if uint32(cap(room)) < n {
		room = make([]byte, n)
	}
	body = room[:n]
	_, err = io.ReadFull(r, body)
	return head[0], body, err
}

func parseAck(body []byte) (upTo chunkfmt.Seq, places []stage.Place, err error) {
	be := binary.BigEndian
	if len(body) < 8 || (len(body)-8)%placeSize != 0 {
		return 0, nil, fmt.Errorf("acknowledgement of %d bytes: %w", len(body), ErrProtocol)
	}
	upTo = chunkfmt.Seq(be.Uint64(body))
	for b := body[8:]; len(b) > 0; b = b[placeSize:] {
		p := stage.Place{Seq: chunkfmt.Seq(be.Uint64(b)), At: chunkfmt.Location{
			Chunk: chunkfmt.ChunkID(be.Uint64(b[8:])), Offset: be.Uint64(b[16:]), Length: be.Uint32(b[24:])}}
		if p.Seq > upTo || len(places) > 0 && p.Seq <= places[len(places)-1].Seq {
			return 0, nil, fmt.Errorf("place of %v in an acknowledgement up to %v: %w", p.Seq, upTo, ErrProtocol)
		}
		places = append(places, p)
	}
	return upTo, places, nil
}

func parseTrouble(body []byte) (*Trouble, error) {
	if len(body) == 0 {
		return nil, nil
	}
	var t Trouble
	if err := json.Unmarshal(body, &t); err != nil {
		return nil, fmt.Errorf("trouble: %w: %w", ErrProtocol, err)
	}
	return &t, nil
}
