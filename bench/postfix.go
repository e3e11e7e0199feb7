package main

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
	"strings"
	"syscall"
)

// A Postfix of our own: its configuration, its queue and its port are in a folder that is made for it, and nothing of the one that the
// machine may have is touched. Settings are Postfix's defaults, but for what the work needs, and what would wait for something else: the
// DNS, or the limits on clients.

// postfixMain is main.cf: a format for the folder, and for what becomes of mail.
const postfixMain = `compatibility_level = 3.6
config_directory = %[1]s/etc
queue_directory = %[1]s/queue
data_directory = %[1]s/data
myhostname = mx.example
mydestination =
local_recipient_maps =
alias_maps =
mynetworks = 127.0.0.0/8
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
smtpd_peername_lookup = no
smtpd_client_connection_count_limit = 0
smtpd_relay_restrictions = permit_mynetworks, reject
disable_dns_lookups = yes
smtp_host_lookup = native
default_process_limit = 200
%[2]s
`

// What becomes of mail: it stays where cleanup has put it, and no queue manager is bothered with it; or it goes on at once.
const (
	postfixHolds  = "smtpd_client_restrictions = check_client_access static:HOLD"
	postfixRelays = "relayhost = [%s]:%s"
)

// postfixMaster is master.cf: a format for the address. Nothing is chrooted, which would need files of the machine to be copied.
const postfixMaster = `%s inet n - n - - smtpd
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
smtp unix - - n - - smtp
relay unix - - n - - smtp
retry unix - - n - - error
error unix - - n - - error
scache unix - - n - 1 scache
anvil unix - - n - 1 anvil
tlsmgr unix - - n 1000? 1 tlsmgr
proxymap unix - - n - - proxymap
`

// postfix sets up an instance and starts its master, which starts the rest.
func postfix(ctx context.Context, at place) (*exec.Cmd, error) {
	mail := postfixHolds
	if at.sink != "" {
		host, port, _ := strings.Cut(at.sink, ":")
		mail = fmt.Sprintf(postfixRelays, host, port)
	}
	files := map[string]string{
		"etc/main.cf":   fmt.Sprintf(postfixMain, at.dir, mail),
		"etc/master.cf": fmt.Sprintf(postfixMaster, at.addr),
	}
	if err := postfixFolders(at.dir); err != nil {
		return nil, err
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(at.dir, name), []byte(text), 0o644); err != nil {
			return nil, err
		}
	}
	daemons, err := postconf("daemon_directory")
	if err != nil {
		return nil, err
	}
	// -d: it stays in the foreground. It wants to lead its process group all the same: it ends the group when it is told to end.
	cmd := exec.CommandContext(ctx, filepath.Join(daemons, "master"), "-d", "-c", filepath.Join(at.dir, "etc"))
	leadGroup(cmd)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	return cmd, nil
}

// postfixFolders makes the folders that a Postfix package makes, for the same owners.
func postfixFolders(dir string) error {
	owner, err := user.Lookup("postfix")
	if err != nil {
		return err
	}
	uid, err := strconv.Atoi(owner.Uid)
	if err != nil {
		return err
	}
	for _, name := range []string{"etc", "queue", "queue/pid"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	for _, name := range []string{"data", "queue/active", "queue/bounce", "queue/corrupt", "queue/defer", "queue/deferred", "queue/flush",
		"queue/hold", "queue/incoming", "queue/maildrop", "queue/private", "queue/public", "queue/saved", "queue/trace"} {
		path := filepath.Join(dir, name)
		if err := os.Mkdir(path, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
		if err := os.Chown(path, uid, -1); err != nil {
			return err
		}
	}
	return nil
}

// postconf is a setting as Postfix is built with it.
func postconf(name string) (string, error) {
	for _, path := range []string{"postconf", "/usr/sbin/postconf"} {
		if out, err := exec.Command(path, "-dh", name).Output(); err == nil {
			return strings.TrimSpace(string(out)), nil
		}
	}
	return "", errors.New("postconf is not installed")
}

func postfixVersion() string {
	version, err := postconf("mail_version")
	if err != nil {
		return "version unknown"
	}
	return version
}

// noPostfix tells why there can be none.
func noPostfix() error {
	if os.Geteuid() != 0 {
		return errors.New("only root can start it")
	}
	if _, err := user.Lookup("postfix"); err != nil {
		return err
	}
	daemons, err := postconf("daemon_directory")
	if err != nil {
		return err
	}
	_, err = exec.LookPath(filepath.Join(daemons, "smtpd"))
	return err
}

func aboutPostfix() string {
	return "Postfix " + postfixVersion() + " with its own queue, an instance of its own; all its processes counted"
}
