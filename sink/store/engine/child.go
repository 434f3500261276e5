package engine

// What the child process does: it loads the library and calls its main. The library is loaded here and nowhere else, so
// whatever it does to signals, threads and memory stays in the child.

import (
	"fmt"
	"os"
	"runtime"
	"unsafe"

	"github.com/ebitengine/purego"
)

// ChildArg is the hidden first argument under which a program that calls Start must call Main: Start executes the
// running program again, with ChildArg before the arguments that Main expects.
const ChildArg = "engine-child"

// Main is the child process when the engine is the library. args are those after ChildArg: the library's path, and the
// arguments of `clickhouse local`. It returns the exit code when the engine's query has ended.
func Main(args []string) int {
	if len(args) < 1 {
		fmt.Fprintln(os.Stderr, ChildArg+" is started by countersign itself, and not by hand")
		return 2
	}
	if err := runLibrary(args[0], args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// runLibrary calls chdb_query_cmdline(argc, argv), which is clickhouse-local's main, and returns when its query has
// ended.
func runLibrary(lib string, args []string) error {
	handle, err := purego.Dlopen(lib, purego.RTLD_NOW|purego.RTLD_GLOBAL)
	if err != nil {
		return fmt.Errorf("can't load %s: %w; fetch it again with `make engine`", lib, err)
	}
	for _, symbol := range []string{"chdb_query_cmdline", "chdb_result_error"} {
		if _, err := purego.Dlsym(handle, symbol); err != nil {
			return fmt.Errorf("%s is not the engine of version %s: %w; fetch it with `make engine`", lib, Version, err)
		}
	}
	var query func(argc int32, argv unsafe.Pointer) uintptr
	var resultError func(result uintptr) string
	purego.RegisterLibFunc(&query, handle, "chdb_query_cmdline")
	purego.RegisterLibFunc(&resultError, handle, "chdb_result_error")

	argv := make([]*byte, 0, len(args)+2)
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
		return fmt.Errorf("the engine: %s", message)
	}
	return nil
}
