package maildir

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"time"
)

// mkdir makes a folder below the root and the folders above it, and brings them to the disk: a message is lost if its folder is.
func (d *delivery) mkdir(dir string) error {
	err := d.mkdirOne(dir)
	if parent := filepath.Dir(dir); errors.Is(err, fs.ErrNotExist) && parent != "." {
		if err := d.mkdir(parent); err != nil {
			return err
		}
		return d.mkdirOne(dir)
	}
	return err
}

func (d *delivery) mkdirOne(dir string) error {
	if err := d.root.Mkdir(dir, d.store.DirMode); err != nil {
		return ignoreExist(err)
	}
	if err := d.root.Chmod(dir, d.store.DirMode); err != nil {
		return err
	}
	return d.sync(filepath.Dir(dir))
}

func ignoreExist(err error) error {
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	return err
}

// sync brings the entries of a folder below the root to the disk.
func (d *delivery) sync(dir string) error {
	f, err := d.root.Open(dir)
	if err != nil {
		return err
	}
	return syncClose(f)
}

// makeRoot makes the root and the folders above it, as mkdir does.
func makeRoot(dir string, mode fs.FileMode) error {
	err := makeRootOne(dir, mode)
	if parent := filepath.Dir(dir); errors.Is(err, fs.ErrNotExist) && parent != dir {
		if err := makeRoot(parent, mode); err != nil {
			return err
		}
		return makeRootOne(dir, mode)
	}
	return err
}

func makeRootOne(dir string, mode fs.FileMode) error {
	if err := os.Mkdir(dir, mode); err != nil {
		return ignoreExist(err)
	}
	if err := os.Chmod(dir, mode); err != nil {
		return err
	}
	f, err := os.Open(filepath.Dir(dir))
	if err != nil {
		return err
	}
	return syncClose(f)
}

func syncClose(f *os.File) error {
	defer f.Close()
	if runtime.GOOS == "windows" { // a folder can't be synced there
		return nil
	}
	return f.Sync()
}

// The parts of a unique name that don't change: 'R' is random, for hosts that share a name and a folder.
var (
	nameCount atomic.Uint64
	nameTail  = fmt.Sprintf("R%08x.%s", rand.Uint32(), nameHost())
)

// uniqueName returns a name that no other message of a maildir has: time.MmicrosecondsPprocessQcountRrandom.host.
func uniqueName() string {
	now := time.Now()
	return fmt.Sprintf("%d.M%06dP%dQ%d%s", now.Unix(), now.Nanosecond()/1000, os.Getpid(), nameCount.Add(1), nameTail)
}

// nameHost returns the name of this machine; '/' and ':' are written as in the description of maildir.
func nameHost() string {
	host, err := os.Hostname()
	if err != nil || host == "" {
		host = "localhost"
	}
	return strings.NewReplacer("/", `\057`, ":", `\072`).Replace(host)
}
