//go:build linux || darwin || freebsd

package spool

import (
	"math"
	"syscall"
)

// freeSpace is how many octets this process may still write to the file system of a folder.
func freeSpace(folder string) (octets int64, known bool) {
	var st syscall.Statfs_t
	if syscall.Statfs(folder, &st) != nil {
		return 0, false
	}
	blocks, size := max(int64(st.Bavail), 0), max(int64(st.Bsize), 1) // FreeBSD has a negative number in its reserve
	if blocks > math.MaxInt64/size {
		return math.MaxInt64, true
	}
	return blocks * size, true
}
