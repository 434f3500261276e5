package engine

// Which program is the engine, and how it is called.

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// Version is that of the npm package that scripts/fetch-engine.sh fetches the library from.
const Version = "26.7.3-stable.1"

// libEnv names the environment variable that says where the library is.
const libEnv = "COUNTERSIGN_ENGINE_LIB"

const libName = "libchdb.so"

// errNoEngine says that neither the library nor a clickhouse binary was found.
var errNoEngine = errors.New("no ClickHouse engine: run `make engine` to fetch it, put a clickhouse binary on PATH, " +
	"or use --clickhouse URL for an existing server")

// FindLib returns the path of the engine's library. It looks in this order: given, if that isn't empty; what the
// environment variable COUNTERSIGN_ENGINE_LIB names; the cache that COUNTERSIGN_CACHE names; lib beside the executable;
// and .cache, which `make engine` fills, beside the executable's folder or above the working directory. A path that was
// given or is named by COUNTERSIGN_ENGINE_LIB and isn't there is an error, not a reason to look on.
func FindLib(given string) (string, error) {
	for _, named := range []struct{ by, path string }{{"--engine-lib", given}, {libEnv, os.Getenv(libEnv)}} {
		if named.path == "" {
			continue
		}
		if !isFile(named.path) {
			return "", fmt.Errorf("%s names %s, which is no readable file: correct it, or leave it out after `make engine`",
				named.by, named.path)
		}
		return filepath.Abs(named.path)
	}
	for _, path := range libCandidates() {
		if isFile(path) {
			return path, nil
		}
	}
	return "", errNoEngine
}

func libCandidates() []string {
	inCache := filepath.Join("engine", Version, libName)
	var all []string
	if cache := os.Getenv("COUNTERSIGN_CACHE"); cache != "" {
		all = append(all, filepath.Join(cache, inCache))
	}
	if exe, err := os.Executable(); err == nil {
		if target, err := filepath.EvalSymlinks(exe); err == nil {
			exe = target
		}
		dir := filepath.Dir(exe)
		all = append(all, filepath.Join(dir, "lib", libName), filepath.Join(dir, "..", ".cache", inCache))
	}
	if dir, err := os.Getwd(); err == nil {
		for ; ; dir = filepath.Dir(dir) {
			all = append(all, filepath.Join(dir, ".cache", inCache))
			if dir == filepath.Dir(dir) {
				break
			}
		}
	}
	return all
}

func isFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}

// program is what runs the engine: a clickhouse binary, or this executable with the library.
type program struct {
	binary string
	lib    string
}

// findProgram chooses: the binary that was given, else the library, else a clickhouse on PATH.
func findProgram(cfg Config) (program, error) {
	if cfg.Binary != "" {
		binary, err := exec.LookPath(cfg.Binary)
		if err != nil {
			return program{}, fmt.Errorf("engine: %w: name a clickhouse binary, or leave it out after `make engine`", err)
		}
		return program{binary: binary}, nil
	}
	lib, err := FindLib(cfg.Lib)
	if err == nil {
		return program{lib: lib}, nil
	}
	if errors.Is(err, errNoEngine) {
		if binary, lookErr := exec.LookPath("clickhouse"); lookErr == nil {
			return program{binary: binary}, nil
		}
	}
	return program{}, err
}

// readyFile is the pipe on which the child says that it listens, as the child sees it (runChild).
const readyFile = "/dev/fd/4"

// childQuery is what the child runs: it listens, says so, and reads its standard input to the end.
const childQuery = "SYSTEM START LISTEN TCP;" +
	" INSERT INTO FUNCTION file('" + readyFile + "', 'LineAsString', 'line String') SELECT 'listening';" +
	" SELECT * FROM file('/dev/stdin', 'LineAsString') FORMAT Null"

// command is the child's command line. Both programs take the same arguments after the first.
func (p program) command(config, store string) *exec.Cmd {
	args := []string{
		"--config-file", config, "--path", store,
		"--query", childQuery,
	}
	var cmd *exec.Cmd
	if p.binary != "" {
		cmd = exec.Command(p.binary, append([]string{"local"}, args...)...)
	} else {
		exe, err := os.Executable()
		if err != nil {
			exe = os.Args[0]
		}
		cmd = exec.Command(exe, append([]string{ChildArg, p.lib}, args...)...)
		// The Go side of the child only calls the library. It needs neither a garbage collector nor preemption, and
		// without both it sends no signals into foreign code.
		cmd.Env = append(os.Environ(), "GOGC=off", "GODEBUG=asyncpreemptoff=1")
	}
	cmd.SysProcAttr = childAttributes()
	return cmd
}
