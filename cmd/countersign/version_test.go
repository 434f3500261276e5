package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"strings"
	"testing"

	"countersign/sink/store/engine"
)

func TestDescribe(t *testing.T) {
	noted := func(version string, settings ...string) *debug.BuildInfo {
		info := &debug.BuildInfo{Main: debug.Module{Version: version}}
		for i := 0; i < len(settings); i += 2 {
			info.Settings = append(info.Settings, debug.BuildSetting{Key: settings[i], Value: settings[i+1]})
		}
		return info
	}
	const at = "2026-11-26T01:02:03Z"
	for name, c := range map[string]struct {
		linked build
		info   *debug.BuildInfo
		want   build
	}{
		"a checkout": {
			build{}, noted("v1.2.3", "vcs.revision", "abc", "vcs.time", at, "vcs.modified", "false"),
			build{"v1.2.3", "abc", at},
		},
		"a changed checkout": {
			build{}, noted("v1.2.3+dirty", "vcs.modified", "true", "vcs.revision", "abc", "vcs.time", at),
			build{"v1.2.3+dirty", "abc+dirty", at},
		},
		"an image":                      {build{"v1.2.3", "abc+dirty", at}, noted("(devel)"), build{"v1.2.3", "abc+dirty", at}},
		"an image that was told little": {build{version: "v1.2.3"}, noted("(devel)"), build{"v1.2.3", unknown, unknown}},
		"go install":                    {build{}, noted("v1.2.3"), build{"v1.2.3", unknown, unknown}},
		"nothing":                       {build{}, noted(""), build{unknown, unknown, unknown}},
	} {
		if got := describe(c.linked, c.info); got != c.want {
			t.Errorf("%s: %+v, want %+v", name, got, c.want)
		}
	}
}

func TestVersionIsPrintedBothWays(t *testing.T) {
	text, err := output("version")
	must(t, err)
	if flag, err := output("--version"); err != nil || flag != text {
		t.Errorf("--version prints %q, %v; version prints %q", flag, err, text)
	}
	for _, want := range []string{"version: ", "commit: ", "date: ", "go: go1.", "engine: " + engine.Version} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is missing in\n%s", want, text)
		}
	}
}

// The image is built without the repository: what the Dockerfile hands to the linker must be what the program prints.
func TestTheImageIsToldItsVersion(t *testing.T) {
	t.Parallel()
	dockerfile, err := os.ReadFile("../../Dockerfile")
	must(t, err)
	flags := regexp.MustCompile(`-X main\.(\w+)=\$\{(\w+)\}`)
	given := map[string]string{"VERSION": "v1.2.3", "COMMIT": "abc", "DATE": "2026-11-26T01:02:03Z"}
	var ldflags []string
	for _, m := range flags.FindAllStringSubmatch(string(dockerfile), -1) {
		if !strings.Contains(string(dockerfile), "ARG "+m[2]+"\n") || given[m[2]] == "" {
			t.Errorf("%s is no ARG, or make image doesn't give it", m[2])
		}
		ldflags = append(ldflags, "-X main."+m[1]+"="+given[m[2]])
	}
	if len(ldflags) != len(given) {
		t.Fatalf("the Dockerfile tells the linker %q", ldflags)
	}
	program := filepath.Join(t.TempDir(), "countersign")
	out, err := exec.Command("go", "build", "-buildvcs=false", "-ldflags", strings.Join(ldflags, " "), "-o", program, ".").CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	out, err = exec.Command(program, "version").Output()
	if want := "version: v1.2.3\ncommit: abc\ndate: 2026-11-26T01:02:03Z\n"; err != nil || !strings.HasPrefix(string(out), want) {
		t.Errorf("%v, it prints\n%s\nwant\n%s", err, out, want)
	}
}

// A build in the checkout notes its commit by itself.
func TestABuildKnowsItsCommit(t *testing.T) {
	t.Parallel()
	if info, err := os.Stat("../../.git"); err != nil || !info.IsDir() {
		t.Skip("go build notes no commit here: there is no repository, or a worktree's, whose .git is a file")
	}
	head, err := exec.Command("git", "rev-parse", "HEAD").Output()
	must(t, err)
	program := filepath.Join(t.TempDir(), "countersign")
	out, err := exec.Command("go", "build", "-buildvcs=true", "-o", program, ".").CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	out, err = exec.Command(program, "version").Output()
	must(t, err)
	if want := "commit: " + strings.TrimSpace(string(head)); !strings.Contains(string(out), want) || strings.Contains(string(out), unknown) {
		t.Errorf("it prints\n%s\nwant %s", out, want)
	}
}
