-- The tables of version 2. What is large lies in the order of arrival, and what lies in the order of random hashes is narrow. The tables
-- signed_hashes and batch_results of version 1 stay: they are read beside these for as long as they have rows, and written no more.

-- signatures: one row for each owned hash, in the order in which hashes arrive. Merging parts of random order cost more than all else,
-- because a signature was written again each time. Here merges only copy, and they end at 64 MiB, so what arrives in large inserts is
-- written once. By month, so that old months rest, and can be exported. What is constant in an upload compresses to nothing. The index on hash
-- is for analysts alone: it spares a filter on hash nine tenths of the table. The service asks owners for the row's key instead.
-- Granules of 256 rows: one signature is read with 64 KiB of others.
CREATE TABLE IF NOT EXISTS {{local "signatures"}}{{onCluster}}
(
    site        LowCardinality(String)      COMMENT 'host name of the signing site, lower case',
    signed_at   DateTime64(3, 'UTC')        COMMENT 'when the upload was accepted',
    upload      UUID                        COMMENT 'upload that owns the hash',
    position    UInt32                      COMMENT 'index of the pair in its upload, from 0' CODEC(Delta, LZ4),
    hash        FixedString(32)             COMMENT 'SHA-256 of the file' CODEC(NONE),
    upper       Int8                        COMMENT 'of the text that was signed: 0 lower case, 1 upper case, -1 not known (before migration 6)',
    algorithm   LowCardinality(String)      COMMENT 'of the signature',
    signature   String                      COMMENT 'the raw signature over the hash in hex' CODEC(NONE),
    certificate FixedString(32)             COMMENT 'SHA-256 of the leaf certificate that verified it',
    INDEX by_hash hash TYPE bloom_filter(0.1) GRANULARITY 32
)
ENGINE = {{engine "ReplacingMergeTree"}}
PARTITION BY toYYYYMM(signed_at)
ORDER BY (site, signed_at, upload, position)
SETTINGS index_granularity = 256, min_bytes_for_wide_part = 67108864, max_bytes_to_merge_at_max_space_in_pool = 67108864,
    parts_to_delay_insert = 20000, parts_to_throw_insert = 30000, max_parts_in_total = 200000;
{{distributed "signatures"}}

-- owners: who owns a hash, for ever (I4), and the key of its row in signatures. The only table of one row a hash that is merged in random
-- order, so it has nothing else. A row is written after the row of signatures. Granules of 256 rows keep a lookup by hash at 8 KiB of
-- hashes. The price is the index in memory: 32 bytes for each 256 rows, 125 MB at 10^9 rows. Unpartitioned: a lookup has no
-- other key than the hash, and every partition would multiply its work. Blocks of 8 KiB, because a block is read whole, and
-- the usual 64 KiB would be eight granules of hashes.
CREATE TABLE IF NOT EXISTS {{local "owners"}}{{onCluster}}
(
    hash      FixedString(32)        COMMENT 'SHA-256 of the file' CODEC(NONE) SETTINGS (min_compress_block_size = 8192),
    upload    UUID                   COMMENT 'upload that owns the hash' SETTINGS (min_compress_block_size = 8192),
    position  UInt32                 COMMENT 'index of the pair in its upload, from 0' SETTINGS (min_compress_block_size = 8192),
    site      LowCardinality(String) COMMENT 'host name of the signing site, lower case',
    signed_at DateTime64(3, 'UTC')   COMMENT 'when the upload was accepted' SETTINGS (min_compress_block_size = 8192)
)
ENGINE = {{engine "ReplacingMergeTree"}}
ORDER BY hash
SETTINGS index_granularity = 256, min_bytes_for_wide_part = 67108864;
{{distributed "owners"}}

-- cosigners: valid signatures of sites that were not the first. One row for each hash and site, the earliest, so it is bounded by
-- itself.
CREATE TABLE IF NOT EXISTS {{local "cosigners"}}{{onCluster}}
(
    hash        FixedString(32)        COMMENT 'SHA-256 of the file' CODEC(NONE),
    site        LowCardinality(String) COMMENT 'host name of the signing site, which does not own the hash',
    signed_at   DateTime64(3, 'UTC')   COMMENT 'when the upload was accepted',
    upload      UUID                   COMMENT 'the upload',
    position    UInt32                 COMMENT 'index of the pair in its upload, from 0',
    upper       Int8                   COMMENT 'of the text that was signed: 0 lower case, 1 upper case',
    algorithm   LowCardinality(String) COMMENT 'of the signature',
    signature   String                 COMMENT 'the raw signature over the hash in hex' CODEC(NONE),
    certificate FixedString(32)        COMMENT 'SHA-256 of the leaf certificate that verified it',
    version     Int64 MATERIALIZED -toUnixTimestamp64Milli(signed_at)
)
ENGINE = {{engine "ReplacingMergeTree" "version"}}
ORDER BY (hash, site)
SETTINGS index_granularity = 256, min_bytes_for_wide_part = 67108864;
{{distributed "cosigners"}}

