package harness

import (
	"os/exec"
	"runtime"
	"sync"
	"syscall"
)

// Pdeathsig is sent when the *thread* that started a child ends, so children are started by one goroutine that is
// locked to its thread and never ends.
var spawner = sync.OnceValue(func() chan<- job {
	jobs := make(chan job)
	go func() {
		runtime.LockOSThread()
		for j := range jobs {
			j.err <- j.cmd.Start()
		}
	}()
	return jobs
})

type job struct {
	cmd *exec.Cmd
	err chan error
}

// start starts cmd as a child that dies with this process.
func start(cmd *exec.Cmd) error {
	j := job{cmd, make(chan error, 1)}
	spawner() <- j
	return <-j.err
}

// StartProgram starts a command that a test talks to by itself, as a child that dies with the test.
func StartProgram(cmd *exec.Cmd) error {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return start(cmd)
}
