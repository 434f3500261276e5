package clickhouse

// engineParent is the first argument under which the test binary plays the process that owns an engine.
const engineParent = "engine-parent"

func engineParentMain(args []string) int { return 0 }
