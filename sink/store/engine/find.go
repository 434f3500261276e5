package engine

// Which program is the engine, and how it is called.

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// libEnv names the environment variable that says where the library is.
const libEnv = "COUNTERSIGN_ENGINE_LIB"

const libName = "libchdb.so"

// errNoEngine says that neither the library nor a clickhouse binary was found.
var errNoEngine = errors.New("no ClickHouse engine: run `make engine` to fetch it, name it with --engine-lib or " + libEnv +
	", put a clickhouse binary on PATH, or use --clickhouse URL for an existing server")

// FindLib returns the path of the engine's library. It looks where an installation puts it, in this order: given, if
// that isn't empty; what the environment variable COUNTERSIGN_ENGINE_LIB names; the cache that COUNTERSIGN_CACHE names;
// lib beside the executable; lib/countersign beside the executable's folder; and .cache beside that folder, which
// `make engine` fills. The working directory has no say: others may have made it. A path that was given or is named by
// COUNTERSIGN_ENGINE_LIB and isn't there is an error, not a reason to look on.
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
		if cache, err := filepath.Abs(cache); err == nil {
			all = append(all, filepath.Join(cache, inCache))
		}
	}
	if exe, err := os.Executable(); err == nil {
		if target, err := filepath.EvalSymlinks(exe); err == nil {
			exe = target
		}
		dir := filepath.Dir(exe)
		all = append(all, filepath.Join(dir, "lib", libName),
			filepath.Join(dir, "..", "lib", "countersign", libName),
			filepath.Join(dir, "..", ".cache", inCache))
	}
	return all
}

func isFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}

// program is what runs the engine: a clickhouse binary, or this executable with the library. Paths are absolute.
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
		binary, err = filepath.Abs(binary)
		return program{binary: binary}, err
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
