-- The rows of signed_hashes move to the tables of version 2 in the background, range by range of the hash (move.go).
{{range tables "signatures"}}ALTER TABLE {{.}}{{onCluster}}
    ADD COLUMN IF NOT EXISTS moved UInt8 DEFAULT 0 COMMENT '1 where the row was in signed_hashes before';
{{end}}

-- moves: the ranges that have moved, in their order.
CREATE TABLE IF NOT EXISTS {{local "moves"}}{{onCluster}}
(
    number UInt32          COMMENT 'of the range, from 0',
    below  FixedString(32) COMMENT 'hashes below this have moved; zero in the last row',
    done   UInt8           COMMENT '1 in the last row: all have moved'
)
ENGINE = {{engine "ReplacingMergeTree"}}
ORDER BY number;
{{distributed "moves"}}

-- Rows of a range that is moving are in both tables. This counts them where they were, until the range is recorded. All copies of a row
-- have one hash, so what the index leaves out needs no second look (the setting).
CREATE OR REPLACE VIEW v_signed_hashes{{onCluster}} DEFINER = CURRENT_USER SQL SECURITY DEFINER AS
SELECT lower(hex(hash)) AS sha256, hash, site, signed_at, upload, position, algorithm,
       base64Encode(signature) AS signature, lower(hex(certificate)) AS certificate
FROM
(
    SELECT * FROM signatures FINAL
    WHERE moved = 0 OR (SELECT max(done) FROM moves) = 1 OR hash < (SELECT max(below) FROM moves)
    SETTINGS use_skip_indexes_if_final_exact_mode = 0
)
UNION ALL
SELECT lower(hex(hash)) AS sha256, hash, site, signed_at, upload, position, algorithm,
       base64Encode(signature) AS signature, lower(hex(certificate)) AS certificate
FROM signed_hashes FINAL
WHERE (SELECT max(done) FROM moves) = 0 AND hash >= (SELECT max(below) FROM moves);
