-- The tables of countersign. Statements end in a semicolon at the end of a line; each may be run any number of times, by
-- several processes at once: that is how migrations start. onCluster and engine are filled in for replicated set-ups.

-- signed_hashes: who signed what. One row a hash for ever (I4); a replay adds the same row again until a merge (I5).
-- Granules of 256 rows keep a lookup by hash at 8 KiB of hashes instead of 256 KiB. The price is the index in memory: 32
-- bytes for each 256 rows, 125 MB at 10^9 rows. Unpartitioned: a lookup has no other key than the hash, and every partition
-- would multiply its work. Blocks of 8 KiB in the columns of a lookup, because a block is read whole, and the usual 64 KiB would
-- be eight granules of hashes. Hashes and signatures are random bytes: a codec would only burn time.
CREATE TABLE IF NOT EXISTS {{local "signed_hashes"}}{{onCluster}}
(
    hash        FixedString(32)             COMMENT 'SHA-256 of the file' CODEC(NONE) SETTINGS (min_compress_block_size = 8192),
    upload      UUID                        COMMENT 'upload that owns the hash' SETTINGS (min_compress_block_size = 8192),
    position    UInt32                      COMMENT 'index of the pair in its upload, from 0' SETTINGS (min_compress_block_size = 8192),
    site        LowCardinality(String)      COMMENT 'host name of the signing site, lower case',
    signed_at   DateTime64(3, 'UTC')        COMMENT 'when the upload was accepted',
    algorithm   LowCardinality(String)      COMMENT 'of the signature',
    signature   String                      COMMENT 'the raw signature over the hash in hex' CODEC(NONE),
    certificate FixedString(32)             COMMENT 'SHA-256 of the leaf certificate that verified it'
)
ENGINE = {{engine "ReplacingMergeTree"}}
ORDER BY hash
SETTINGS index_granularity = 256;
{{distributed "signed_hashes"}}

-- uploads: who uploaded how much, and when. The earliest acceptance wins where a retry was sealed under the same UUID.
CREATE TABLE IF NOT EXISTS {{local "uploads"}}{{onCluster}}
(
    id          UUID                   COMMENT 'the UUID of the answer',
    site        LowCardinality(String) COMMENT 'host name of the uploading site, lower case',
    count       UInt64                 COMMENT 'pairs in the upload',
    accepted_at DateTime64(3, 'UTC')   COMMENT 'when the upload was sealed',
    version     Int64 MATERIALIZED -toUnixTimestamp64Milli(accepted_at)
)
ENGINE = {{engine "ReplacingMergeTree" "version"}}
ORDER BY id
SETTINGS index_granularity = 256;
{{distributed "uploads"}}

-- batch_results: what became of a batch, one row a shard and part, and one with shard -1 for the outcome of verifying.
-- The counts stand beside the arrays so that progress can be read without them. Partitioned by day so that expiry
-- (an hour after polls end, lest clocks that differ show a finished upload as waiting)
-- drops whole parts instead of rewriting them; a key that was accepted around midnight may stand in two.
CREATE TABLE IF NOT EXISTS {{local "batch_results"}}{{onCluster}}
(
    upload            UUID                 COMMENT 'the upload',
    batch             UInt32               COMMENT 'from 1: a thousand consecutive pairs',
    shard             Int32                COMMENT 'shard of the hashes; -1 for the outcome of verifying',
    part              UInt32               COMMENT 'from 0: a result too large for one record comes in parts',
    accepted_at       DateTime64(3, 'UTC') COMMENT 'when the upload was sealed',
    claims            UInt32               COMMENT 'in the row of shard -1: valid pairs, sent to the shards',
    added             UInt32               COMMENT 'hashes added',
    duplicates        UInt32               COMMENT 'hashes that were stored before',
    bad_signatures    UInt32               COMMENT 'signatures that did not verify',
    errors            UInt32               COMMENT 'pairs that could not be judged',
    added_hashes      Array(FixedString(32)) CODEC(NONE),
    added_indexes     Array(UInt16)          COMMENT 'index within the batch, ascending',
    added_upper       String                 COMMENT 'bitmap: bit i%8 of byte i/8 is set where the hash was sent in upper case',
    duplicate_hashes  Array(FixedString(32)) CODEC(NONE),
    duplicate_indexes Array(UInt16),
    duplicate_upper   String,
    bad_hashes        Array(FixedString(32)) CODEC(NONE),
    bad_indexes       Array(UInt16),
    bad_upper         String,
    error_indexes     Array(UInt16),
    error_texts       Array(String)          COMMENT 'the hash as sent',
    error_reasons     Array(String),
    version           Int64 MATERIALIZED -toUnixTimestamp64Milli(accepted_at)
)
ENGINE = {{engine "ReplacingMergeTree" "version"}}
PARTITION BY toDate(accepted_at)
ORDER BY (upload, batch, shard, part)
TTL toDateTime(accepted_at) + toIntervalSecond({{retentionSeconds}} + 3600)
SETTINGS index_granularity = 256, ttl_only_drop_parts = 1;
{{distributed "batch_results"}}

-- certificates: every chain that decided an upload, and when it was seen.
CREATE TABLE IF NOT EXISTS {{local "certificates"}}{{onCluster}}
(
    fingerprint FixedString(32)                                       COMMENT 'SHA-256 of the leaf certificate',
    site        LowCardinality(String)                                COMMENT 'the site that served it',
    chain       SimpleAggregateFunction(any, Array(String))           COMMENT 'in DER, leaf first',
    first_seen  SimpleAggregateFunction(min, DateTime64(3, 'UTC')),
    last_seen   SimpleAggregateFunction(max, DateTime64(3, 'UTC'))
)
ENGINE = {{engine "AggregatingMergeTree"}}
ORDER BY (fingerprint, site);
{{distributed "certificates"}}
