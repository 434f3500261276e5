package engine

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// EngineVersion is the version of the npm package that scripts/fetch-engine.sh fetches the library from.
const EngineVersion = "26.7.3-stable.1"

// EngineLibEnv names the environment variable that says where the library is.
const EngineLibEnv = "COUNTERSIGN_ENGINE_LIB"

// engineChild is the hidden first argument under which countersign runs EngineMain.
const engineChild = "engine-child"

const libName = "libchdb.so"

// ErrNoEngine says that neither the library nor a clickhouse binary was found.
var ErrNoEngine = errors.New("no ClickHouse engine: run `make engine` to fetch it, put a clickhouse binary on PATH, or use --clickhouse URL for an existing server")

// FindLib returns the path of the engine's library: given, if that isn't empty; what the environment variable
// COUNTERSIGN_ENGINE_LIB says; lib beside the executable; the cache that `make engine` fills, beside the
// executable's folder or above the working directory. A path that was named and isn't there is an error, not a reason to look on.
func FindLib(given string) (string, error) {
	for _, named := range []struct{ by, path string }{{"--engine-lib", given}, {EngineLibEnv, os.Getenv(EngineLibEnv)}} {
		if named.path == "" {
			continue
		}
		if !isFile(named.path) {
			return "", fmt.Errorf("%s names %s, which is no readable file: correct it, or leave it out after `make engine`", named.by, named.path)
		}
		return filepath.Abs(named.path)
	}
	for _, path := range libCandidates() {
		if isFile(path) {
			return path, nil
		}
	}
	return "", ErrNoEngine
}

func libCandidates() []string {
	inCache := filepath.Join("engine", EngineVersion, libName)
	var all []string
	if cache := os.Getenv("COUNTERSIGN_CACHE"); cache != "" {
		all = append(all, filepath.Join(cache, inCache))
	}
	if exe, err := os.Executable(); err == nil {
		if real, err := filepath.EvalSymlinks(exe); err == nil {
			exe = real
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

// engineProgram is what runs the engine: a clickhouse binary, or this executable with the library.
type engineProgram struct {
	binary string
	lib    string
}

// findEngine chooses: the binary that was given, else the library, else a clickhouse on PATH.
func findEngine(cfg EngineConfig) (engineProgram, error) {
	if cfg.Binary != "" {
		binary, err := exec.LookPath(cfg.Binary)
		if err != nil {
			return engineProgram{}, fmt.Errorf("engine: %w: name a clickhouse binary, or leave it out after `make engine`", err)
		}
		return engineProgram{binary: binary}, nil
	}
	lib, err := FindLib(cfg.Lib)
	if err == nil {
		return engineProgram{lib: lib}, nil
	}
	if errors.Is(err, ErrNoEngine) {
		if binary, lookErr := exec.LookPath("clickhouse"); lookErr == nil {
			return engineProgram{binary: binary}, nil
		}
	}
	return engineProgram{}, err
}

// engineQuery is what the child runs: it listens, says so on the pipe that is its file 4 (launch), and ends with standard input.
const engineQuery = "SYSTEM START LISTEN TCP;" +
	" INSERT INTO FUNCTION file('/dev/fd/4', 'LineAsString', 'line String') SELECT 'listening';" +
	" SELECT * FROM file('/dev/stdin', 'LineAsString') FORMAT Null"

// command is the child's command line. Both programs take the same arguments after the first.
func (p engineProgram) command(config, store string) *exec.Cmd {
	args := []string{
		"--config-file", config, "--path", store,
		"--query", engineQuery,
	}
	var cmd *exec.Cmd
	if p.binary != "" {
		cmd = exec.Command(p.binary, append([]string{"local"}, args...)...)
	} else {
		exe, err := os.Executable()
		if err != nil {
			exe = os.Args[0]
		}
		cmd = exec.Command(exe, append([]string{engineChild, p.lib}, args...)...)
		// The Go side of the child only calls the library: it needs neither a collector nor preemption, and with neither
		// sends no signals into foreign code.
		cmd.Env = append(os.Environ(), "GOGC=off", "GODEBUG=asyncpreemptoff=1")
	}
	cmd.SysProcAttr = childAttributes()
	return cmd
}
