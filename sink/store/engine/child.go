package engine

// What the child process does. It comes to life twice. First it sets up its network and gives up what the engine
// doesn't need; then it executes itself again, so that this holds for all of its threads, and runs the engine: the
// library, which is loaded here and nowhere else, so that whatever it does to signals, threads and memory stays in the
// child; or a clickhouse binary, as a process of its own. Beside it the child passes connections out of its network.

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unsafe"

	"github.com/ebitengine/purego"

	"countersign/internal/fdpass"
	"countersign/internal/pause"
)

// ChildArg is the hidden first argument under which a program that calls Start must call Main: Start executes the
// running program again, with ChildArg before the arguments that Main expects.
const ChildArg = "engine-child"

// Files that the child inherits, after standard input, output and error. It ends in order at the end of its standard
// input.
const (
	lockFile   = 3 + iota // holds the lock on the directory
	readyFile             // a pipe: the child writes to it when the engine listens
	socketFile            // the Unix socket's listener; none in a shared network
	libFile               // the library that was checked; none with a binary
)

// order is what the parent wants of a child.
type order struct {
	Network network
	Try     bool   `json:",omitempty"` // set up the network, and end
	Dir     string `json:",omitempty"`
	Port    int    `json:",omitempty"`
	Lib     string `json:",omitempty"` // the library's name; it is open already
	Binary  string `json:",omitempty"` // or a clickhouse binary to run
	Ready   bool   `json:",omitempty"` // network and rights are set up
}

// environment lists what the child sees of its parent's environment. The rest may hold passwords.
var environment = []string{"PATH", "TZ", "TZDIR", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "GOCOVERDIR"}

// childMemory bounds the Go heap of the child, which has no other use for a garbage collector.
const childMemory = "GOMEMLIMIT=64MiB"

// command makes cmd, which is made for ownProgram, carry out the order.
func (o order) command(cmd *exec.Cmd) error {
	text, err := json.Marshal(o)
	if err != nil {
		return err
	}
	cmd.Args = []string{os.Args[0], ChildArg, string(text)}
	cmd.SysProcAttr = childAttributes(o.Network)
	// Without preemption Go sends no signals into foreign code.
	cmd.Env = []string{"GOGC=off", childMemory, "GODEBUG=asyncpreemptoff=1"}
	for _, name := range environment {
		if value, ok := os.LookupEnv(name); ok {
			cmd.Env = append(cmd.Env, name+"="+value)
		}
	}
	return nil
}

// Main is the child process. args are those after ChildArg. It returns the exit code when the engine has ended.
func Main(args []string) int {
	var o order
	if len(args) != 1 || json.Unmarshal([]byte(args[0]), &o) != nil {
		fmt.Fprintln(os.Stderr, ChildArg+" is started by countersign itself, and not by hand")
		return 2
	}
	runtime.LockOSThread() // rights belong to threads; and a binary lives as long as the thread that started it
	if err := o.carryOut(); err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) && exit.Exited() {
			return exit.ExitCode() // the binary has said why
		}
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func (o order) carryOut() error {
	if !o.Ready {
		return o.setUp()
	}
	for _, fd := range []int{lockFile, readyFile, socketFile, libFile} {
		syscall.CloseOnExec(fd) // fails for those that aren't there
	}
	if o.Network != sharedNetwork {
		if err := o.passConnections(); err != nil {
			return err
		}
	}
	if o.Binary != "" {
		return o.runBinary()
	}
	go o.tellWhenListening("self")
	return runLibrary(fmt.Sprintf("/proc/self/fd/%d", libFile), o.Lib, o.arguments())
}

// setUp gives the process its network and takes its rights, and comes back to life as the engine.
func (o order) setUp() error {
	if o.Network != sharedNetwork {
		if err := raiseLoopback(); err != nil {
			return err
		}
	}
	if o.Try {
		return nil
	}
	syscall.Umask(0o077) // the data is nobody else's
	offerToKernel()
	program := o.Binary
	if program == "" {
		program = o.Lib
	}
	switch err := confine(o.Dir, ownProgram(), program); {
	case errors.Is(err, errors.ErrUnsupported):
		fmt.Fprintln(os.Stderr, "<Warning> this kernel has no Landlock (since Linux 5.19; CONFIG_SECURITY_LANDLOCK, and lsm=...,landlock "+
			"at boot): whoever may query this engine can read this user's files with the SQL function file()")
	case err != nil:
		return err
	}
	if err := dropRights(); err != nil {
		return err
	}
	o.Ready = true
	text, err := json.Marshal(o)
	if err != nil {
		return err
	}
	err = syscall.Exec(ownProgram(), []string{os.Args[0], ChildArg, string(text)}, os.Environ())
	return fmt.Errorf("execute %s again: %w", os.Args[0], err)
}

