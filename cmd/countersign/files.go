package main

// The files that settings name, looked at before anything starts: what is missing or can't be used is in the same list
// as everything else that is wrong.

import (
	"errors"
	"fmt"
	"os"
	"os/exec"

	"countersign/internal/pemfile"
	"countersign/sink/store/engine"
)

func (c *config) kafkaFiles() tlsFiles {
	return tlsFiles{"--kafka", c.KafkaCA, c.KafkaCert, c.KafkaKey}
}

func (c *config) clickHouseFiles() tlsFiles {
	return tlsFiles{"--clickhouse", c.ClickHouseCA, c.ClickHouseCert, c.ClickHouseKey}
}

// files says what is wrong with the files and folders that this process will need; nil: nothing.
func (c *config) files() error {
	var problems []error
	later := func(string, error) {} // what is left out of a file is said when it is read
	if c.has(roleIngest) && c.TLSCert != "" && c.TLSKey != "" {
		if _, _, err := pemfile.Pair(c.TLSCert, c.TLSKey); err != nil {
			problems = append(problems, fmt.Errorf("--tls-cert and --tls-key: %w", err))
		}
	}
	if c.has(roleVerify) && c.CertRoots != "" {
		_, err := readRoots("--cert-roots", c.CertRoots, later)
		problems = append(problems, err)
	}
	if c.has(roleVerify) && c.CertDir != "" {
		problems = append(problems, folder("--cert-dir", c.CertDir, "make it, or correct the name"))
	}
	for _, f := range []tlsFiles{c.kafkaFiles(), c.clickHouseFiles()} {
		if (f.cert == "") == (f.key == "") { // check says the rest
			_, err := f.config(later)
			problems = append(problems, err)
		}
	}
	if _, err := os.Stat(c.DataDir); err == nil {
		problems = append(problems, folder("--data-dir", c.DataDir, "choose a folder"))
	}
	if c.ClickHouse == "" {
		problems = append(problems, c.engineFile())
	}
	return errors.Join(problems...)
}

func (c *config) engineFile() error {
	if c.EngineBinary != "" {
		if _, err := exec.LookPath(c.EngineBinary); err != nil {
			return fmt.Errorf("--engine-binary: %w: name a clickhouse binary, or leave it out", err)
		}
		return nil
	}
	if c.EngineLib == "" {
		return nil // it is looked for
	}
	_, err := engine.FindLib(c.EngineLib)
	return err
}

// folder says why a folder can't be read.
func folder(flag, path, remedy string) error {
	info, err := os.Stat(path)
	if err == nil && !info.IsDir() {
		err = fmt.Errorf("%s is no folder", path)
	}
	if err == nil {
		var opened *os.File
		if opened, err = os.Open(path); err == nil {
			_ = opened.Close() // nothing was written
		}
	}
	if err != nil {
		return fmt.Errorf("%s: %w: %s", flag, err, remedy)
	}
	return nil
}
