package bench

// Where ClickHouse's processor time goes, by table, with inserts and merges apart. ClickHouse itself keeps account, in
// two of its log tables, which this experiment switches on by files beside the engine's configuration. The time of the
// whole process, from /proc, says what these accounts leave out: connections, polls, and the account itself.
//
// Time is the processor's, not the clock's, so others on the machine disturb it little. The kernel's part is told apart,
// because most of it is the page cache.

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"countersign/internal/pause"
	"countersign/sink/store"
)

// processorTime is in seconds.
type processorTime struct{ user, kernel float64 }

func (t processorTime) minus(u processorTime) processorTime {
	return processorTime{t.user - u.user, t.kernel - u.kernel}
}

func (t processorTime) sum() float64 { return t.user + t.kernel }

// accountUploads is how many uploads each of the two loads has.
const accountUploads = 18

// accounted is the experiment.
func (s *session) accounted(ctx context.Context) error {
	for _, l := range []struct {
		id, title string
		workers   int
	}{
		{"store.one", "one upload at a time", 1},
		{"store.many", fmt.Sprintf("%d uploads at a time", s.Concurrency), s.Concurrency},
	} {
		if s.Quick && l.workers == 1 {
			continue
		}
		p, err := s.accountedService(ctx)
		if err != nil {
			return err
		}
		if err := s.server.engineRests(ctx); err != nil {
			return err
		}
		before, err := s.server.engineTime()
		if err != nil {
			return err
		}
		result, err := load{workers: l.workers, count: accountUploads}.run(ctx, s.server, func() (*body, error) { return p.unsent(s.Pairs) })
		if err != nil {
			return err
		}
		if err := s.server.engineRests(ctx); err != nil {
			return err
		}
		after, err := s.server.engineTime()
		if err != nil {
			return err
		}
		tables, err := s.server.accounts(ctx)
		if err != nil {
			return errors.Join(err, s.server.alive())
		}
		s.reportAccounts(l.id, "ClickHouse's processor time, "+l.title+", merges finished", after.minus(before), tables, float64(result.pairs()))
	}
	return nil
}

// accountedService starts an empty service whose engine keeps account, and makes the pairs that it will get: the same in
// each load.
func (s *session) accountedService(ctx context.Context) (*pool, error) {
	a, err := findAlgorithm("rsa2048")
	if err != nil {
		return nil, err
	}
	p, err := s.pool(a, 0)
	if err != nil {
		return nil, err
	}
	s.accounting = true
	defer func() { s.accounting = false }()
	if err := s.startEmpty(ctx); err != nil {
		return nil, err
	}
	return p, s.ensure(ctx, p, accountUploads*s.Pairs)
}

// accountUser is the engine's user who reads the accounts. The engine is reachable for this user's processes alone.
const accountUser = "bench"

// accountFiles are put into the engine's folder: ClickHouse merges them into the configuration that lies beside. The
// tables are written when they are asked for: writing them now and then would be most of what an idle engine does.
var accountFiles = map[string]string{
	"engine.d/account.xml": `<clickhouse>
	<part_log><database>system</database><table>part_log</table><flush_interval_milliseconds>3600000</flush_interval_milliseconds></part_log>
	<query_log><database>system</database><table>query_log</table><flush_interval_milliseconds>3600000</flush_interval_milliseconds></query_log>
</clickhouse>
`,
	"users.d/account.xml": `<clickhouse><users><` + accountUser + `>
	<password>` + accountUser + `</password>
	<networks><ip>127.0.0.1</ip></networks>
	<profile>default</profile>
	<quota>default</quota>
	<grants><query>GRANT SELECT ON system.*</query><query>GRANT SYSTEM FLUSH LOGS ON *.*</query></grants>
</` + accountUser + `></users></clickhouse>
`,
}

