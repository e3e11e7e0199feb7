package trace

import (
	"bufio"
	"compress/gzip"
	"io"
	"os"
	"strings"
)

// maxLine is how long a line may be: longer ones, which Caddy doesn't write, are passed over.
const maxLine = 1 << 20

// Files are the lines of files, one after the other; those whose names end with .gz are compressed, as Caddy leaves old logs.
func Files(names ...string) Lines {
	return func(yield func([]byte)) error {
		for _, name := range names {
			if err := readFile(name, yield); err != nil {
				return err
			}
		}
		return nil
	}
}

func readFile(name string, yield func([]byte)) error {
	file, err := os.Open(name)
	if err != nil {
		return err
	}
	defer file.Close()
	if !strings.HasSuffix(name, ".gz") {
		return readLines(file, yield)
	}
	content, err := gzip.NewReader(bufio.NewReader(file))
	if err != nil {
		return &os.PathError{Op: "read", Path: name, Err: err}
	}
	if err := readLines(content, yield); err != nil {
		return &os.PathError{Op: "read", Path: name, Err: err}
	}
	return nil
}

func readLines(from io.Reader, yield func([]byte)) error {
	r := bufio.NewReaderSize(from, maxLine)
	for long := false; ; {
		line, err := r.ReadSlice('\n')
		if !long && err != bufio.ErrBufferFull {
			yield(line)
		}
		switch err {
		case nil:
			long = false
		case bufio.ErrBufferFull:
			long = true
		case io.EOF:
			return nil
		default:
			return err
		}
	}
}
