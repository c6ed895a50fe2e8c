package remote

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"

	"coffer/media"
)

// ErrAway: the other machine did not answer for as long as the user wants to wait.
var ErrAway = errors.New("the server does not answer")

// failure is the body of an answer that says why not.
type failure struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

// codes are the errors of a medium that keep their meaning on the way.
var codes = []struct {
	code string
	err  error
}{
	{"not-exist", media.ErrNotExist},
	{"no-tag", media.ErrNoTag},
	{"name", media.ErrName},
	{"full", media.ErrFull},
	{"read-only", media.ErrReadOnly},
	{"locked", media.ErrLocked},
	{"torn", media.ErrTorn},
	{"closed", media.ErrClosed},
}

// Code is the name of a medium's error between machines; "failed" if it has none.
func Code(err error) string {
	for _, c := range codes {
		if errors.Is(err, c.err) {
			return c.code
		}
	}
	return "failed"
}

// Error makes the error again that another machine named with Code; message is what it said of it.
func Error(code, message string) error {
	for _, c := range codes {
		if c.code == code {
			return fmt.Errorf("%w on the server: %s", c.err, message)
		}
	}
	return fmt.Errorf("the server: %s", message)
}

// refused is an answer of the server that asking again does not change.
type refused struct{ error }

func (r *refused) Unwrap() error { return r.error }

func failureOf(answer *http.Response) error {
	b, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswer))
	if err != nil {
		return err
	}
	var f failure
	if json.Unmarshal(b, &f) != nil || f.Message == "" {
		f.Message = fmt.Sprintf("%s: %.200q", answer.Status, b)
	}
	return &refused{Error(f.Code, f.Message)}
}