-- exceptions: the pairs of a batch that were not added, by shard and part, with shard -1 for the outcome of verifying. Only where there
-- are any. Partitioned by day so that expiry (an hour after polls end, lest clocks that differ show a finished upload as
-- waiting) drops whole parts instead of rewriting them; a key that was accepted around midnight may stand in two.
CREATE TABLE IF NOT EXISTS {{local "exceptions"}}{{onCluster}}
(
    upload            UUID                 COMMENT 'the upload',
    batch             UInt32               COMMENT 'from 1: a thousand consecutive pairs',
    shard             Int32                COMMENT 'shard of the hashes; -1 for the outcome of verifying',
    part              UInt32               COMMENT 'from 0: a result too large for one record comes in parts',
    site              LowCardinality(String) COMMENT 'host name of the uploading site',
    accepted_at       DateTime64(3, 'UTC') COMMENT 'when the upload was sealed',
    duplicate_hashes  Array(FixedString(32)) CODEC(NONE),
    duplicate_indexes Array(UInt16)          COMMENT 'index within the batch, ascending',
    duplicate_upper   String                 COMMENT 'bitmap: bit i%8 of byte i/8 is set where the hash was sent in upper case',
    bad_hashes        Array(FixedString(32)) CODEC(NONE),
    bad_indexes       Array(UInt16),
    bad_upper         String,
    error_indexes     Array(UInt16),
    error_texts       Array(String)          COMMENT 'the hash as sent',
    error_reasons     Array(String),
    failed_hashes     Array(FixedString(32)) COMMENT 'pairs that all failed for one reason' CODEC(NONE),
    failed_indexes    Array(UInt16),
    failed_upper      String,
    failed_reason     String
)
ENGINE = {{engine "ReplacingMergeTree"}}
PARTITION BY toDate(accepted_at)
ORDER BY (upload, batch, shard, part)
TTL toDateTime(accepted_at) + toIntervalSecond({{retentionSeconds}} + 3600)
SETTINGS index_granularity = 256, min_bytes_for_wide_part = 67108864, ttl_only_drop_parts = 1;
{{distributed "exceptions"}}

-- outcomes: how many pairs of a batch came to what, one row a shard and part, and one with shard -1 for the outcome of verifying. Kept for
-- good: some five rows for a thousand pairs, from which everything is counted. Its row is written last, so what it counts is there. A
-- record may be in the log twice: the row of the first one stays.
CREATE TABLE IF NOT EXISTS {{local "outcomes"}}{{onCluster}}
(
    upload                 UUID                   COMMENT 'the upload',
    batch                  UInt32                 COMMENT 'from 1: a thousand consecutive pairs',
    shard                  Int32                  COMMENT 'shard of the hashes; -1 for the outcome of verifying',
    part                   UInt32                 COMMENT 'from 0: a result too large for one record comes in parts',
    site                   LowCardinality(String) COMMENT 'host name of the uploading site; empty in rows of shard -1 from before version 2',
    accepted_at            DateTime64(3, 'UTC')   COMMENT 'when the upload was sealed',
    claims                 UInt32                 COMMENT 'in the row of shard -1: valid pairs, sent to the shards',
    added                  UInt32                 COMMENT 'hashes added',
    duplicates             UInt32                 COMMENT 'hashes that were stored before',
    bad_signatures         UInt32                 COMMENT 'signatures that did not verify',
    errors                 UInt32                 COMMENT 'pairs that could not be judged',
    certificates           Array(FixedString(32)) COMMENT 'SHA-256 of the leaf certificates that verified the pairs',
    certificate_added      Array(UInt32)          COMMENT 'of added, by certificate',
    certificate_duplicates Array(UInt32)          COMMENT 'of duplicates, by certificate',
    log_offset             Int64                  COMMENT 'of the record in topic verified, in the partition of the shard; of shard -1 in that of the upload',
    stored_at              DateTime64(3, 'UTC') DEFAULT now64(3, 'UTC') COMMENT 'when this row was stored; a replay has another time',
    version                Int64 MATERIALIZED -log_offset
)
ENGINE = {{engine "ReplacingMergeTree" "version"}}
PARTITION BY toYYYYMM(accepted_at)
ORDER BY (upload, batch, shard, part)
SETTINGS index_granularity = 256, min_bytes_for_wide_part = 67108864;
{{distributed "outcomes"}}

-- The views of version 1, over the new tables and what is left in the old ones. Names, columns and meaning are what they were.
CREATE OR REPLACE VIEW v_signed_hashes{{onCluster}} DEFINER = CURRENT_USER SQL SECURITY DEFINER AS
SELECT lower(hex(hash)) AS sha256, hash, site, signed_at, upload, position, algorithm,
       base64Encode(signature) AS signature, lower(hex(certificate)) AS certificate
FROM signatures FINAL
UNION ALL
SELECT lower(hex(hash)) AS sha256, hash, site, signed_at, upload, position, algorithm,
       base64Encode(signature) AS signature, lower(hex(certificate)) AS certificate
FROM signed_hashes FINAL;

CREATE OR REPLACE VIEW v_batch_results{{onCluster}} DEFINER = CURRENT_USER SQL SECURITY DEFINER AS
SELECT upload, batch, min(accepted) AS accepted_at,
       countIf(shard = -1) = 1 AND sumIf(claims, shard = -1) = sumIf(row_added + row_duplicates, shard >= 0) AS done,
       sum(row_added) AS added, sum(row_duplicates) AS duplicates, sum(row_bad) AS bad_signatures, sum(row_errors) AS errors
FROM
(
    SELECT upload, batch, shard, part, min(rows.accepted_at) AS accepted, any(rows.claims) AS claims,
           any(rows.added) AS row_added, any(rows.duplicates) AS row_duplicates,
           any(rows.bad_signatures) AS row_bad, any(rows.errors) AS row_errors
    FROM
    (
        SELECT upload, batch, shard, part, accepted_at, claims, added, duplicates, bad_signatures, errors FROM outcomes
        WHERE accepted_at > now() - toIntervalSecond({{retentionSeconds}} + 3600)
        UNION ALL
        SELECT upload, batch, shard, part, accepted_at, claims, added, duplicates, bad_signatures, errors FROM batch_results
    ) AS rows
    GROUP BY upload, batch, shard, part
)
GROUP BY upload, batch;