// tellWhenListening waits until the engine, which is the process of that name in /proc, listens, and says so on the
// pipe.
func (o order) tellWhenListening(process string) {
	ready := os.NewFile(readyFile, "ready")
	defer ready.Close()
	for !listening(o.Port, process) {
		time.Sleep(5 * time.Millisecond)
	}
	_, _ = ready.WriteString("listening\n") // fails when the parent is gone
}

// childQuery is what the engine runs: it listens, and reads its standard input to the end. sessionQueries and
// sessionWords count its statements and their words.
const childQuery = "SYSTEM START LISTEN TCP; INSERT INTO FUNCTION null('line String') FROM INFILE '/dev/stdin' FORMAT LineAsString"

// arguments are those of `clickhouse local`.
func (o order) arguments() []string {
	return []string{"--config-file", configFile(o.Dir), "--path", storeDir(o.Dir), "--query", childQuery}
}

// runBinary runs a clickhouse binary to its end. It dies with this process.
func (o order) runBinary() error {
	cmd := exec.Command(o.Binary, append([]string{"local"}, o.arguments()...)...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.ExtraFiles = []*os.File{os.NewFile(lockFile, "lock")}
	cmd.SysProcAttr = childAttributes(sharedNetwork)
	cmd.SysProcAttr.Setpgid = false
	err := cmd.Start()
	if err == nil {
		go o.tellWhenListening(strconv.Itoa(cmd.Process.Pid))
		err = cmd.Wait()
	}
	if err != nil {
		return fmt.Errorf("%s: %w", o.Binary, err)
	}
	return nil
}

// runLibrary loads the library at path, which messages call by its name, and calls chdb_query_cmdline(argc, argv), which
// is clickhouse-local's main. It returns when its query has ended.
func runLibrary(path, name string, args []string) error {
	handle, err := purego.Dlopen(path, purego.RTLD_NOW|purego.RTLD_GLOBAL)
	if err != nil {
		return fmt.Errorf("can't load %s: %w; fetch it again with `make engine`", name, err)
	}
	for _, symbol := range []string{"chdb_query_cmdline", "chdb_result_error"} {
		if _, err := purego.Dlsym(handle, symbol); err != nil {
			return fmt.Errorf("%s is not the engine of version %s: %w; fetch it with `make engine`", name, Version, err)
		}
	}
	var query func(argc int32, argv unsafe.Pointer) uintptr
	var resultError func(result uintptr) string
	purego.RegisterLibFunc(&query, handle, "chdb_query_cmdline")
	purego.RegisterLibFunc(&resultError, handle, "chdb_result_error")

	argv := make([]*byte, 0, 8)
	for _, arg := range append([]string{"clickhouse"}, args...) {
		text := append([]byte(arg), 0)
		argv = append(argv, &text[0])
	}
	argv = append(argv, nil)
	result := query(int32(len(argv)-1), unsafe.Pointer(&argv[0]))
	runtime.KeepAlive(argv)
	if result == 0 {
		return fmt.Errorf("the engine gave no result")
	}
	if message := resultError(result); message != "" {
		return fmt.Errorf("the engine: %s", strings.TrimSpace(message))
	}
	return nil
}

// passConnections serves the Unix socket until the process ends.
func (o order) passConnections() error {
	file := os.NewFile(socketFile, "socket")
	defer file.Close()
	l, err := net.FileListener(file)
	if err != nil {
		return fmt.Errorf("take over the socket: %w", err)
	}
	unixListener, ok := l.(*net.UnixListener)
	if !ok {
		return fmt.Errorf("take over the socket: it is a %T", l)
	}
	go func() {
		if err := fdpass.Serve(unixListener, o.dial); err != nil {
			fmt.Fprintln(os.Stderr, "<Error> can't pass connections any more:", err)
			os.Exit(1) // the parent starts another child
		}
	}()
	return nil
}

// dial connects to the engine, and waits for it while it starts.
func (o order) dial(ctx context.Context) (*net.TCPConn, error) {
	for {
		c, err := new(net.Dialer).DialContext(ctx, "tcp4", loopback(o.Port))
		if err == nil {
			return c.(*net.TCPConn), nil
		}
		if !errors.Is(err, syscall.ECONNREFUSED) || pause.For(ctx, 10*time.Millisecond) != nil {
			return nil, err
		}
	}
}
