package channel

import "errors"

var (
	// ErrRefused: the other side is not who it should be, or does not let this one in.
	ErrRefused = errors.New("refused")
	// ErrAway: the other machine does not answer.
	ErrAway = errors.New("the server does not answer")
	// ErrFormat: a key, an address or a file is not one.
	ErrFormat = errors.New("malformed")
	// ErrUnknownServer: no invitation was ever used for that address.
	ErrUnknownServer = errors.New("this server is not known here")
	// ErrNoClient: there is no client of that name.
	ErrNoClient = errors.New("no such client")
	// ErrTaken: there is a client, or an invitation, of that name.
	ErrTaken = errors.New("the name is taken")
)
