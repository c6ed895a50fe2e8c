package main

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"time"

	"golang.org/x/sys/unix"
)

// bareBytes is what goes over a connection that nothing else is done with.
const bareBytes = 2 << 30

// benchBare prints what the loopback device takes by itself, and TLS 1.3 over it, both ends together: what a server that
// shares the processors with its client adds to what a mount takes, at least.
func benchBare() error {
	fmt.Printf("\n%d MB over a connection on the loopback device, both ends in one process\n%-10s %9s %15s\n", bareBytes/1_000_000, "", "MB/s", "CPU s for a GB")
	for _, way := range []struct {
		name   string
		secure bool
	}{{"TCP", false}, {"TLS 1.3", true}} {
		took, spent, err := bare(way.secure)
		if err != nil {
			return fmt.Errorf("%s over the loopback device: %w", way.name, err)
		}
		fmt.Printf("%-10s %9.0f %15.2f\n", way.name, bareBytes/1e6/took.Seconds(), spent.Seconds()/(bareBytes/1e9))
	}
	return nil
}

// bare sends noise through one connection, and gives how long that took and what all processors spent on it.
func bare(secure bool) (took, spent time.Duration, err error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, 0, err
	}
	defer listener.Close()
	identity, err := selfSigned()
	if err != nil {
		return 0, 0, err
	}
	received := make(chan error, 1)
	go func() { received <- receive(listener, identity, secure) }()
	conn, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		return 0, 0, err
	}
	if secure {
		conn = tls.Client(conn, &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS13})
	}
	noise := make([]byte, 1<<20)
	noiseSource(1).Read(noise)
	start, before := time.Now(), processorTime()
	for range bareBytes / len(noise) {
		if _, err := conn.Write(noise); err != nil {
			return 0, 0, errors.Join(err, conn.Close(), <-received)
		}
	}
	if err := errors.Join(conn.Close(), <-received); err != nil {
		return 0, 0, err
	}
	return time.Since(start), processorTime() - before, nil
}

// receive takes one connection and reads all that comes.
func receive(l net.Listener, identity tls.Certificate, secure bool) error {
	conn, err := l.Accept()
	if err != nil {
		return err
	}
	defer conn.Close()
	if secure {
		conn = tls.Server(conn, &tls.Config{Certificates: []tls.Certificate{identity}, MinVersion: tls.VersionTLS13})
	}
	n, buf := 0, make([]byte, 1<<20)
	for {
		k, err := conn.Read(buf)
		n += k
		switch {
		case err == io.EOF && n == bareBytes:
			return nil
		case err != nil:
			return fmt.Errorf("after %d bytes: %w", n, err)
		}
	}
}

func selfSigned() (tls.Certificate, error) {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, public, private)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: private}, err
}

// processorTime is what this process has used.
func processorTime() time.Duration {
	var use unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &use); err != nil {
		panic(err) // it has no way to fail
	}
	return time.Duration(use.Utime.Nano() + use.Stime.Nano())
}