// writeAccountFiles prepares a service's data folder before the service starts.
func writeAccountFiles(dataDir string) error {
	for name, text := range accountFiles {
		path := filepath.Join(dataDir, "clickhouse", name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			return fmt.Errorf("have the engine keep account: %w", err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			return fmt.Errorf("have the engine keep account: %w", err)
		}
	}
	return nil
}

// account is what one table cost; without a name, what all that reads did.
type account struct {
	table                   string
	inserts, merges         processorTime
	parts, rows             uint64 // inserted
	mergedRows              uint64 // read by merges
	insertBytes, mergeBytes uint64 // written
}

// accounts asks the engine what each of the service's tables cost.
func (s *server) accounts(ctx context.Context) (all []account, err error) {
	text, err := s.storeURL()
	if err != nil {
		return nil, err
	}
	u, err := url.Parse(text)
	if err != nil {
		return nil, fmt.Errorf("the private service's ClickHouse: %w", err)
	}
	u.User = url.UserPassword(accountUser, accountUser)
	db, err := store.Open(ctx, store.Config{URL: u.String()})
	if err != nil {
		return nil, err
	}
	defer db.Close()
	if err := db.Exec(ctx, "SYSTEM FLUSH LOGS"); err != nil {
		return nil, err
	}
	// An insert's time stands with its query, a merge's with the part that came of it.
	const query = `SELECT name, sum(insert_user), sum(insert_kernel), sum(merge_user), sum(merge_kernel),
	sum(new_parts), sum(new_rows), sum(merged_rows), sum(new_bytes), sum(merge_bytes)
FROM (
	SELECT table AS name, 0 AS insert_user, 0 AS insert_kernel,
		if(event_type = 'MergeParts', ProfileEvents['UserTimeMicroseconds'], 0) AS merge_user,
		if(event_type = 'MergeParts', ProfileEvents['SystemTimeMicroseconds'], 0) AS merge_kernel,
		event_type = 'NewPart' AS new_parts, if(event_type = 'NewPart', rows, 0) AS new_rows,
		if(event_type = 'MergeParts', read_rows, 0) AS merged_rows,
		if(event_type = 'NewPart', size_in_bytes, 0) AS new_bytes, if(event_type = 'MergeParts', size_in_bytes, 0) AS merge_bytes
	FROM system.part_log WHERE database = 'default' AND table != 'schema_migrations'
	UNION ALL
	SELECT if(query_kind = 'Insert', splitByChar('.', tables[1])[2], '') AS name,
		ProfileEvents['UserTimeMicroseconds'], ProfileEvents['SystemTimeMicroseconds'], 0, 0, 0, 0, 0, 0, 0
	FROM system.query_log WHERE type = 'QueryFinish'
)
GROUP BY name HAVING sum(new_parts) > 0 OR name = '' ORDER BY sum(insert_user + insert_kernel + merge_user + merge_kernel) DESC`
	err = db.Select(ctx, query, func(scan func(...any) error) error {
		var a account
		var insertUser, insertKernel, mergeUser, mergeKernel uint64
		err := scan(&a.table, &insertUser, &insertKernel, &mergeUser, &mergeKernel,
			&a.parts, &a.rows, &a.mergedRows, &a.insertBytes, &a.mergeBytes)
		a.inserts = processorTime{float64(insertUser) / 1e6, float64(insertKernel) / 1e6}
		a.merges = processorTime{float64(mergeUser) / 1e6, float64(mergeKernel) / 1e6}
		all = append(all, a)
		return err
	})
	return all, err
}

// reportAccounts adds the figures of one load, in microseconds a pair.
func (s *session) reportAccounts(id, group string, total processorTime, tables []account, pairs float64) {
	add := func(name, title, unit string, value float64) {
		s.report.add(Figure{ID: id + "." + name, Group: group, Title: title, Unit: unit, Samples: []float64{value}})
	}
	phase := func(name, title string, t processorTime) {
		add(name, title, "µs", t.sum()/pairs*1e6)
		add(name+".kernel", title+", of which in the kernel", "µs", t.kernel/pairs*1e6)
	}
	phase("all", "all of it, a pair", total)
	rest := total // what is not accounted for
	for _, a := range tables {
		if a.table == "" {
			phase("reads", "look-ups, polls, questions whether it is ready", a.inserts)
			rest = rest.minus(a.inserts)
			continue
		}
		phase(a.table+".inserts", a.table+", inserts", a.inserts)
		phase(a.table+".merges", a.table+", merges", a.merges)
		add(a.table+".part", a.table+", rows of a first part", "", float64(a.rows)/float64(a.parts))
		add(a.table+".merged", a.table+", rows merged for each inserted", "", float64(a.mergedRows)/float64(a.rows))
		add(a.table+".bytes", a.table+", bytes written, a pair", "", float64(a.insertBytes+a.mergeBytes)/pairs)
		rest = rest.minus(a.inserts).minus(a.merges)
	}
	phase("rest", "connections, housekeeping, and this account", rest)
}

// engineTime is what the embedded engine's process has used.
func (s *server) engineTime() (t processorTime, err error) {
	for _, child := range childrenOf(s.pid()) {
		for _, pid := range append(childrenOf(child), child) {
			one, err := processorTimeOf(pid)
			if err != nil {
				return t, err
			}
			t.user, t.kernel = t.user+one.user, t.kernel+one.kernel
		}
	}
	return t, nil
}

// jiffies is how many units of /proc a second has on Linux, whatever the kernel's own clock is (proc(5), sysconf(3)).
const jiffies = 100

// processorTimeOf reads fields 14 and 15 of stat. The second field, the program's name, may hold anything, and ends with
// the last bracket.
func processorTimeOf(pid int) (processorTime, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return processorTime{}, fmt.Errorf("read the engine's processor time: %w", err)
	}
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	const user, kernel = 14 - 3, 15 - 3
	if len(fields) <= kernel {
		return processorTime{}, fmt.Errorf("read the engine's processor time: %q is no stat", text)
	}
	u, errUser := strconv.ParseFloat(fields[user], 64)
	k, errKernel := strconv.ParseFloat(fields[kernel], 64)
	return processorTime{u / jiffies, k / jiffies}, errors.Join(errUser, errKernel)
}

const (
	restLook  = time.Second
	restLooks = 3    // in a row
	restShare = 0.12 // of a core: answering polls and questions whether it is ready takes less, merging more
	restLimit = 5 * time.Minute
)

// engineRests waits until the engine has nothing left to merge, which shows in its processor time.
func (s *server) engineRests(ctx context.Context) error {
	before, err := s.engineTime()
	for start, looks := time.Now(), 0; err == nil && looks < restLooks; {
		if time.Since(start) > restLimit {
			return fmt.Errorf("the engine was still at work after %s", restLimit)
		}
		if err = pause.For(ctx, restLook); err != nil {
			break
		}
		var now processorTime
		if now, err = s.engineTime(); now.sum()-before.sum() < restShare*restLook.Seconds() {
			looks++
		} else {
			looks = 0
		}
		before = now
	}
	return err
}
