package channel

import (
	"errors"
	"path/filepath"
	"testing"
)

func TestAddress(t *testing.T) {
	for text, want := range map[string]string{
		"coffer://host":            "host:7433",
		"coffer://host:1":          "host:1",
		"coffer://host:1/":         "host:1",
		"coffer://[::1]:5":         "[::1]:5",
		"coffer://::1":             "[::1]:7433",
		"coffer://10.0.0.1":        "10.0.0.1:7433",
		"coffer://a.example:65535": "a.example:65535",
	} {
		a, err := ParseAddress(text)
		if err != nil || a.Host != want || a.Invitation != nil {
			t.Errorf("%s: %+v, %v", text, a, err)
		}
	}
	for _, text := range []string{
		"", "host", "/srv/store", "coffer://", "coffer:///x", "coffer://user@host", "http://host",
		"coffer://host/abc", "coffer://host/" + Key{}.String(),
	} {
		if a, err := ParseAddress(text); !errors.Is(err, ErrFormat) {
			t.Errorf("%s: %+v, %v", text, a, err)
		}
	}
	with := Address{Host: "h:1", Invitation: &Invitation{Server: Key{1, 2}, Secret: newSecret()}}
	again, err := ParseAddress(with.Invite())
	if err != nil || again.Host != with.Host || *again.Invitation != *with.Invitation {
		t.Errorf("%+v, %v", again, err)
	}
	if with.String() != "coffer://h:1" {
		t.Errorf("%s is shown", with)
	}
}

func TestPins(t *testing.T) {
	p := Pins{Dir: filepath.Join(t.TempDir(), "servers")}
	if _, err := p.Key("h:1"); !errors.Is(err, ErrUnknownServer) {
		t.Errorf("before: %v", err)
	}
	if err := errors.Join(p.Set("h:1", Key{1}), p.Set("h:2", Key{2}), p.Set("h:1", Key{3})); err != nil {
		t.Fatal(err)
	}
	for host, want := range map[string]Key{"h:1": {3}, "h:2": {2}} {
		if key, err := p.Key(host); err != nil || key != want {
			t.Errorf("%s: %v, %v", host, key, err)
		}
	}
}

func TestIdentity(t *testing.T) {
	path := filepath.Join(t.TempDir(), "new", "identity")
	a, err := EnsureIdentity(path)
	if err != nil {
		t.Fatal(err)
	}
	b, err := EnsureIdentity(path)
	if err != nil || a.Key() != b.Key() || a.Key() == (Key{}) {
		t.Errorf("%v, %v, %v", a.Key(), b.Key(), err)
	}
	if err := writeFile(path, []byte("garbage")); err != nil {
		t.Fatal(err)
	}
	if _, err := EnsureIdentity(path); !errors.Is(err, ErrFormat) {
		t.Errorf("a damaged one: %v", err)
	}
}
