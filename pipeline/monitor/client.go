package monitor

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// RemoteError is an error that the process behind a socket answered with.
type RemoteError struct {
	// Body is what it said: the JSON of the owner's error, or plain text if the
	// request never came to the owner.
	Body json.RawMessage
}

// Error gives the text of the answer.
func (e *RemoteError) Error() string {
	var said lineError
	if json.Unmarshal(e.Body, &said) == nil && said.Error != "" {
		return said.Error
	}
	return string(e.Body)
}

// Client talks to one process. Methods are safe for concurrent use.
type Client struct {
	Info
	http *http.Client
}

// patience is how long a process may take to say who it is.
const patience = 10 * time.Second

// Mounts finds the processes of this user that serve a mount on this machine. A
// socket that nobody listens on is removed. One whose process does not say within
// ten seconds what it serves is an error, beside those that do.
func Mounts() ([]*Client, error) { return mounts(patience) }

func mounts(patience time.Duration) ([]*Client, error) {
	dir, err := runDir()
	if err != nil {
		return nil, err
	}
	paths, err := filepath.Glob(filepath.Join(dir, "*.sock"))
	if err != nil {
		return nil, err
	}
	var clients []*Client
	var failed []error
	for _, path := range paths {
		c := dial(path)
		err := c.ask(patience)
		switch {
		case err == nil:
			clients = append(clients, c)
		case errors.Is(err, syscall.ECONNREFUSED):
			_ = os.Remove(path) // another process may have been quicker
		case errors.Is(err, os.ErrNotExist):
			// It ended just now.
		default:
			failed = append(failed, fmt.Errorf("ask %s what it serves: %w", path, err))
		}
	}
	return clients, errors.Join(failed...)
}

func dial(path string) *Client {
	transport := &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", path)
		},
		DisableKeepAlives: true, // the owner ends when its last request has
	}
	return &Client{http: &http.Client{Transport: transport}}
}

// ask fills in Info.
func (c *Client) ask(patience time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	return c.do(ctx, http.MethodGet, "info", nil, func(body io.Reader) error {
		return json.NewDecoder(io.LimitReader(body, maxRequest)).Decode(&c.Info)
	})
}

// Call makes a request: "status", "sync", "snapshot", "archives", "forget", "prune", "index", "amend" or "umount". In is
// its body, out takes the answer; both may be nil. An error that the other process answers with is a
// *RemoteError.
func (c *Client) Call(ctx context.Context, what string, in, out any) error {
	return c.do(ctx, http.MethodPost, what, in, func(body io.Reader) error {
		if out == nil {
			return nil
		}
		return json.NewDecoder(body).Decode(out)
	})
}

// Put asks for a put and gives each line of the answer to line, which must not
// keep it. An error of line ends it.
func (c *Client) Put(ctx context.Context, in any, line func(json.RawMessage) error) error {
	return c.do(ctx, http.MethodPost, "put", in, func(body io.Reader) error {
		lines := bufio.NewScanner(body)
		lines.Buffer(nil, maxRequest)
		for lines.Scan() {
			var last struct {
				End   bool            `json:"end"`
				Error json.RawMessage `json:"error"`
			}
			// A line of the owner's may be any JSON value: one that does not fit is not the last.
			ended := json.Unmarshal(lines.Bytes(), &last) == nil && last.End
			switch {
			case ended && string(last.Error) != "null":
				return &RemoteError{Body: last.Error}
			case ended:
				return nil
			}
			if err := line(lines.Bytes()); err != nil {
				return err
			}
		}
		if err := lines.Err(); err != nil {
			return err
		}
		return io.ErrUnexpectedEOF // the process ended
	})
}

func (c *Client) do(ctx context.Context, method, what string, in any, read func(io.Reader) error) error {
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = bytes.NewReader(b)
	}
	request, err := http.NewRequestWithContext(ctx, method, "http://coffer/v1/"+what, body)
	if err != nil {
		return err
	}
	response, err := c.http.Do(request)
	if err != nil {
		return fmt.Errorf("ask the process that serves the mount: %w", err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		said, err := io.ReadAll(io.LimitReader(response.Body, maxRequest))
		if err != nil {
			return err
		}
		return &RemoteError{Body: bytes.TrimSpace(said)}
	}
	return read(response.Body)
}
