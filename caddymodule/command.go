package caddymodule

import (
	"bufio"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/caddyauth"
	"github.com/spf13/cobra"
	"golang.org/x/crypto/argon2"
	"golang.org/x/crypto/bcrypt"
	"golang.org/x/term"

	"github.com/caddy-esmtp/esmtp/handler/auth"
)

func init() {
	caddycmd.RegisterCommand(caddycmd.Command{
		Name:  "esmtp",
		Short: "Helps with the ESMTP server, and shows what it does",
		CobraFunc: func(cmd *cobra.Command) {
			cmd.AddCommand(userCommand(), sessionsCommand(), kickCommand(), eventsCommand(), queueCommand(), injectCommand(), traceCommand())
		},
	})
}

// userCommand is "caddy esmtp user".
func userCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "user <name>",
		Short: "Makes a line for a file of users, or for users in a Caddyfile",
		Long: `
Reads a password, from the terminal or as the first line of the standard input,
and writes a line for the file of "auth { file ... }": the name, a colon, and
what is to be kept of the password.

--hash
    What is kept: scram-sha-256 and scram-sha-1 are SCRAM keys, with which
    clients can log in without showing the password; bcrypt and argon2id are
    hashes. With all of them clients can log in by PLAIN and LOGIN.

--caddyfile
    Writes a line for "auth { users { ... } }" in a Caddyfile instead.
`,
		Example: `  caddy esmtp user ann >>/etc/caddy/mail-users`,
		Args:    cobra.ExactArgs(1),
	}
	kind := cmd.Flags().String("hash", "scram-sha-256", "What is kept of the password: "+strings.Join(secretKinds(), ", "))
	caddyfile := cmd.Flags().Bool("caddyfile", false, "Write a line for a Caddyfile")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		cmd.SilenceUsage = true
		password, err := readPassword(cmd.InOrStdin(), cmd.ErrOrStderr())
		if err != nil {
			return err
		}
		line, err := userLine(args[0], password, *kind, *caddyfile)
		if err != nil {
			return err
		}
		fmt.Fprintln(cmd.OutOrStdout(), line)
		return nil
	}
	return cmd
}

// secretMakers are what can be kept of a password.
var secretMakers = map[string]func(password string) (string, error){
	"scram-sha-256": func(password string) (string, error) { return auth.SCRAM("SCRAM-SHA-256", password, 0) },
	"scram-sha-1":   func(password string) (string, error) { return auth.SCRAM("SCRAM-SHA-1", password, 0) },
	"bcrypt": func(password string) (string, error) {
		hashed, err := caddyauth.BcryptHash{}.Hash([]byte(password))
		if errors.Is(err, bcrypt.ErrPasswordTooLong) {
			return "", errors.New("esmtp user: bcrypt takes 72 octets at most")
		}
		return string(hashed), err
	},
	"argon2id": argon2id,
}

func secretKinds() []string { return slices.Sorted(maps.Keys(secretMakers)) }

// userLine makes the line of a user.
func userLine(name, password, kind string, caddyfile bool) (string, error) {
	if err := auth.CheckName(name); err != nil {
		return "", err
	}
	secret, ok := secretMakers[kind]
	if !ok {
		return "", fmt.Errorf("esmtp user: unrecognized hash %q%s", kind, didYouMean(kind, secretKinds()))
	}
	text, err := secret(password)
	if err != nil {
		return "", err
	}
	if caddyfile {
		return name + " " + text, nil
	}
	return name + ":" + text, nil
}

// readPassword reads a password without showing it, twice, or from what is no terminal the first line.
func readPassword(in io.Reader, prompt io.Writer) (string, error) {
	file, ok := in.(*os.File)
	if !ok || !term.IsTerminal(int(file.Fd())) {
		line, err := bufio.NewReader(in).ReadString('\n')
		password := strings.TrimSuffix(strings.TrimSuffix(line, "\n"), "\r")
		switch {
		case err != nil && err != io.EOF:
			return "", fmt.Errorf("esmtp user: %w", err)
		case password == "":
			return "", errors.New("esmtp user: there is no password")
		}
		return password, nil
	}
	var password [2]string
	for i, text := range []string{"Password: ", "Again: "} {
		fmt.Fprint(prompt, text)
		line, err := term.ReadPassword(int(file.Fd()))
		fmt.Fprintln(prompt)
		if err != nil {
			return "", fmt.Errorf("esmtp user: %w", err)
		}
		password[i] = string(line)
	}
	switch {
	case password[0] == "":
		return "", errors.New("esmtp user: there is no password")
	case password[0] != password[1]:
		return "", errors.New("esmtp user: the passwords are not the same")
	}
	return password[0], nil
}

// argon2id hashes a password as "caddy hash-password" does.
func argon2id(password string) (string, error) {
	const time, memory, threads, size = 1, 46 * 1024, 1, 32
	salt := make([]byte, 16)
	rand.Read(salt)
	key := argon2.IDKey([]byte(password), salt, time, memory, threads, size)
	b64 := base64.RawStdEncoding.EncodeToString
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, memory, time, threads, b64(salt), b64(key)), nil
}
