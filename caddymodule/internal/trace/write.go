package trace

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"
)

// WriteTo writes a story for people: what all of it has in common, then a line for each line of the log, without what is empty or 0.
func (s *Story) WriteTo(w io.Writer) (int64, error) {
	var b bytes.Buffer
	common := s.common()
	b.WriteString(plain(s.Session))
	for _, f := range common {
		f.write(&b)
	}
	b.WriteByte('\n')
	for _, line := range s.Lines {
		writeEntry(&b, fieldsOf(line), common)
	}
	n, err := w.Write(b.Bytes())
	return int64(n), err
}

// field is a field of a line.
type field struct {
	key   string
	value json.RawMessage
}

// fieldsOf returns the fields of a line in their order.
func fieldsOf(line []byte) (list []field) {
	d := json.NewDecoder(bytes.NewReader(line))
	if _, err := d.Token(); err != nil {
		return nil
	}
	for d.More() {
		key, err := d.Token()
		if err != nil {
			break
		}
		f := field{key: fmt.Sprint(key)}
		if d.Decode(&f.value) != nil {
			break
		}
		list = append(list, f)
	}
	return list
}

// common returns what the last line about the session says of the client: by then it has said all.
func (s *Story) common() []field {
	of := []string{"server", "route", "remote", "peer", "helo", "protocol", "tls", "user", "mechanism"}
	for _, line := range slices.Backward(s.Lines) {
		fields := fieldsOf(line)
		if slices.ContainsFunc(fields, func(f field) bool { return f.key == "helo" }) {
			return slices.DeleteFunc(fields, func(f field) bool { return !slices.Contains(of, f.key) })
		}
	}
	return nil
}

// writeEntry writes a line of the log: when and what, then its fields.
func writeEntry(b *bytes.Buffer, fields, common []field) {
	var when, level, msg string
	rest := fields[:0]
	for _, f := range fields {
		switch f.key {
		case "ts":
			when = moment(f.value)
		case "level":
			level = strings.ToUpper(f.text())
		case "msg":
			msg = f.text()
		case "logger", "session":
		default:
			rest = append(rest, f)
		}
	}
	if level == "INFO" || level == "DEBUG" {
		level = ""
	}
	fmt.Fprintf(b, "  %s", strings.Join(strings.Fields(when+" "+plainWords(level+" "+msg)), " "))
	for _, f := range rest {
		if !slices.ContainsFunc(common, func(c field) bool { return c.key == f.key && bytes.Equal(c.value, f.value) }) {
			f.write(b)
		}
	}
	b.WriteByte('\n')
}

// write writes a field that says something.
func (f field) write(b *bytes.Buffer) {
	var value any
	if json.Unmarshal(f.value, &value) != nil {
		return
	}
	switch v := value.(type) {
	case nil:
	case string:
		if v != "" {
			fmt.Fprintf(b, " %s=%s", plain(f.key), plain(v))
		}
	case float64:
		if f.key == "due" {
			fmt.Fprintf(b, " due=%q", moment(f.value))
		} else if v != 0 {
			fmt.Fprintf(b, " %s=%s", plain(f.key), f.value)
		}
	case []any:
		if len(v) > 0 {
			fmt.Fprintf(b, " %s=%s", plain(f.key), list(v))
		}
	case map[string]any:
		for _, inner := range fieldsOf(f.value) {
			field{f.key + "." + inner.key, inner.value}.write(b)
		}
	case bool:
		if v {
			fmt.Fprintf(b, " %s=true", plain(f.key))
		}
	}
}

func list(values []any) string {
	words := make([]string, len(values))
	for i, v := range values {
		words[i] = plain(fmt.Sprint(v))
	}
	return strings.Join(words, ",")
}

// text is the field's text, "" if it is none.
func (f field) text() (s string) {
	json.Unmarshal(f.value, &s)
	return s
}

// moment writes a time: Caddy's log has seconds since 1970, unless it was told otherwise.
func moment(value json.RawMessage) string {
	seconds, err := strconv.ParseFloat(string(value), 64)
	if err != nil {
		return plainWords(field{value: value}.text())
	}
	return time.UnixMilli(int64(seconds * 1000)).Format("2006-01-02 15:04:05.000")
}

// plain quotes what would not stand for itself, or do something to a terminal: clients have a say in it.
func plain(s string) string {
	if s == "" || strings.ContainsFunc(s, func(r rune) bool { return r == ' ' || r == '"' || r == '=' || r == ',' || !strconv.IsPrint(r) }) {
		return strconv.Quote(s)
	}
	return s
}

// plainWords is text in which spaces may stand.
func plainWords(s string) string {
	if q := strconv.Quote(s); q != `"`+s+`"` {
		return q
	}
	return s
}
