package engine

// Why a child ended, where that has a cause outside of ClickHouse that somebody can mend.

import (
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"syscall"

	"golang.org/x/sys/cpu"
)

// explainEnd adds to a child's end what it means and what to do. out is what the child printed last.
func explainEnd(err error, out string) error {
	switch {
	case endedBy(err, syscall.SIGILL) || strings.Contains(strings.ToLower(out), "illegal instruction"):
		return fmt.Errorf("%w: %s", orExit(err), illegalInstruction(cpu.X86.HasAVX2))
	case endedBy(err, syscall.SIGKILL):
		return fmt.Errorf("%w: if nobody killed it, the kernel did when memory ran out (dmesg says so): lower --engine-memory, "+
			"or give the machine or the cgroup more memory", err)
	}
	return err
}

// endedBy says whether a signal ended the child.
func endedBy(err error, signal syscall.Signal) bool {
	exit, ok := errors.AsType[*exec.ExitError](err)
	if !ok {
		return false
	}
	status, ok := exit.Sys().(syscall.WaitStatus)
	return ok && status.Signaled() && status.Signal() == signal
}

// orExit is an error also where the child ended without one.
func orExit(err error) error {
	if err == nil {
		return errors.New("exit status 0")
	}
	return err
}

// illegalInstruction says what the processor lacks. hasAVX2 tells whether it has the newest of what is usually missing.
func illegalInstruction(hasAVX2 bool) string {
	what := "the engine uses an instruction that this processor doesn't have"
	if !hasAVX2 {
		what = "this processor, or the virtual machine's model of one, has no AVX2, which the engine needs (x86-64-v3, since 2013)"
	}
	return what + ": use another processor or model (`host` in QEMU and libvirt), a clickhouse binary that is built for this one " +
		"(--engine-binary), or a ClickHouse elsewhere (--clickhouse)"
}
