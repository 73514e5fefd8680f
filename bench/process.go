// SPDX-License-Identifier: MPL-2.0

//go:build linux

package main

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// tick is Linux's unit of processor time in /proc.
const tick = 10 * time.Millisecond

// residentMemory returns a process's current and highest resident memory in bytes.
func residentMemory(pid int) (now, highest int64, err error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, 0, fmt.Errorf("read the memory of a plugin: %w", err)
	}
	for line := range strings.Lines(string(status)) {
		switch fields := strings.Fields(line); fields[0] {
		case "VmRSS:":
			now, err = kibibytes(fields[1])
		case "VmHWM:":
			highest, err = kibibytes(fields[1])
		}
		if err != nil {
			return 0, 0, err
		}
	}
	return now, highest, nil
}

func kibibytes(text string) (int64, error) {
	n, err := strconv.ParseInt(text, 10, 64)
	return n << 10, err
}

// parent returns the PID of a process's parent.
func parent(pid int) (int, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, fmt.Errorf("look for Vault among the processes: %w", err)
	}
	fields := strings.Fields(afterName(stat))
	return strconv.Atoi(fields[1])
}

// afterName removes the name from /proc/…/stat. The name is in brackets and may contain any character.
func afterName(stat []byte) string { return string(stat[bytes.LastIndexByte(stat, ')')+1:]) }

// processorTime returns the processor time of Vault and its running plugins.
func (s *server) processorTime() (time.Duration, error) {
	pids, err := s.PluginPIDs()
	if err != nil || len(pids) == 0 {
		return 0, err
	}
	vault, err := parent(pids[0])
	if err != nil {
		return 0, err
	}
	var all time.Duration
	for _, pid := range append(pids, vault) {
		used, err := processorTime(pid)
		if err != nil {
			return 0, err
		}
		all += used
	}
	return all, nil
}

func processorTime(pid int) (time.Duration, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, fmt.Errorf("read the processor time of a plugin: %w", err)
	}
	fields := strings.Fields(afterName(stat))
	if len(fields) < 13 {
		return 0, fmt.Errorf("/proc/%d/stat has %d fields after the name: at least 13 are needed", pid, len(fields))
	}
	// The sum of user and system time, see proc(5).
	user, err := strconv.Atoi(fields[11])
	if err != nil {
		return 0, err
	}
	system, err := strconv.Atoi(fields[12])
	return time.Duration(user+system) * tick, err
}
