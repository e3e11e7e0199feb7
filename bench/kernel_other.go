//go:build !linux

package main

import (
	"errors"
	"os/exec"
	"time"
)

var errLinux = errors.New("bench: needs Linux, for its accounting of CPU time and memory")

func cores() (server, load int, err error)     { return 0, 0, errLinux }
func unprivileged(cmd *exec.Cmd) error         { return errLinux }
func allowFiles() error                        { return errLinux }
func pinSelf(core int) error                   { return errLinux }
func startOn(core int, cmd *exec.Cmd) error    { return errLinux }
func cpuTime(pid int) (time.Duration, error)   { return 0, errLinux }
func residentKiB(pid int) (int64, error)       { return 0, errLinux }
func familyCPU(pid int) (time.Duration, error) { return 0, errLinux }
func familyKiB(pid int) (int64, error)         { return 0, errLinux }
func adopt() error                             { return errLinux }
func endGroup(pid int)                         {}
func leadGroup(cmd *exec.Cmd)                  {}
