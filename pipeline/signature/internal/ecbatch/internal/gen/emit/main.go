package main

// Writes what package gen returns.

import (
	"fmt"
	"os"
	"path/filepath"

	"countersign/pipeline/signature/internal/ecbatch/internal/gen"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "emit:", err)
		os.Exit(1)
	}
}

func run() error {
	files, err := gen.Files()
	if err != nil {
		return err
	}
	for path, text := range files {
		if err := os.WriteFile(filepath.FromSlash(path), text, 0o644); err != nil {
			return fmt.Errorf("writing generated code: %w", err)
		}
	}
	return nil
}
