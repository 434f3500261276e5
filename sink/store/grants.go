package store

// What the users of a ClickHouse that serves nobody else need: the service, and people who analyse. Each is what
// follows GRANT in a statement, up to the user's name. A ClickHouse of the operator's own may give its users the same.

// tableEngines are those that schema/ uses. Grants name them, so that no statement can make a table that reads files or
// other servers.
var tableEngines = []string{"ReplacingMergeTree", "AggregatingMergeTree"}

// analystViews are what analysts read.
var analystViews = []string{
	"v_signed_hashes", "v_uploads", "v_batch_results", "v_certificates",
	"v_outcomes", "v_site_daily", "v_daily", "v_cosigners", "v_failures",
}

// ServiceGrants are what this package needs on a database: its tables and views, their rows and migrations, and what
// Check and the migrations look up.
func ServiceGrants(database string) []string {
	on := " ON " + database + ".*"
	grants := []string{
		"SELECT" + on, "INSERT" + on, "ALTER" + on, "CREATE TABLE" + on, "CREATE VIEW" + on,
		"DROP TABLE" + on, "DROP VIEW" + on, "TRUNCATE" + on, "SHOW" + on,
	}
	for _, engine := range tableEngines {
		grants = append(grants, "TABLE ENGINE ON "+engine)
	}
	for _, table := range []string{"settings", "disks", "replicas", "clusters", "tables", "parts", "merges"} {
		grants = append(grants, "SELECT ON system."+table)
	}
	return grants
}

// ClusterGrants are what this package needs on every server of a cluster beside ServiceGrants. REMOTE is what a
// Distributed table takes, and CLUSTER what ON CLUSTER does.
func ClusterGrants() []string {
	return []string{"TABLE ENGINE ON Distributed", "REMOTE ON *.*", "CLUSTER ON *.*", "SHOW TABLES ON system.zookeeper"}
}

// AnalystGrants are what a user needs who reads the views of a database. The views read the tables with the rights of
// the user who made them. The system tables tell how much is stored and what ClickHouse is doing.
func AnalystGrants(database string) []string {
	grants := []string{"SHOW TABLES ON " + database + ".*", "SHOW COLUMNS ON " + database + ".*"}
	for _, view := range analystViews {
		grants = append(grants, "SELECT ON "+database+"."+view)
	}
	for _, table := range []string{"parts", "merges", "mutations", "disks", "metrics", "events", "processes"} {
		grants = append(grants, "SELECT ON system."+table)
	}
	return grants
}
