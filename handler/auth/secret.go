package auth

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/xdg-go/scram"

	"github.com/caddy-esmtp/esmtp"
)

// Hash is a kind of password hash, such as bcrypt.
type Hash struct {
	// Prefix is how its hashes begin, such as "$2".
	Prefix string

	// Check says what is wrong with a hash, without taking the time of Compare.
	Check func(hashed []byte) error

	// Compare reports whether a password is right. An error means that the hash can't be used.
	Compare func(hashed, password []byte) (bool, error)
}

// account is what is known of a user.
type account struct {
	password string // in the clear, for {PLAIN}
	keys     esmtp.SCRAMKeys
	scheme   string // of keys: a SCRAM mechanism
	hashed   []byte
	hash     Hash
}

const schemePlain = "{PLAIN}"

var scramHashes = map[string]scram.HashGeneratorFcn{"SCRAM-SHA-1": scram.SHA1, "SCRAM-SHA-256": scram.SHA256}

// parseSecret reads a secret: a hash that begins as one of hashes does, SCRAM keys, or {PLAIN} and a password.
func parseSecret(secret string, hashes []Hash) (*account, error) {
	if password, ok := strings.CutPrefix(secret, schemePlain); ok {
		if password == "" {
			return nil, errors.New("the password is empty")
		}
		return &account{password: password}, nil
	}
	for scheme, hash := range scramHashes {
		if text, ok := strings.CutPrefix(secret, "{"+scheme+"}"); ok {
			keys, err := parseKeys(text, hash().Size())
			if err != nil {
				return nil, fmt.Errorf("%s: %w", scheme, err)
			}
			return &account{keys: keys, scheme: scheme}, nil
		}
	}
	for _, hash := range hashes {
		if strings.HasPrefix(secret, hash.Prefix) {
			if err := hash.Check([]byte(secret)); err != nil {
				return nil, err
			}
			return &account{hashed: []byte(secret), hash: hash}, nil
		}
	}
	return nil, errors.New("the secret is of no kind that is known here") // which it is not to be shown in
}

// Bounds on the iterations of SCRAM: RFC 7677 §4 asks for 4096 at least, and each login costs as many.
const (
	minIterations = 4096
	maxIterations = 10_000_000
)

// parseKeys reads SCRAM keys as Dovecot writes them: iterations, salt, stored key and server key, with commas between them.
func parseKeys(text string, size int) (k esmtp.SCRAMKeys, err error) {
	parts := strings.Split(text, ",")
	if len(parts) != 4 {
		return k, errors.New("want iterations,salt,stored key,server key")
	}
	if k.Iterations, err = strconv.Atoi(parts[0]); err != nil || k.Iterations < minIterations || k.Iterations > maxIterations {
		return k, fmt.Errorf("the iterations are to be %d to %d", minIterations, maxIterations)
	}
	for i, octets := range []*[]byte{&k.Salt, &k.StoredKey, &k.ServerKey} {
		if *octets, err = base64.StdEncoding.DecodeString(parts[i+1]); err != nil {
			return k, errors.New("salt and keys are to be in base64")
		}
	}
	if len(k.Salt) == 0 || len(k.StoredKey) != size || len(k.ServerKey) != size {
		return k, fmt.Errorf("there is to be a salt, and the keys are to have %d octets", size)
	}
	return k, nil
}

// SCRAM returns the secret of a password for [Table.Add]: with what is stored of it nobody can log in. mechanism is SCRAM-SHA-1 or SCRAM-SHA-256; iterations
// 0 means 4096.
func SCRAM(mechanism, password string, iterations int) (secret string, err error) {
	if iterations == 0 {
		iterations = minIterations
	}
	hash, ok := scramHashes[mechanism]
	if !ok || iterations < minIterations || iterations > maxIterations {
		return "", fmt.Errorf("auth: no %s with %d iterations", mechanism, iterations)
	}
	salt := make([]byte, 16)
	rand.Read(salt)
	keys, err := deriveKeys(hash, password, esmtp.SCRAMKeys{Salt: salt, Iterations: iterations})
	if err != nil {
		return "", fmt.Errorf("auth: password: %w", err)
	}
	b64 := base64.StdEncoding.EncodeToString
	return fmt.Sprintf("{%s}%d,%s,%s,%s", mechanism, iterations, b64(salt), b64(keys.StoredKey), b64(keys.ServerKey)), nil
}

// deriveKeys makes keys of a password, with the salt and iterations of others.
func deriveKeys(hash scram.HashGeneratorFcn, password string, like esmtp.SCRAMKeys) (k esmtp.SCRAMKeys, err error) {
	client, err := hash.NewClient("", password, "")
	if err != nil {
		return k, err
	}
	stored, err := client.GetStoredCredentialsWithError(scram.KeyFactors{Salt: string(like.Salt), Iters: like.Iterations})
	return esmtp.SCRAMKeys{Salt: like.Salt, Iterations: like.Iterations, StoredKey: stored.StoredKey, ServerKey: stored.ServerKey}, err
}

// verify reports whether a password is right.
func (a *account) verify(password string) (bool, error) {
	switch {
	case a.scheme != "":
		keys, err := deriveKeys(scramHashes[a.scheme], password, a.keys)
		return err == nil && subtle.ConstantTimeCompare(keys.StoredKey, a.keys.StoredKey) == 1, nil
	case a.hashed != nil:
		return a.hash.Compare(a.hashed, []byte(password))
	}
	return subtle.ConstantTimeCompare([]byte(a.password), []byte(password)) == 1, nil
}

// can reports whether the account can log in by a mechanism.
func (a *account) can(mechanism string) bool {
	switch mechanism {
	case "PLAIN", "LOGIN":
		return true
	case "SCRAM-SHA-1", "SCRAM-SHA-256":
		return a.password != "" || a.scheme == mechanism
	}
	return a.password != "" // CRAM-MD5
}
