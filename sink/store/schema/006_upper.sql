-- A signature is over the text of the hash, and that may be in capital letters: whoever checks the signature has to know. Rows
-- that are there already keep -1.
{{range tables "signed_hashes"}}ALTER TABLE {{.}}{{onCluster}}
    ADD COLUMN IF NOT EXISTS upper Int8 DEFAULT -1
    COMMENT 'of the text that was signed: 0 lower case, 1 upper case, -1 from before this was stored';
{{end}}
