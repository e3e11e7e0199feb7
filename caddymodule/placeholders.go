package caddymodule

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/caddyserver/caddy/v2"
)

// replace replaces the placeholders of a setting. One that has no value is an error: it would be a password that is empty, or another folder.
func replace(setting, text string) (string, error) {
	return replaceBut(setting, text, func(string) bool { return false })
}

// placeholder is what a placeholder of Caddy looks like, without its braces.
var placeholder = regexp.MustCompile(`^[A-Za-z]+\.[^\s"{}]*$`)

// replaceFree is replace for a text that may have braces of its own: a password, JSON, the kind of a secret.
func replaceFree(setting, text string) (string, error) {
	return replaceBut(setting, text, func(key string) bool { return !placeholder.MatchString(key) })
}

// replaceBut replaces all placeholders but those that the text keeps.
func replaceBut(setting, text string, keep func(key string) bool) (string, error) {
	var wrong error
	known, checked := caddy.NewReplacer(), caddy.NewEmptyReplacer()
	checked.Map(func(key string) (any, bool) {
		value, ok := known.Get(key)
		switch {
		case wrong != nil, !ok && keep(key):
		case !ok:
			wrong = unknownPlaceholder(key)
		case caddy.ToString(value) == "":
			wrong = noValue(key)
		}
		return value, ok
	})
	text, err := checked.ReplaceOrErr(text, false, false)
	if wrong != nil {
		err = wrong
	}
	if err != nil {
		return "", fmt.Errorf("%s: %w", setting, err)
	}
	return text, nil
}

func unknownPlaceholder(key string) error {
	kind, _, _ := strings.Cut(key, ".")
	return fmt.Errorf(`there is no placeholder {%s}%s; a brace that is meant as such is written \{`, key,
		didYouMean("{"+kind+".*}", []string{"{env.*}", "{file.*}", "{system.*}", "{time.*}"}))
}

func noValue(key string) error {
	if name, ok := strings.CutPrefix(key, "env."); ok {
		return fmt.Errorf("placeholder {%s} is empty: set the environment variable %s", key, name)
	}
	if name, ok := strings.CutPrefix(key, "file."); ok {
		return fmt.Errorf("placeholder {%s} is empty: there must be a file %s, with something in it, that Caddy may read", key, name)
	}
	return fmt.Errorf("placeholder {%s} is empty", key)
}
