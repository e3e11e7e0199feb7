//go:build unix

package spool

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"go.uber.org/goleak"
)

// postgresServer is a PostgreSQL that the tests start for themselves, without a port, and stop in TestMain.
type postgresServer struct {
	once    sync.Once
	err     error
	dir     string
	bin     string
	cred    *syscall.Credential
	cmd     *exec.Cmd
	out     bytes.Buffer
	schemas atomic.Int64
}

var (
	testServer     postgresServer
	errNoPostgres  = errors.New("PostgreSQL is not installed: initdb is neither in PATH nor in /usr/lib/postgresql")
	postgresOwners = []string{"postgres", "nobody"}
)

// postgresURL is the URL of a new, empty schema.
func postgresURL(t testing.TB) string {
	t.Helper()
	p := &testServer
	p.once.Do(func() { p.err = p.init() })
	if errors.Is(p.err, errNoPostgres) {
		t.Skip(p.err)
	}
	if p.err != nil {
		t.Fatalf("%v\n%s", p.err, p.out.String())
	}
	schema := fmt.Sprintf("spool%d", p.schemas.Add(1))
	conn, err := pgx.Connect(t.Context(), p.url(""))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	if _, err := conn.Exec(t.Context(), "CREATE SCHEMA "+schema); err != nil {
		t.Fatal(err)
	}
	return p.url(schema)
}

func (p *postgresServer) url(schema string) string {
	q := url.Values{"host": {filepath.Join(p.dir, "socket")}, "user": {"spool"}}
	if schema != "" {
		q.Set("search_path", schema)
	}
	return "postgres:///postgres?" + q.Encode()
}

func (p *postgresServer) init() (err error) {
	initdb, err := exec.LookPath("initdb")
	if found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/initdb"); len(found) > 0 {
		initdb = found[len(found)-1]
	} else if err != nil {
		return errNoPostgres
	}
	p.bin = filepath.Dir(initdb)
	if p.dir, err = os.MkdirTemp("", "spool-postgres-"); err != nil {
		return err
	}
	if err := os.Mkdir(filepath.Join(p.dir, "socket"), 0o700); err != nil {
		return err
	}
	if os.Getuid() == 0 { // it refuses to run as root
		if err := p.becomeOther(); err != nil {
			return err
		}
	}
	init := p.command("initdb", "-D", filepath.Join(p.dir, "data"), "-A", "trust", "-U", "spool", "-E", "UTF8", "--locale=C", "-N")
	init.Stdout, init.Stderr = &p.out, &p.out
	if err := init.Run(); err != nil {
		return err
	}
	return p.start()
}

func (p *postgresServer) becomeOther() error {
	for _, name := range postgresOwners {
		if u, err := user.Lookup(name); err == nil {
			uid, _ := strconv.Atoi(u.Uid)
			gid, _ := strconv.Atoi(u.Gid)
			p.cred = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
			return errors.Join(os.Chown(p.dir, uid, gid), os.Chown(filepath.Join(p.dir, "socket"), uid, gid))
		}
	}
	return fmt.Errorf("none of the users %v is there", postgresOwners)
}

func (p *postgresServer) command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(p.bin, name), args...)
	cmd.Dir = p.dir
	cmd.Env = []string{"LC_ALL=C", "PATH=" + os.Getenv("PATH")}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: p.cred}
	return cmd
}

func (p *postgresServer) start() error {
	p.cmd = p.command("postgres", "-D", filepath.Join(p.dir, "data"), "-k", filepath.Join(p.dir, "socket"), "-c", "listen_addresses=")
	p.cmd.Stdout, p.cmd.Stderr = &p.out, &p.out
	if err := p.cmd.Start(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for {
		conn, err := pgx.Connect(ctx, p.url(""))
		if err == nil {
			return conn.Close(ctx)
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// stop ends the server: SIGINT in order, SIGQUIT as if it had crashed.
func (p *postgresServer) stop(sig os.Signal) {
	if p.cmd != nil {
		p.cmd.Process.Signal(sig)
		p.cmd.Wait()
		p.cmd = nil
	}
}

func TestMain(m *testing.M) {
	if crashChild() {
		return
	}
	code := m.Run()
	testServer.stop(syscall.SIGINT)
	if err := goleak.Find(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	if testServer.dir != "" {
		os.RemoveAll(testServer.dir)
	}
	os.Exit(code)
}
