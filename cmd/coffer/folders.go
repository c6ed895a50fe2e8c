package main

import (
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"

	"coffer/chunkfmt"
)

// configFolder is where the user's identity is.
func configFolder() (string, error) {
	dir, err := os.UserConfigDir()
	if err != nil {
		return "", fmt.Errorf("find the configuration folder: %w", err)
	}
	return filepath.Join(dir, "coffer"), nil
}

func identityPath() (string, error) {
	dir, err := configFolder()
	return filepath.Join(dir, "identity"), err
}

// stateBase is where this user keeps state of all stores on this machine.
func stateBase() (string, error) {
	base := os.Getenv("XDG_STATE_HOME")
	if !filepath.IsAbs(base) {
		home, err := os.UserHomeDir()
		if err != nil {
			return "", fmt.Errorf("find the state folder: %w", err)
		}
		base = filepath.Join(home, ".local", "state")
	}
	return filepath.Join(base, "coffer"), nil
}

// stateFolder is where this machine keeps the index of a volume and what it last acknowledged. It tells
// the names of all files, so it is the user's alone.
func stateFolder(store chunkfmt.StoreID, volume chunkfmt.VolumeID) (string, error) {
	base, err := stateBase()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(base, hex.EncodeToString(store[:]), hex.EncodeToString(volume[:]))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("make the state folder: %w", err)
	}
	return dir, nil
}
