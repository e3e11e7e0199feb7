package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// familyCPU is the CPU time that a process and its children have used, also the children that have ended. The process must be one that
// waits for its children: what those have used is added to its account then, and not before.
func familyCPU(pid int) (time.Duration, error) {
	var err error
	for range 100 { // should a child end while we look at it, it would count twice or not at all
		var total, gone, after time.Duration
		if gone, err = reapedCPU(pid); err != nil {
			return 0, err
		}
		if total, err = livingCPU(pid); err == nil {
			if after, err = reapedCPU(pid); err == nil && after == gone {
				return total + gone, nil
			}
		}
		if err != nil && !errors.Is(err, unix.ESRCH) && !errors.Is(err, unix.EINVAL) {
			return 0, err
		}
	}
	return 0, fmt.Errorf("bench: children of process %d come and go too fast: %w", pid, err)
}

// leadGroup makes a process the leader of a group of its own.
func leadGroup(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }

// adopt makes processes ours whose parents have ended, so that they can be waited for.
func adopt() error {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("bench: %w", err)
	}
	return nil
}

// endGroup waits until nobody is left of a process group whose leader has ended, and sees to it if that takes too long.
func endGroup(pid int) {
	for end := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		for {
			if gone, err := unix.Wait4(-pid, nil, unix.WNOHANG, nil); err != nil || gone == 0 {
				break
			}
		}
		if unix.Kill(-pid, 0) != nil {
			return
		}
		if time.Now().After(end) {
			unix.Kill(-pid, unix.SIGKILL)
			end = time.Now().Add(patience)
		}
	}
}

// livingCPU is what a process and its children have used that are there.
func livingCPU(pid int) (time.Duration, error) {
	list, err := children(pid)
	if err != nil {
		return 0, err
	}
	var total time.Duration
	for _, one := range append(list, pid) {
		used, err := cpuTime(one)
		if err != nil {
			return 0, err
		}
		total += used
	}
	return total, nil
}

// Fields of /proc/PID/stat behind the name of the program; see proc_pid_stat(5), which counts from 1 and has two before these.
const (
	statParent = 4 - 3
	statCUTime = 16 - 3
	statCSTime = 17 - 3
)

// userHZ is the unit of times in /proc/PID/stat, the same on all architectures that Go runs on.
const userHZ = 100

// reapedCPU is what the children of a process had used that it has waited for.
func reapedCPU(pid int) (time.Duration, error) {
	fields, err := stat(pid)
	if err != nil {
		return 0, fmt.Errorf("bench: %w", err)
	}
	user, _ := strconv.ParseInt(fields[statCUTime], 10, 64)
	system, _ := strconv.ParseInt(fields[statCSTime], 10, 64)
	return time.Duration(user+system) * time.Second / userHZ, nil
}

func stat(pid int) ([]string, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return nil, err
	}
	_, rest, _ := strings.Cut(string(text), ") ") // no program of ours has that in its name
	fields := strings.Fields(rest)
	if len(fields) <= statCSTime {
		return nil, fmt.Errorf("/proc/%d/stat has %d fields", pid, len(fields))
	}
	return fields, nil
}

// children are the processes that a process has started and not yet waited for.
func children(pid int) (list []int, err error) {
	folders, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return nil, fmt.Errorf("bench: %w", err)
	}
	parent := strconv.Itoa(pid)
	for _, folder := range folders {
		child, _ := strconv.Atoi(filepath.Base(folder))
		if fields, err := stat(child); err == nil && fields[statParent] == parent {
			list = append(list, child)
		}
	}
	return list, nil
}

// familyKiB is the memory that a process and its children have in RAM. What they share counts once: proportional set size.
func familyKiB(pid int) (total int64, err error) {
	list, err := children(pid)
	if err != nil {
		return 0, err
	}
	for _, one := range append(list, pid) {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", one))
		if err != nil {
			continue // it has ended
		}
		for line := range strings.Lines(string(text)) {
			if value, ok := strings.CutPrefix(line, "Pss:"); ok {
				kib, _ := strconv.ParseInt(strings.Fields(value)[0], 10, 64)
				total += kib
			}
		}
	}
	if total == 0 {
		return 0, fmt.Errorf("bench: process %d has no memory", pid)
	}
	return total, nil
}
