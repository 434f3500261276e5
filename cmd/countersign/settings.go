package main

// Where settings come from. A flag wins over COUNTERSIGN_* in the environment, which wins over the YAML file. Whatever
// the source, it is the text as somebody wrote it that is read, by the flag's own rules: a value never means in a file
// what it doesn't mean on the command line. What can't be read is reported with all else that is wrong.

import (
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/knadh/koanf/providers/posflag"
	"github.com/knadh/koanf/v2"
	"github.com/spf13/pflag"

	"countersign/internal/bytesize"
)

// written is a value as it was written.
type written struct {
	where string   // for messages: a flag, a variable, or a line of the file
	texts []string // more than one: a list, or a flag that was given several times
	list  bool     // texts are elements; otherwise commas separate those of a list
}

// recorded is a flag on the command line. It takes any text, so that the command line can be judged together with the
// other sources.
type recorded struct {
	pflag.Value // with the default
	texts       []string
}

// Set notes a text.
func (r *recorded) Set(text string) error {
	r.texts = append(r.texts, text)
	return nil
}

// recordTexts makes the flags take any text. load judges it.
func recordTexts(f *pflag.FlagSet) {
	f.VisitAll(func(flag *pflag.Flag) {
		if slices.Contains([]string{"[]", "0s", "0B"}, flag.DefValue) {
			flag.DefValue = "" // so that help is silent about it, as it is for types that pflag knows
		}
		flag.Value = &recorded{Value: flag.Value}
	})
}

// load merges flags, on which recordTexts was called, environment and file. Every problem is in the error, one a line.
// The configuration is there all the same, with defaults where something is wrong.
func load(flags *pflag.FlagSet) (*config, error) {
	set := pflag.NewFlagSet("settings", pflag.ContinueOnError)
	bind(set)
	values, problems := fromEnvironment(set, os.Environ())
	fromFlags(flags, values)
	if path := values["config"]; len(path.texts) > 0 && path.texts[len(path.texts)-1] != "" {
		inFile, more := fromFile(set, path.texts[len(path.texts)-1])
		problems = append(problems, more...)
		for name, value := range inFile {
			if _, stronger := values[name]; !stronger {
				values[name] = value
			}
		}
	}
	set.VisitAll(func(flag *pflag.Flag) {
		if value, ok := values[flag.Name]; ok {
			if err := value.apply(flag); err != nil {
				problems = append(problems, fmt.Errorf("%s: %w", value.where, err))
			}
		}
	})
	c, err := fill(set)
	if err != nil {
		return c, err
	}
	problems = append(problems, c.check()...)
	slices.SortStableFunc(problems, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	return c, errors.Join(problems...)
}

// fill makes a configuration of the flags' values.
func fill(set *pflag.FlagSet) (*config, error) {
	c, k := new(config), koanf.New("::")
	value := func(flag *pflag.Flag) (string, any) {
		if size, ok := flag.Value.(*bytesize.Size); ok {
			return flag.Name, *size // its text is rounded
		}
		return flag.Name, posflag.FlagVal(set, flag)
	}
	if err := k.Load(posflag.ProviderWithFlag(set, "::", k, value), nil); err != nil {
		return c, err
	}
	return c, k.Unmarshal("", c)
}

func fromFlags(flags *pflag.FlagSet, values map[string]written) {
	flags.Visit(func(flag *pflag.Flag) {
		if r, ok := flag.Value.(*recorded); ok {
			values[flag.Name] = written{where: "--" + flag.Name, texts: r.texts}
		}
	})
}

// notSettings are variables with our prefix that are no settings of serve: of the processor's features, of building,
// and of tests. Kubernetes makes the others for each Service, named after it.
var notSettings = regexp.MustCompile(`^COUNTERSIGN_(CPU|CACHE|ENGINE_ARCHIVE|(\w+_)?TEST_\w+|` +
	`(\w+_)?SERVICE_HOST|(\w+_)?SERVICE_PORT(_\w+)?|(\w+_)?PORT(_\d+_(TCP|UDP|SCTP)(_\w+)?)?)$`)

// fromEnvironment takes what has our prefix.
func fromEnvironment(set *pflag.FlagSet, environment []string) (values map[string]written, problems []error) {
	values = make(map[string]written)
	for _, entry := range environment {
		key, value, _ := strings.Cut(entry, "=")
		rest, ours := strings.CutPrefix(key, envPrefix)
		if !ours {
			continue
		}
		name := strings.ReplaceAll(strings.ToLower(rest), "_", "-")
		switch {
		case key == envPrefix+"CPU" && value != "" && value != "generic":
			problems = append(problems, fmt.Errorf(`%s: %q is unknown: write "generic", or unset it`, key, value))
		case set.Lookup(name) != nil && variable(name) == key:
			values[name] = written{where: key, texts: []string{value}}
		case !notSettings.MatchString(key):
			problems = append(problems, fmt.Errorf("%s in the environment is no setting%s: correct it, or unset it",
				key, suggest(set, name, variable)))
		}
	}
	return values, problems
}

// variable is the environment variable of a setting.
func variable(name string) string {
	return envPrefix + strings.ReplaceAll(strings.ToUpper(name), "-", "_")
}

// suggest says which setting may have been meant. as writes its name.
func suggest(set *pflag.FlagSet, name string, as func(string) string) string {
	plain := func(name string) string {
		return strings.ReplaceAll(strings.ToLower(strings.Trim(name, "- ")), "_", "-")
	}
	name = plain(name)
	best, least := "", 3 // so many changes are no slip any more
	set.VisitAll(func(flag *pflag.Flag) {
		if d := distance(strings.ReplaceAll(name, "-", ""), strings.ReplaceAll(flag.Name, "-", "")); d < least {
			best, least = flag.Name, d
		}
	})
	if best == "" {
		return " (countersign serve --help lists them)"
	}
	return ", but " + as(best) + " is"
}

// distance is how many letters must be put in, taken out or exchanged to make b of a.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		before := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := before
			if a[i] != b[j] {
				change++
			}
			before = row[j+1]
			row[j+1] = min(change, row[j]+1, before+1)
		}
	}
	return row[len(b)]
}

