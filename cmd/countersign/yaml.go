package main

// The YAML file of --config: a mapping from names of settings to values or lists. YAML gives values types by their
// looks: 0123 is the number 83 to it, and 2026-01-02 a date. So only the text of a value is taken, and where a text is
// meant that YAML takes for something else, the file has to say by quotes which of the two it is.

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"
)

// fromFile reads the file of --config.
func fromFile(set *pflag.FlagSet, path string) (values map[string]written, problems []error) {
	wrong := func(format string, args ...any) {
		problems = append(problems, fmt.Errorf("--config %s"+format, append([]any{path}, args...)...))
	}
	text, err := os.ReadFile(path)
	if err != nil {
		wrong(": %w", err)
		return nil, problems
	}
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	var document, second yaml.Node
	switch err := decoder.Decode(&document); {
	case errors.Is(err, io.EOF):
		return nil, nil // an empty file
	case err != nil:
		wrong(": %w", err)
		return nil, problems
	}
	if err := decoder.Decode(&second); !errors.Is(err, io.EOF) {
		wrong(": it has a second document (---), which would be ignored: leave one")
	}
	top := document.Content[0]
	if top.Kind == yaml.ScalarNode && top.ShortTag() == "!!null" {
		return nil, problems // nothing but comments
	}
	if top.Kind != yaml.MappingNode {
		wrong(": write settings, one a line, such as max-pairs: 5")
		return nil, problems
	}
	values = make(map[string]written)
	for i := 0; i+1 < len(top.Content); i += 2 {
		key, node := top.Content[i], top.Content[i+1]
		where := fmt.Sprintf("%s, line %d, %s", path, key.Line, key.Value)
		flag := set.Lookup(key.Value)
		_, twice := values[key.Value]
		switch {
		case flag == nil:
			wrong(", line %d: %q is no setting%s", key.Line, key.Value, suggest(set, key.Value, func(name string) string { return name }))
			continue
		case twice:
			wrong(", line %d: %s is there a second time: leave one", key.Line, key.Value)
			continue
		case flag.Name == "config":
			wrong(", line %d: a file can't name another one", key.Line)
			continue
		}
		value, err := fromNode(flag, node)
		if err != nil {
			problems = append(problems, fmt.Errorf("%s: %w", where, err))
			continue
		}
		value.where = where
		values[key.Value] = value
	}
	return values, problems
}

// fromNode takes the text, or the texts, of a value.
func fromNode(flag *pflag.Flag, node *yaml.Node) (written, error) {
	node = target(node)
	if node.Kind == yaml.MappingNode {
		return written{}, fmt.Errorf("it takes a value, and has settings under it: settings aren't nested (%s-...: ...)", flag.Name)
	}
	if node.Kind != yaml.SequenceNode {
		text, err := scalar(flag, node)
		return written{texts: []string{text}}, err
	}
	if _, isList := flag.Value.(pflag.SliceValue); !isList {
		return written{}, errors.New("it takes one value, not a list")
	}
	w := written{list: true}
	for _, element := range node.Content {
		text, err := scalar(flag, element)
		if err != nil {
			return w, err
		}
		w.texts = append(w.texts, text)
	}
	return w, nil
}

// target is what an alias stands for, or the node itself.
func target(node *yaml.Node) *yaml.Node {
	for node.Kind == yaml.AliasNode {
		node = node.Alias
	}
	return node
}

// looks are what YAML takes an unquoted text for.
var looks = map[string]string{"!!int": "a number", "!!float": "a number", "!!bool": "true or false", "!!timestamp": "a date"}

// neverNumbers are texts that are wrong wherever YAML takes them for something else. check says how they are written.
var neverNumbers = []string{"listen", "admin-listen", "role", "kafka", "kafka-sasl", "cert-host", "deny-address", "trusted-proxies", "log-level", "log-format"}

// scalar is the text of a single value.
func scalar(flag *pflag.Flag, node *yaml.Node) (string, error) {
	node = target(node)
	if node.Kind != yaml.ScalarNode {
		return "", errors.New("an element must be a single value")
	}
	tag := node.ShortTag()
	if tag == "!!null" {
		return "", errors.New(`it has no value: write one, "" for an empty one, or leave the line out`)
	}
	isText := slices.Contains([]string{"string", "stringSlice", "stringArray"}, flag.Value.Type()) && !slices.Contains(neverNumbers, flag.Name)
	if look, known := looks[tag]; known && isText {
		shown := node.Value
		if flag.Name == "kafka-password" {
			shown = "..." // the log is no place for it
		}
		return "", fmt.Errorf("a text is meant, and YAML takes it for %s without quotes: write %q", look, shown)
	} else if !known && tag != "!!str" {
		return "", fmt.Errorf("%s is of the type %s: write a plain text in quotes", node.Value, tag)
	}
	return node.Value, nil
}
