package esmtp

import (
	"errors"
	"strings"
)

// ErrPath is what [NewPath] returns for what is no address, or no parameters.
var ErrPath = errors.New("esmtp: bad address or parameters")

// NewPath makes a Path of an address as it stands between the brackets, such as "user@example.org" or "" for the null path, and of
// ESMTP parameters separated by spaces, such as "NOTIFY=NEVER". It is for programs that send mail, or bring addresses from elsewhere: it
// takes what a lenient server takes, and checks the form of the parameters, not whether there are such. Its error is [ErrPath].
// Any goroutine may call it.
func NewPath(address, params string) (Path, error) {
	p, ok := parsePath([]byte("<"+address+">"), true)
	if !ok || len(p.rest) > 0 || strings.HasPrefix(address, "<") {
		return Path{}, ErrPath
	}
	params = strings.Join(strings.FieldsFunc(params, func(c rune) bool { return c == ' ' }), " ")
	for param := range strings.SplitSeq(params, " ") {
		name, value, hasValue := strings.Cut(param, "=")
		if params != "" && (!isKeyword(name) || hasValue && !isParamValue([]byte(value))) || !isText([]byte(params)) {
			return Path{}, ErrPath
		}
	}
	path, ok := new(arena).makePath(&p, []byte(params))
	if !ok {
		return Path{}, ErrPath
	}
	return path, nil
}
