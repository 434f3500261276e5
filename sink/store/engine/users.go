package engine

// Who may do what in the engine. There are three users:
//
//   - countersign is the service. It has what Config.Grants says.
//   - analyst is people. It reads what Config.AnalystGrants says, within bounds.
//   - default is the child's own session, which nothing but the loopback address can tell from others and which can't
//     have a password. So it may do the two things that the session does, and has no more queries to spend when these
//     run.
//
// The passwords are made at each start. The file holds their digests, because the analyst can read it: the SQL function
// file() is open to everybody, in the folder that the engine may open.

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/xml"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

// Names of the engine's users.
const (
	ServiceUser = "countersign"
	AnalystUser = "analyst"
)

// Bounds of the analyst. A query beyond them fails and says so. A query's own SETTINGS may only be tighter.
const (
	analystMemoryShare = 4                // of the engine's memory, a query may use one part in so many
	analystTime        = 10 * time.Minute // for a query
	analystRows        = 10_000_000       // in a result
	analystQueries     = 8                // at once
	analystHourly      = 100_000          // queries in an hour
)

// sessionQueries and sessionWords are exactly what childQuery takes: so many statements, and so many elements of the
// larger one's syntax tree. `SELECT f(x)` has two elements more.
const (
	sessionQueries = 2
	sessionWords   = 5
)

// usersText is the users' configuration with gaps.
const usersText = `<clickhouse>
    <profiles>
        <default>{{code}}<constraints>{{codeBounds}}</constraints></default>
        <session>
            {{code}}
            <max_ast_elements>{{sessionWords}}</max_ast_elements>
            <constraints>{{codeBounds}}<max_ast_elements><const/></max_ast_elements></constraints>
        </session>
        <analyst>
            {{code}}
            <readonly>2</readonly>
            <max_memory_usage>{{memory}}</max_memory_usage>
            <max_threads>{{threads}}</max_threads>
            <max_execution_time>{{seconds}}</max_execution_time>
            <max_result_rows>{{rows}}</max_result_rows>
            <result_overflow_mode>throw</result_overflow_mode>
            <max_concurrent_queries_for_user>{{queries}}</max_concurrent_queries_for_user>
            <constraints>
                {{codeBounds}}
                <max_memory_usage><min>1</min><max>{{memory}}</max></max_memory_usage>
                <max_threads><min>1</min><max>{{threads}}</max></max_threads>
                <max_execution_time><min>1</min><max>{{seconds}}</max></max_execution_time>
                <max_result_rows><min>1</min><max>{{rows}}</max></max_result_rows>
                <max_concurrent_queries_for_user><const/></max_concurrent_queries_for_user>
            </constraints>
        </analyst>
    </profiles>
    <quotas>
        <default/>
        <session><interval><duration>2000000000</duration><queries>{{sessionQueries}}</queries></interval></session>
        <analyst><interval><duration>3600</duration><queries>{{hourly}}</queries></interval></analyst>
    </quotas>
    <users>
        <default>
            <password></password>
            <networks><ip>127.0.0.1</ip></networks>
            <profile>session</profile>
            <quota>session</quota>
            <grants><query>GRANT SYSTEM LISTEN ON *.*</query><query>GRANT CREATE TEMPORARY TABLE ON *.*</query></grants>
        </default>
        <countersign>
            <password_sha256_hex>{{service}}</password_sha256_hex>
            <networks><ip>127.0.0.1</ip></networks>
            <profile>default</profile>
            <quota>default</quota>
            <grants>{{grants}}</grants>
        </countersign>
        <analyst>
            <password_sha256_hex>{{analyst}}</password_sha256_hex>
            <networks><ip>127.0.0.1</ip></networks>
            <profile>analyst</profile>
            <quota>analyst</quota>
            <grants>{{analystGrants}}</grants>
        </analyst>
    </users>
</clickhouse>
`

// usersFile is the users' configuration, written at each start beside the engine's.
func usersFile(dir string) string { return filepath.Join(dir, "users.xml") }

// passwords are those of one start.
type passwords struct{ service, analyst string }

func newPasswords() passwords { return passwords{service: rand.Text(), analyst: rand.Text()} }

// compilers are the settings with which ClickHouse turns a query into machine code, and runs that.
var compilers = []string{"compile_expressions", "compile_aggregate_expressions", "compile_sort_description"}

// codeText is what profiles, and their constraints, say about machine code. Where it may not be made, a query that asks
// for it would end the engine.
func codeText(makesCode bool) (settings, constraints string) {
	if makesCode {
		return "", ""
	}
	for _, name := range compilers {
		settings += fmt.Sprintf("<%s>0</%[1]s>", name)
		constraints += fmt.Sprintf("<%s><const/></%[1]s>", name)
	}
	return settings, constraints
}

func writeUsers(cfg Config, p passwords, makesCode bool) error {
	code, codeBounds := codeText(makesCode)
	text := strings.NewReplacer(
		"{{code}}", code, "{{codeBounds}}", codeBounds,
		"{{sessionWords}}", fmt.Sprint(sessionWords), "{{sessionQueries}}", fmt.Sprint(sessionQueries),
		"{{memory}}", fmt.Sprint(cfg.MemoryLimit/analystMemoryShare), "{{threads}}", fmt.Sprint(max(1, runtime.NumCPU()/2)),
		"{{seconds}}", fmt.Sprint(int(analystTime.Seconds())), "{{rows}}", fmt.Sprint(analystRows),
		"{{queries}}", fmt.Sprint(analystQueries), "{{hourly}}", fmt.Sprint(analystHourly),
		"{{service}}", digest(p.service), "{{analyst}}", digest(p.analyst),
		"{{grants}}", grantsText(cfg.Grants), "{{analystGrants}}", grantsText(cfg.AnalystGrants),
	).Replace(usersText)
	if err := xml.Unmarshal([]byte(text), new(struct{})); err != nil {
		return fmt.Errorf("engine users: %w", err)
	}
	return writePrivate(cfg.Dir, usersFile(cfg.Dir), text)
}

// grantsText writes statements without their user, which the engine adds. No grant at all has to be said, too: the
// engine takes a user without the element for one who may do everything.
func grantsText(grants []string) string {
	if len(grants) == 0 {
		grants = []string{"USAGE ON *.*"}
	}
	var b strings.Builder
	for _, g := range grants {
		b.WriteString("<query>")
		_ = xml.EscapeText(&b, []byte("GRANT "+g)) // a strings.Builder takes everything
		b.WriteString("</query>")
	}
	return b.String()
}

func digest(password string) string {
	sum := sha256.Sum256([]byte(password))
	return hex.EncodeToString(sum[:])
}

// writePrivate replaces a file that only this user may read.
func writePrivate(dir, path, text string) error {
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		return dirError(dir, err)
	}
	if err := os.Chmod(path, 0o600); err != nil { // WriteFile leaves the mode of a file that was there
		return dirError(dir, err)
	}
	return nil
}
