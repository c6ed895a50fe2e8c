package rig

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"sync/atomic"
	"testing"
)

// Net is a network of its own: a host that serves and others, each in a network namespace, on one bridge. Needs root.
type Net struct {
	tag   string
	hosts int
}

// NetHost is one of its hosts.
type NetHost struct {
	Name string // of the namespace
	IP   string
	link string // the end of its cable at the bridge, in the first host's namespace
	hub  string // the first host's namespace
}

var nets atomic.Int32

// NewNet makes a network without hosts.
func NewNet(tb testing.TB) *Net {
	tb.Helper()
	return &Net{tag: fmt.Sprintf("cf%x-%d", os.Getpid()&0xffff, nets.Add(1))}
}

// Host adds a host. The first one has the bridge.
func (n *Net) Host(tb testing.TB) *NetHost {
	tb.Helper()
	n.hosts++
	h := &NetHost{
		Name: fmt.Sprintf("%s-%d", n.tag, n.hosts), IP: fmt.Sprintf("10.77.0.%d", n.hosts),
		hub: n.tag + "-1",
	}
	Output(tb, "ip", "netns", "add", h.Name)
	tb.Cleanup(func() { exec.Command("ip", "netns", "del", h.Name).Run() })
	Output(tb, "ip", "-n", h.Name, "link", "set", "lo", "up")
	if n.hosts == 1 {
		Output(tb, "ip", "-n", h.Name, "link", "add", "br0", "type", "bridge")
		Output(tb, "ip", "-n", h.Name, "addr", "add", h.IP+"/24", "dev", "br0")
		Output(tb, "ip", "-n", h.Name, "link", "set", "br0", "up")
		return h
	}
	h.link = fmt.Sprintf("port%d", n.hosts)
	Output(tb, "ip", "-n", h.hub, "link", "add", h.link, "type", "veth", "peer", "name", "eth0", "netns", h.Name)
	Output(tb, "ip", "-n", h.hub, "link", "set", h.link, "master", "br0", "up")
	Output(tb, "ip", "-n", h.Name, "addr", "add", h.IP+"/24", "dev", "eth0")
	Output(tb, "ip", "-n", h.Name, "link", "set", "eth0", "up")
	return h
}

// Limit lets so many bytes a second through in each direction.
func (h *NetHost) Limit(tb testing.TB, rate int) {
	tb.Helper()
	for _, end := range [][2]string{{h.Name, "eth0"}, {h.hub, h.link}} {
		Output(tb, "tc", "-n", end[0], "qdisc", "replace", "dev", end[1], "root", "tbf",
			"rate", fmt.Sprintf("%dbps", rate), "burst", "64kb", "latency", "100ms")
	}
}

// Received is how many bytes have come to the host from the network.
func (h *NetHost) Received(tb testing.TB) int64 {
	tb.Helper()
	out := Output(tb, "ip", "-n", h.Name, "-j", "-s", "link", "show", "dev", "eth0")
	var links []struct {
		Stats64 struct {
			Rx struct{ Bytes int64 }
		}
	}
	Must(tb, json.Unmarshal([]byte(out), &links))
	return links[0].Stats64.Rx.Bytes
}

// User makes a user on the host, whose folders are under home.
func (h *NetHost) User(tb testing.TB, home string) *User {
	tb.Helper()
	u := NewUser(tb, home)
	u.Host = h
	return u
}

// in has a command run on the host. What it mounts is seen everywhere.
func (h *NetHost) in(cmd *exec.Cmd) {
	cmd.Args = append([]string{"nsenter", "--net=/run/netns/" + h.Name, cmd.Path}, cmd.Args[1:]...)
	cmd.Path = "/usr/bin/nsenter"
}
