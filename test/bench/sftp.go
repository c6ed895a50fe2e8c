package main

import (
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
)

// sftpServer is where Debian has OpenSSH's.
const sftpServer = "/usr/lib/openssh/sftp-server"

// answer runs a program for each connection to an address, which is its standard input and output. It ends with its
// process.
func answer(program, listen string) error {
	l, err := net.Listen("tcp", listen)
	if err != nil {
		return fmt.Errorf("%s at %s: %w", program, listen, err)
	}
	fmt.Println("answered at", l.Addr())
	for {
		c, err := l.Accept()
		if err != nil {
			return fmt.Errorf("%s at %s: %w", program, listen, err)
		}
		f, err := c.(*net.TCPConn).File()
		c.Close()
		if err != nil {
			return fmt.Errorf("%s at %s: %w", program, listen, err)
		}
		cmd := exec.Command(program)
		cmd.Stdin, cmd.Stdout, cmd.Stderr = f, f, os.Stderr
		err = cmd.Start()
		f.Close()
		if err != nil {
			return fmt.Errorf("%s for a connection: %w", program, err)
		}
		go cmd.Wait() // how a server of one connection ends is its client's to say
	}
}

// dial passes the standard input on to an address, and what comes from there to the standard output.
func dial(address string) error {
	c, err := net.Dial("tcp", address)
	if err != nil {
		return err
	}
	defer c.Close()
	var sending sync.WaitGroup
	sending.Go(func() {
		_, _ = io.Copy(c, os.Stdin)
		_ = c.(*net.TCPConn).CloseWrite() // the other side says whether all came
	})
	if _, err := io.Copy(os.Stdout, c); err != nil {
		return fmt.Errorf("from %s: %w", address, err)
	}
	sending.Wait()
	return nil
}

// resticThere has restic do it, with an SFTP server. There is no SSH below it, which would cost both sides some time more.
func resticThere(f *far, p *place, w *work, l *link) (write, read func() error, err error) {
	ip := "127.0.0.1"
	if l != nil {
		ip = serverIP
	}
	line, err := f.start(inHost(f.hosts[0], os.Args[0], "-answer", sftpServer, ip+":0"))
	if err != nil {
		return nil, nil, err
	}
	var address string
	if _, err := fmt.Sscanf(line, "answered at %s", &address); err != nil {
		return nil, nil, fmt.Errorf("an SFTP server: %q: %w", line, err)
	}
	if address, err = f.behind(l, address); err != nil {
		return nil, nil, err
	}
	if err := os.MkdirAll(p.restored(), 0o755); err != nil {
		return nil, nil, err
	}
	restic := func(args ...string) error {
		return p.run("restic", append([]string{"-q", "-r", "sftp:far:" + filepath.Join(f.server.dir, "restic"),
			"-o", "sftp.command=" + os.Args[0] + " -dial " + address}, args...)...)
	}
	write = func() error { return restic("backup", w.dir) }
	read = func() error { return restic("restore", "latest", "--target", p.restored()) }
	return write, read, restic("init")
}
