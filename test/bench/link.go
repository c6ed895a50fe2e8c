package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// link is what is between two machines.
type link struct {
	name   string
	rate   int           // bytes a second in each direction; 0: as the machine gives
	trip   time.Duration // there and back, beyond what the machine takes
	window int           // bytes that a connection has on its way at most, if there is a trip
	reset  time.Duration // so often a connection breaks, if there is a trip; 0: never
}

// far is a server with a link to it: two network namespaces with a cable between them. Without a link there are none,
// and all goes through the loopback device.
type far struct {
	server  *place
	running []*exec.Cmd
	address string // at which a client finds the server
	hosts   [2]string
}

const serverIP, clientIP = "10.78.0.1", "10.78.0.2"

// connect makes the link and starts a server of a new store in dir. It is to be closed, also after an error.
func connect(o options, dir string, l *link) (*far, error) {
	f := &far{server: &place{options: o, dir: dir}}
	ip := "127.0.0.1"
	if l != nil {
		ip = serverIP
		if err := f.cable(l); err != nil {
			return f, err
		}
		f.server.host = f.hosts[0]
	}
	if err := os.MkdirAll(f.server.store(), 0o755); err != nil {
		return f, err
	}
	serve := f.server.command(o.coffer, "serve", f.server.store(), "--listen", ip+":0")
	serve.Stderr = nil // what it has to say of clients that come and go
	line, err := f.start(serve)
	if err != nil {
		return f, err
	}
	_, rest, _ := strings.Cut(line, " is served at ")
	f.address, _, _ = strings.Cut(rest, ";")
	f.server.watch(f.running[0].Process.Pid)
	f.address, err = f.behind(l, f.address)
	return f, err
}

// behind puts a relay in front of an address of the server's, if the link is long, and says where that is.
func (f *far) behind(l *link, address string) (string, error) {
	if l == nil || l.trip == 0 {
		return address, nil
	}
	line, err := f.start(inHost(f.hosts[0], os.Args[0], "-relay", address, "-trip", l.trip.String(),
		"-window", strconv.Itoa(l.window), "-reset", l.reset.String(), serverIP+":0"))
	if err != nil {
		return "", err
	}
	_, at, _ := strings.Cut(line, "relayed at ")
	return strings.TrimSpace(at), nil
}

// rsyncDaemon starts one beside the server, and says where a client finds it. There is nothing to wait for but that it
// answers.
func (f *far) rsyncDaemon(l *link) (url string, err error) {
	const port = "8730"
	dir := filepath.Join(f.server.dir, "rsync")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	config := dir + ".conf"
	said := fmt.Sprintf("use chroot = no\nuid = %d\ngid = %d\n[store]\npath = %s\nread only = no\n", os.Getuid(), os.Getgid(), dir)
	if err := os.WriteFile(config, []byte(said), 0o644); err != nil {
		return "", err
	}
	address := "127.0.0.1:" + port
	if l != nil {
		address = serverIP + ":" + port
	}
	daemon := inHost(f.hosts[0], "rsync", "--daemon", "--no-detach", "--config", config, "--port", port)
	if err := daemon.Start(); err != nil {
		return "", err
	}
	f.running = append(f.running, daemon)
	for {
		err := inHost(f.hosts[0], "rsync", "rsync://"+address+"/").Run()
		if err == nil {
			break
		}
		if daemon.ProcessState != nil || unix.Kill(daemon.Process.Pid, 0) != nil {
			return "", fmt.Errorf("rsync's daemon ended: %w", err)
		}
		time.Sleep(20 * time.Millisecond)
	}
	if address, err = f.behind(l, address); err != nil {
		return "", err
	}
	return "rsync://" + address + "/store", nil
}

