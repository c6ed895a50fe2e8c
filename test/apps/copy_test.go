package apps

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"coffer/test/rig"
)

// TestRsync copies a tree of everything to the mount and back with all that rsync can keep. Done once more, it
// finds nothing to do.
func TestRsync(t *testing.T) {
	source := everything(t)
	want := rig.ReadTree(t, source)
	inModes(t, func(t *testing.T, v *volume) {
		sync := func(from, to string, more ...string) string {
			t.Helper()
			return rig.Output(t, "rsync", append([]string{"-aHAX", "--delete", "-i", from + "/", to + "/"}, more...)...)
		}
		idle := func(when, from, to string) {
			t.Helper()
			for _, how := range [][]string{{"-n"}, {"-n", "-c"}} {
				if out := sync(from, to, how...); out != "" {
					t.Errorf("%s, rsync %v still has to do:\n%s", when, how, out)
				}
			}
		}
		there, back := v.Path("there"), filepath.Join(t.TempDir(), "back")
		sync(source, there)
		idle("after copying to the mount", source, there)
		v.again()
		idle("mounted again", source, there)
		sync(there, back)
		idle("after copying back", there, back)
		rig.Same(t, "copied there and back", want, rig.ReadTree(t, back))

		// Changes reach it in each way that rsync has to make them.
		for _, how := range []string{"", "--inplace", "--sparse", "--whole-file"} {
			shell(t, there, `echo more >> "plain"; truncate -s 7 short; rm -r go/unicode; touch new; ln new new2; chmod 600 plain`)
			args := strings.Fields(how)
			sync(there, back, args...)
			idle("changed, and copied back with "+how, there, back)
			sync(source, there)
			idle("put right again", source, there)
		}
		rig.Same(t, "changed and put right", want, rig.ReadTree(t, there))
		v.Unmount(t)
	})
}

// TestTar packs the tree on the mount, unpacks it there, and packs what came of it.
func TestTar(t *testing.T) {
	source := everything(t)
	want := rig.ReadTree(t, source)
	inModes(t, func(t *testing.T, v *volume) {
		const keep = "--acls --xattrs --xattrs-include='*' --numeric-owner --sparse"
		shell(t, v.mnt, "tar "+keep+" -C "+source+" -cf first.tar . && mkdir first && tar "+keep+" -C first -xpf first.tar")
		rig.Same(t, "unpacked on the mount", want, rig.ReadTree(t, v.Path("first")))
		v.again()
		back := t.TempDir()
		shell(t, v.mnt, "tar "+keep+" -C first -cf second.tar . && tar "+keep+" -C "+back+" -xpf second.tar && tar "+keep+" -C first -df second.tar")
		rig.Same(t, "packed from the mount", want, rig.ReadTree(t, back))
		v.Unmount(t)
	})
}

// everything makes a tree with every kind of file and of what hangs on one, and a part of the Go distribution.
func everything(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "everything")
	rig.Must(t, os.Mkdir(dir, 0o755))
	goRoot := strings.TrimSpace(rig.Output(t, "go", "env", "GOROOT"))
	shell(t, dir, `
		mkdir go && cp -a `+goRoot+`/src/unicode `+goRoot+`/src/strings `+goRoot+`/src/testing go/
		echo plain > plain; echo "longer than what is left of it" > short; : > empty
		ln plain hard; mkdir sub; ln plain sub/hard; ln -s plain soft; ln -s nowhere dangling; ln -s soft soft2; ln soft2 hardsoft
		mkfifo fifo; mknod null c 1 3; mknod loop b 7 200; mknod big c 511 1048575
		printf 'odd' > $'new\nline'; printf 'odd' > $'\xff\xfe'; printf odd > ' '; printf odd > '-n'; printf odd > '*'
		printf '#!/bin/sh\n' > suid; chown 1234:4321 suid; chmod 6755 suid; chmod 1777 sub; chmod 000 empty
		truncate -s 3M sparse; printf here | dd of=sparse bs=1 seek=1000000 conv=notrunc status=none
		truncate -s 1M holes; printf end >> holes
		head -c 3000000 /dev/urandom > noise; cat noise noise > twice
		setfattr -n user.one -v 1 plain; setfattr -n user.empty plain; setfattr -n trusted.t -v 0x00ff00 sub
		setfattr -n user.long -v `+strings.Repeat("v", 2000)+` noise
		setfattr -h -n trusted.link -v yes soft
		setfacl -m u:1:rwx,g:2:r,m::rx plain; setfacl -d -m u:3:rw sub; setfacl -m u:4:x sub; mkdir sub/inherits; : > sub/inherits/too
	`)
	rig.Must(t, os.WriteFile(filepath.Join(dir, strings.Repeat("n", unix.NAME_MAX)), []byte("long"), 0o640))
	deep := dir
	for k := range 30 {
		deep = filepath.Join(deep, fmt.Sprint("down", k))
	}
	rig.Must(t, os.MkdirAll(deep, 0o750), os.WriteFile(filepath.Join(deep, "bottom"), nil, 0o400))
	s, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	rig.Must(t, err)
	defer unix.Close(s)
	rig.Must(t, unix.Bind(s, &unix.SockaddrUnix{Name: filepath.Join(dir, "go", "socket")}), os.Remove(filepath.Join(dir, "go", "socket")))
	// Last, times: none is of this second, because rsync leaves a new node's mtime alone, on ext4 too, where it has
	// the right second.
	shell(t, dir, `
		find . -depth -exec touch -h -d '2020-02-02 02:02:02.020202020' {} +
		touch -d '1905-05-05 05:05:05.5' sub/hard; touch -d '2100-01-01 00:00:00.123456789' noise; touch -h -d '1999-09-09' dangling
		touch -d '1970-01-01 00:00:00 UTC' twice
	`)
	return dir
}
