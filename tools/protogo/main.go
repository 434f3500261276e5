// Command protogo is protoc with its generator for Go, out of Go modules alone: go.sum pins the compiler as well as the
// generator. It writes the generated files where protoc would with --go_opt=module=countersign.
package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/bufbuild/protocompile"
	"github.com/bufbuild/protocompile/protoutil"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/pluginpb"
)

func main() {
	if len(os.Args) < 3 {
		fmt.Fprintln(os.Stderr, "usage: protogo PROTOC-GEN-GO FILE.proto...   in the root of the module")
		os.Exit(2)
	}
	if err := generate(os.Args[1], os.Args[2:]); err != nil {
		fmt.Fprintln(os.Stderr, "protogo: "+err.Error())
		os.Exit(1)
	}
}

func generate(generator string, files []string) error {
	compiler := protocompile.Compiler{Resolver: &protocompile.SourceResolver{}, SourceInfoMode: protocompile.SourceInfoStandard}
	compiled, err := compiler.Compile(context.Background(), files...)
	if err != nil {
		return err
	}
	request := &pluginpb.CodeGeneratorRequest{FileToGenerate: files, Parameter: new("module=countersign")}
	for _, file := range compiled { // none of them imports another file
		request.ProtoFile = append(request.ProtoFile, protoutil.ProtoFromFileDescriptor(file))
	}
	in, err := proto.Marshal(request)
	if err != nil {
		return err
	}
	plugin := exec.Command(generator)
	plugin.Stdin, plugin.Stderr = bytes.NewReader(in), os.Stderr
	out, err := plugin.Output()
	if err != nil {
		return fmt.Errorf("run %s: %w", generator, err)
	}
	var response pluginpb.CodeGeneratorResponse
	if err := proto.Unmarshal(out, &response); err != nil {
		return fmt.Errorf("read what %s answered: %w", generator, err)
	}
	if response.Error != nil {
		return errors.New(response.GetError())
	}
	for _, file := range response.GetFile() {
		name := strings.TrimPrefix(file.GetName(), "countersign/")
		if err := os.WriteFile(filepath.FromSlash(name), []byte(file.GetContent()), 0o644); err != nil {
			return err
		}
	}
	return nil
}
