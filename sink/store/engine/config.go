package engine

// The configuration that the child reads: a few threads and small caches, because the engine shares the machine with
// the verifiers; inserts that are on the disk when they return (I1); and no system log tables, which clickhouse-local
// doesn't make.

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"runtime"
	"strings"
)

// configText is the configuration with gaps. background_pool_size bounds merges; the number_of_free_entries settings
// refer to it and must not exceed it. Statistics of columns would be made of random bytes, at each merge.
const configText = `<clickhouse>
    <log-level>warning</log-level>
    <logger><console>1</console></logger>
    <tcp_port>{{port}}</tcp_port>
    <listen_host>127.0.0.1</listen_host>
    <users_config>users.xml</users_config>
    <access_control_improvements>
        <select_from_system_db_requires_grant>true</select_from_system_db_requires_grant>
        <table_engines_require_grant>true</table_engines_require_grant>
    </access_control_improvements>
    <max_connections>256</max_connections>
    <max_server_memory_usage>{{memory}}</max_server_memory_usage>
    <mark_cache_size>{{marks}}</mark_cache_size>
    <uncompressed_cache_size>0</uncompressed_cache_size>
    <mmap_cache_size>0</mmap_cache_size>
    <query_cache><max_size_in_bytes>0</max_size_in_bytes></query_cache>
    <background_pool_size>{{merges}}</background_pool_size>
    <background_merges_mutations_concurrency_ratio>1</background_merges_mutations_concurrency_ratio>
    <background_schedule_pool_size>4</background_schedule_pool_size>
    <background_common_pool_size>2</background_common_pool_size>
    <background_fetches_pool_size>1</background_fetches_pool_size>
    <background_move_pool_size>1</background_move_pool_size>
    <tables_loader_background_pool_size>1</tables_loader_background_pool_size>
    <merge_tree>
        <fsync_after_insert>1</fsync_after_insert>
        <fsync_part_directory>1</fsync_part_directory>
        <auto_statistics_types></auto_statistics_types>
        <number_of_free_entries_in_pool_to_lower_max_size_of_merge>1</number_of_free_entries_in_pool_to_lower_max_size_of_merge>
        <number_of_free_entries_in_pool_to_execute_mutation>1</number_of_free_entries_in_pool_to_execute_mutation>
        <number_of_free_entries_in_pool_to_execute_optimize_entire_partition>1</number_of_free_entries_in_pool_to_execute_optimize_entire_partition>
    </merge_tree>
</clickhouse>
`

// storeDir is where the engine keeps its data.
func storeDir(dir string) string { return filepath.Join(dir, "store") }

// configFile is the engine's configuration, written at each start.
func configFile(dir string) string { return filepath.Join(dir, "engine.xml") }

func writeConfig(cfg Config, port int) error {
	text := strings.NewReplacer(
		"{{port}}", fmt.Sprint(port),
		"{{memory}}", fmt.Sprint(cfg.MemoryLimit),
		"{{marks}}", fmt.Sprint(cfg.MemoryLimit/8),
		"{{merges}}", fmt.Sprint(max(2, runtime.NumCPU()/2)),
	).Replace(configText)
	if err := xml.Unmarshal([]byte(text), new(struct{})); err != nil {
		return fmt.Errorf("engine configuration: %w", err)
	}
	return writePrivate(cfg.Dir, configFile(cfg.Dir), text)
}

// dirError says what to do about a directory that can't be used.
func dirError(dir string, err error) error {
	if errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("engine directory %s: %w: give this user the right to read and write there, "+
			"or choose another --data-dir", dir, err)
	}
	return fmt.Errorf("engine directory %s: %w", dir, err)
}
