package main

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"

	"coffer/chunkfmt"
	"coffer/media"
	"coffer/media/dir"
	"coffer/media/keyring"
	"coffer/media/remote"
	"coffer/pipeline/channel"
	"coffer/pipeline/mover"
)

// isAddress tells the address of a server from a directory.
func isAddress(store string) bool { return strings.HasPrefix(store, channel.Scheme) }

// displayed is the store as it may be shown: without an invitation.
func (o *volumeOptions) displayed() string {
	if address, err := channel.ParseAddress(o.store); err == nil {
		return address.String()
	}
	return o.store
}

// machineIdentity is the key pair by which servers know this user on this machine.
func machineIdentity() (channel.Identity, error) {
	config, err := configFolder()
	if err != nil {
		return channel.Identity{}, err
	}
	return channel.EnsureIdentity(filepath.Join(config, "machine"))
}

// openLink makes the link to a server. An invitation is used, once.
func openLink(ctx context.Context, address channel.Address) (*channel.Link, error) {
	id, err := machineIdentity()
	if err != nil {
		return nil, err
	}
	config, err := configFolder()
	if err != nil {
		return nil, err
	}
	pins := channel.Pins{Dir: filepath.Join(config, "servers")}
	if i := address.Invitation; i != nil {
		link := channel.NewLink(address.Host, id, i.Server)
		if err := link.Enroll(ctx, i.Secret); err != nil {
			return nil, err
		}
		return link, pins.Set(address.Host, i.Server)
	}
	key, err := pins.Key(address.Host)
	if err != nil {
		return nil, err
	}
	return channel.NewLink(address.Host, id, key), nil
}

// openServer opens a store on a server. Its key never leaves this machine.
func openServer(ctx context.Context, o *volumeOptions, key openKey) (*opened, error) {
	address, err := channel.ParseAddress(o.store)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errUsage, err)
	}
	link, err := openLink(ctx, address)
	if err != nil {
		return nil, err
	}
	s := &opened{path: address.String()}
	if s.id, err = storeAt(ctx, link); err != nil {
		return nil, err
	}
	if s.master, err = openServerKey(ctx, s.id, o, key); err != nil {
		return nil, err
	}
	s.keys(o.name)
	if s.state, err = stateFolder(s.id, s.volume); err != nil {
		return nil, err
	}
	if s.spool, err = o.spool.open(ctx, s.state, s.origin, s.volume); err != nil {
		return nil, err
	}
	m := remote.New(remote.Config{
		Client: link.HTTP(), Base: link.Base() + "/v1/volumes/" + s.volume.String(), Timeout: o.timeout,
		Keep: s.spool != nil, TakeOver: o.spool.takeOver,
	})
	s.medium = m
	s.far = &mover.Far{Way: link, Locator: m, Removals: m, Agents: o.agents, Timeout: o.timeout}
	return s, nil
}

// storeAt asks a server which store it serves.
func storeAt(ctx context.Context, link *channel.Link) (id chunkfmt.StoreID, err error) {
	var answer mover.StoreAnswer
	if err := link.Call(ctx, http.MethodGet, "/v1/store", nil, &answer); err != nil {
		return id, err
	}
	b, err := hex.DecodeString(answer.Store)
	if err != nil || len(b) != len(id) {
		return id, fmt.Errorf("the server says that its store is %.80q", answer.Store)
	}
	return chunkfmt.StoreID(b), nil
}

// openServerKey opens the key for a store on a server, which is kept here, sealed. The first time it is made, as init
// does.
func openServerKey(ctx context.Context, id chunkfmt.StoreID, o *volumeOptions, key openKey) ([32]byte, error) {
	keys, err := serverKeys(id)
	if err != nil {
		return [32]byte{}, err
	}
	sealed, err := keyring.Exists(ctx, keys)
	if err == nil && !sealed && o.key.recoveryKeyFile == "" {
		err = makeKey(ctx, keys, o)
	}
	if err != nil {
		return [32]byte{}, errors.Join(err, keys.Close())
	}
	master, err := key(ctx, keys)
	return master, errors.Join(err, keys.Close())
}

// serverKeys is where this machine keeps its sealed key for a store on a server.
func serverKeys(id chunkfmt.StoreID) (media.Medium, error) {
	config, err := configFolder()
	if err != nil {
		return nil, err
	}
	return dir.Open(filepath.Join(config, "stores", id.String()), dir.Options{Create: true})
}

func makeKey(ctx context.Context, keys media.Medium, o *volumeOptions) error {
	recipient, made, err := o.key.recipient(ctx)
	if err != nil {
		return err
	}
	master := keyring.NewMaster()
	if err := keyring.Create(ctx, keys, master, recipient); err != nil {
		return err
	}
	if o.notes == nil {
		return nil
	}
	fmt.Fprintf(o.notes, "A key is made for what this machine stores on %s. It stays on this machine.\n", o.displayed())
	if made != "" {
		fmt.Fprintf(o.notes, "It is sealed for a new identity, %s: keep a copy of that file.\n", made)
	}
	fmt.Fprintln(o.notes, "This is the recovery key. It is not shown again and opens all of it by itself:")
	_, err = fmt.Fprintln(o.notes, master.Recovery())
	return err
}
