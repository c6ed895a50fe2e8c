package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"

	"github.com/spf13/pflag"
	"golang.org/x/term"
)

// passphraseOptions say where a passphrase comes from.
type passphraseOptions struct {
	file, command string
	ask           bool
}

// add adds the flags; their names begin with prefix.
func (o *passphraseOptions) add(flags *pflag.FlagSet, prefix, what string) {
	flags.StringVar(&o.file, prefix+"passphrase-file", "", "`file` whose first line is the "+what)
	flags.StringVar(&o.command, prefix+"passphrase-command", "", "shell `command` that prints the "+what)
	flags.BoolVar(&o.ask, prefix+"passphrase", false, "ask for a "+what)
}

// read takes it from where the options say. A new one that is typed in is asked for twice.
func (o *passphraseOptions) read(ctx context.Context, isNew bool) (passphrase string, given bool, err error) {
	var text []byte
	switch {
	case o.file != "":
		if text, err = os.ReadFile(o.file); err != nil {
			return "", false, fmt.Errorf("read the passphrase: %w", err)
		}
	case o.command != "":
		cmd := exec.CommandContext(ctx, "/bin/sh", "-c", o.command)
		cmd.Stdin, cmd.Stderr = os.Stdin, os.Stderr
		if text, err = cmd.Output(); err != nil {
			return "", false, fmt.Errorf("passphrase command: %w", err)
		}
	case o.ask:
		if !isNew {
			passphrase, err = prompt("Passphrase: ")
			return passphrase, true, err
		}
		if passphrase, err = prompt("New passphrase: "); err == nil {
			err = confirm(passphrase)
		}
		return passphrase, true, err
	default:
		return "", false, nil
	}
	line, _, _ := bytes.Cut(text, []byte("\n"))
	passphrase = strings.TrimSuffix(string(line), "\r")
	if passphrase == "" {
		return "", false, fmt.Errorf("%w: the passphrase is empty", errNoKey)
	}
	return passphrase, true, nil
}

func confirm(passphrase string) error {
	again, err := prompt("Once more: ")
	if err == nil && again != passphrase {
		err = fmt.Errorf("%w: the two passphrases differ", errUsage)
	}
	return err
}

func interactive() bool { return term.IsTerminal(int(os.Stdin.Fd())) }

func prompt(what string) (string, error) {
	if !interactive() {
		return "", fmt.Errorf("%w: there is no terminal to ask for a passphrase on", errNoKey)
	}
	fmt.Fprint(os.Stderr, what)
	text, err := term.ReadPassword(int(os.Stdin.Fd()))
	fmt.Fprintln(os.Stderr)
	if err != nil {
		return "", fmt.Errorf("read the passphrase: %w", err)
	}
	if len(text) == 0 {
		return "", fmt.Errorf("%w: the passphrase is empty", errNoKey)
	}
	return string(text), nil
}
