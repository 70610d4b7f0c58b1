package postgres

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
)

// owner is the user the server runs as. PostgreSQL refuses to be root.
type owner struct {
	name string
	// uid and gid own the folders.
	uid, gid int
	attr     func() *syscall.SysProcAttr
}

// chooseOwner gives dir to the first user that can work in it and can reach the programs. That is ourselves, unless we are
// root: then postgres, nobody, or, where neither can be (inside a user namespace, below a home closed to others), root under
// the number of another user in a namespace of its own.
func chooseOwner(ctx context.Context, dir string, bin binaries) (owner, error) {
	if uid := os.Geteuid(); uid != 0 {
		return owner{
			name: "uid " + strconv.Itoa(uid), uid: uid, gid: os.Getegid(),
			attr: func() *syscall.SysProcAttr { return &syscall.SysProcAttr{} },
		}, nil
	}
	var failed error
	for _, o := range rootsOwners() {
		err := os.Chown(dir, o.uid, o.gid)
		if err == nil {
			err = o.try(ctx, dir, bin)
		}
		if err == nil {
			return o, nil
		}
		failed = errors.Join(failed, fmt.Errorf("as %s: %w", o.name, err))
	}
	return owner{}, fmt.Errorf("PostgreSQL does not run as root, and nobody else can work here: run this as an ordinary user, or "+
		"choose a folder outside a home that is closed to others: %w", failed)
}

func rootsOwners() []owner {
	var owners []owner
	for _, name := range []string{"postgres", "nobody"} {
		if uid, gid, ok := lookup(name); ok {
			owners = append(owners, owner{name: name, uid: uid, gid: gid, attr: func() *syscall.SysProcAttr {
				return &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
			}})
		}
	}
	if len(owners) > 0 {
		number := owners[0] // any will do that has a name
		owners = append(owners, owner{name: "root in a namespace", uid: 0, gid: 0, attr: func() *syscall.SysProcAttr {
			return &syscall.SysProcAttr{
				Cloneflags:  syscall.CLONE_NEWUSER,
				UidMappings: []syscall.SysProcIDMap{{ContainerID: number.uid, HostID: 0, Size: 1}},
				GidMappings: []syscall.SysProcIDMap{{ContainerID: number.gid, HostID: 0, Size: 1}},
			}
		}})
	}
	return owners
}

func lookup(name string) (uid, gid int, ok bool) {
	u, err := user.Lookup(name)
	if err != nil {
		return 0, 0, false
	}
	uid, uerr := strconv.Atoi(u.Uid)
	gid, gerr := strconv.Atoi(u.Gid)
	return uid, gid, uerr == nil && gerr == nil
}

// try runs the least of the programs as the owner, in the folder it is to work in.
func (o owner) try(ctx context.Context, dir string, bin binaries) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(bin.dir, "postgres"), "--version")
	cmd.Dir, cmd.Env, cmd.SysProcAttr = dir, bin.env(), o.attr()
	out, err := run(cmd)
	if err != nil {
		return fmt.Errorf("%w %s", err, firstLine(out))
	}
	return nil
}

// give makes a folder and what is in it the owner's; only root has something to give.
func (o owner) give(dir string) error {
	if os.Geteuid() != 0 {
		return nil
	}
	return filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err == nil {
			err = os.Lchown(path, o.uid, o.gid)
		}
		if errors.Is(err, fs.ErrNotExist) { // a server at work there makes and removes files
			return nil
		}
		return err
	})
}
