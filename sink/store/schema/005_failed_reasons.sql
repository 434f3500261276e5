-- Pairs of a batch that all failed for one reason, which stands once beside their hashes. A site that can't be reached fails every pair
-- of an upload, and a reason has some hundred bytes. Rows from before have their failed pairs in the columns error_* alone. The count
-- errors is of both.
{{range tables "batch_results"}}ALTER TABLE {{.}}{{onCluster}}
    ADD COLUMN IF NOT EXISTS failed_hashes  Array(FixedString(32)) CODEC(NONE),
    ADD COLUMN IF NOT EXISTS failed_indexes Array(UInt16),
    ADD COLUMN IF NOT EXISTS failed_upper   String,
    ADD COLUMN IF NOT EXISTS failed_reason  String COMMENT 'of all of failed_hashes';
{{end}}