// apply reads the texts into a flag.
func (w written) apply(flag *pflag.Flag) error {
	if list, ok := flag.Value.(pflag.SliceValue); ok {
		return w.applyList(flag, list)
	}
	if w.list || len(w.texts) == 0 {
		return fmt.Errorf("it takes one value, not a list")
	}
	text := w.texts[len(w.texts)-1]
	if err := spelled(flag.Value.Type(), text); err != nil {
		return err
	}
	if err := flag.Value.Set(text); err != nil {
		if errors.Is(err, strconv.ErrRange) {
			return fmt.Errorf("%s is too large", text)
		}
		return err
	}
	return nil
}

func (w written) applyList(flag *pflag.Flag, list pflag.SliceValue) error {
	switch {
	case w.list:
		return list.Replace(w.texts)
	case strings.HasPrefix(w.where, "--"):
		for _, text := range w.texts {
			if err := flag.Value.Set(text); err != nil {
				return err
			}
		}
		return nil
	}
	var elements []string
	for text := range strings.SplitSeq(w.texts[0], ",") {
		if text = strings.TrimSpace(text); text != "" {
			elements = append(elements, text)
		}
	}
	return list.Replace(elements)
}

var (
	decimal    = regexp.MustCompile(`^-?(0|[1-9][0-9]*)$`)
	onlyDigits = regexp.MustCompile(`^[0-9]+$`)
)

// spelled says how a value of a type is written, if text isn't: strconv would take 010 for 8 and 1_000 for 1000, and a
// duration without a unit would be nanoseconds.
func spelled(kind, text string) error {
	switch kind {
	case "int", "int64":
		if !decimal.MatchString(text) {
			return fmt.Errorf("%q is no whole number: write it in digits alone, such as 1000000", text)
		}
	case "bool":
		if _, err := strconv.ParseBool(text); err != nil {
			return fmt.Errorf("%q is neither true nor false: write one of them", text)
		}
	case "duration":
		_, err := time.ParseDuration(text)
		switch {
		case err == nil:
		case onlyDigits.MatchString(text):
			return fmt.Errorf("%q has no unit: write %[2]ss for seconds, or %[2]sm for minutes", text, text)
		default:
			return fmt.Errorf("%q is no duration: write numbers with units, such as 30s, 10m or 168h (ms, s, m, h)", text)
		}
	}
	return nil
}