// cable makes the namespaces.
func (f *far) cable(l *link) error {
	tag := fmt.Sprintf("cb%x", os.Getpid()&0xffff)
	f.hosts = [2]string{tag + "-server", tag + "-client"}
	s, c := f.hosts[0], f.hosts[1]
	commands := []string{
		"netns add " + s, "netns add " + c,
		"-n " + s + " link add eth0 type veth peer name eth0 netns " + c,
		"-n " + s + " addr add " + serverIP + "/24 dev eth0", "-n " + c + " addr add " + clientIP + "/24 dev eth0",
		"-n " + s + " link set lo up", "-n " + c + " link set lo up",
		"-n " + s + " link set eth0 up", "-n " + c + " link set eth0 up",
	}
	for _, args := range commands {
		if err := command("ip", strings.Fields(args)...); err != nil {
			return err
		}
	}
	if l.rate == 0 {
		return nil
	}
	for _, host := range f.hosts {
		err := command("tc", "-n", host, "qdisc", "replace", "dev", "eth0", "root", "tbf",
			"rate", fmt.Sprintf("%dbps", l.rate), "burst", strconv.Itoa(max(64<<10, l.rate/100)), "latency", "100ms")
		if err != nil {
			return err
		}
	}
	return nil
}

// start starts a program that says in its first line that it is ready, and gives the line.
func (f *far) start(cmd *exec.Cmd) (string, error) {
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return "", err
	}
	if err := cmd.Start(); err != nil {
		return "", err
	}
	f.running = append(f.running, cmd)
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		return "", fmt.Errorf("%s: not ready: %w", cmd, err)
	}
	return line, nil
}

// client makes a place at the other end, whose store is the served one.
func (f *far) client(dir string, flags ...string) (*farPlace, error) {
	p := &place{options: f.server.options, dir: dir, host: f.hosts[1]}
	p.flags = append(p.flags[:len(p.flags):len(p.flags)], flags...)
	cmd := f.server.command(p.coffer, "invite", f.server.store(), "client", "--address", f.address)
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("invite a client: %w", err)
	}
	return &farPlace{place: p, url: strings.TrimSpace(string(out)), known: "coffer://" + f.address}, nil
}

// farPlace is a place whose store is on a server.
type farPlace struct {
	*place
	url   string // to be used next
	known string // once the server knows the client
}

// mount mounts the volume.
func (p *farPlace) mount() error {
	url := p.url
	p.url = p.known
	args := append([]string{"mount", "--foreground"}, p.flags...)
	return p.serve(p.coffer, append(args, url, p.mnt())...)
}

// agents is how many connections the mount uses now.
func (p *farPlace) agents() (int, error) {
	out, err := p.command(p.coffer, "status", "--json").Output()
	if err != nil {
		return 0, fmt.Errorf("how many agents there are: %w", err)
	}
	var all []struct{ Server struct{ Agents int } }
	if err := json.Unmarshal(out, &all); err != nil {
		return 0, fmt.Errorf("how many agents there are: %w", err)
	}
	if len(all) != 1 {
		return 0, fmt.Errorf("how many agents there are: %d processes answer, not one", len(all))
	}
	return all[0].Server.Agents, nil
}

// peak is the server's peak of memory so far, bytes.
func (f *far) peak() int64 { return f.server.peak.Load() }

func (f *far) close() {
	for i := len(f.running) - 1; i >= 0; i-- {
		f.running[i].Process.Signal(os.Interrupt)
		f.running[i].Wait()
	}
	if f.server.stop != nil {
		f.server.unwatch()
	}
	for _, host := range f.hosts {
		if host != "" {
			exec.Command("ip", "netns", "del", host).Run()
		}
	}
	os.RemoveAll(f.server.dir)
}

// inHost is a command that runs in a network namespace; what it mounts is seen everywhere.
func inHost(host, name string, args ...string) *exec.Cmd {
	if host == "" {
		return exec.Command(name, args...)
	}
	path, err := exec.LookPath(name)
	if err != nil {
		path = name
	}
	return exec.Command("nsenter", append([]string{"--net=" + filepath.Join("/run/netns", host), path}, args...)...)
}
