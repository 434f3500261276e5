CREATE TABLE IF NOT EXISTS schema_migrations_local ON CLUSTER 'sign\'ers'
(
    version    UInt32 COMMENT 'number of the file in schema/',
    name       String,
    applied_at DateTime64(3, 'UTC') DEFAULT now64(3, 'UTC')
)
ENGINE = ReplicatedReplacingMergeTree()
ORDER BY version;

CREATE TABLE IF NOT EXISTS schema_migrations ON CLUSTER 'sign\'ers' AS schema_migrations_local
ENGINE = Distributed('sign\'ers', 'files', 'schema_migrations_local');

CREATE TABLE IF NOT EXISTS signed_hashes_local ON CLUSTER 'sign\'ers'
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
ENGINE = ReplicatedReplacingMergeTree()
ORDER BY hash
SETTINGS index_granularity = 256;

CREATE TABLE IF NOT EXISTS signed_hashes ON CLUSTER 'sign\'ers' AS signed_hashes_local
ENGINE = Distributed('sign\'ers', 'files', 'signed_hashes_local', bitShiftRight(toUInt64(byteSwap(reinterpretAsUInt32(hash))) * 3, 32));

CREATE TABLE IF NOT EXISTS uploads_local ON CLUSTER 'sign\'ers'
(
    id          UUID                   COMMENT 'the UUID of the answer',
    site        LowCardinality(String) COMMENT 'host name of the uploading site, lower case',
    count       UInt64                 COMMENT 'pairs in the upload',
    accepted_at DateTime64(3, 'UTC')   COMMENT 'when the upload was sealed',
    version     Int64 MATERIALIZED -toUnixTimestamp64Milli(accepted_at)
)
ENGINE = ReplicatedReplacingMergeTree(version)
ORDER BY id
SETTINGS index_granularity = 256;

CREATE TABLE IF NOT EXISTS uploads ON CLUSTER 'sign\'ers' AS uploads_local
ENGINE = Distributed('sign\'ers', 'files', 'uploads_local', bitShiftRight(toUInt64(byteSwap(reinterpretAsUInt32(UUIDToNum(id)))) * 3, 32));

CREATE TABLE IF NOT EXISTS batch_results_local ON CLUSTER 'sign\'ers'
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
ENGINE = ReplicatedReplacingMergeTree(version)
PARTITION BY toDate(accepted_at)
ORDER BY (upload, batch, shard, part)
TTL toDateTime(accepted_at) + toIntervalSecond(172800 + 3600)
SETTINGS index_granularity = 256, ttl_only_drop_parts = 1;

CREATE TABLE IF NOT EXISTS batch_results ON CLUSTER 'sign\'ers' AS batch_results_local
ENGINE = Distributed('sign\'ers', 'files', 'batch_results_local', bitShiftRight(toUInt64(byteSwap(reinterpretAsUInt32(UUIDToNum(upload)))) * 3, 32));

CREATE TABLE IF NOT EXISTS certificates_local ON CLUSTER 'sign\'ers'
(
    fingerprint FixedString(32)                                       COMMENT 'SHA-256 of the leaf certificate',
    site        LowCardinality(String)                                COMMENT 'the site that served it',
    chain       SimpleAggregateFunction(any, Array(String))           COMMENT 'in DER, leaf first',
    first_seen  SimpleAggregateFunction(min, DateTime64(3, 'UTC')),
    last_seen   SimpleAggregateFunction(max, DateTime64(3, 'UTC'))
)
ENGINE = ReplicatedAggregatingMergeTree()
ORDER BY (fingerprint, site);

CREATE TABLE IF NOT EXISTS certificates ON CLUSTER 'sign\'ers' AS certificates_local
ENGINE = Distributed('sign\'ers', 'files', 'certificates_local', bitShiftRight(toUInt64(byteSwap(reinterpretAsUInt32(fingerprint))) * 3, 32));

CREATE VIEW IF NOT EXISTS v_signed_hashes ON CLUSTER 'sign\'ers' AS
SELECT lower(hex(hash)) AS sha256, hash, site, signed_at, upload, position, algorithm,
       base64Encode(signature) AS signature, lower(hex(certificate)) AS certificate
FROM signed_hashes FINAL;

CREATE VIEW IF NOT EXISTS v_uploads ON CLUSTER 'sign\'ers' AS
SELECT id AS upload, site, count AS pairs, intDiv(count + 999, 1000) AS batches, accepted_at
FROM uploads FINAL;

CREATE VIEW IF NOT EXISTS v_batch_results ON CLUSTER 'sign\'ers' AS
SELECT upload, batch, min(accepted) AS accepted_at,
       countIf(shard = -1) = 1 AND sumIf(claims, shard = -1) = sumIf(row_added + row_duplicates, shard >= 0) AS done,
       sum(row_added) AS added, sum(row_duplicates) AS duplicates, sum(row_bad) AS bad_signatures, sum(row_errors) AS errors
FROM
(
    SELECT upload, batch, shard, part, min(accepted_at) AS accepted, any(batch_results.claims) AS claims,
           any(batch_results.added) AS row_added, any(batch_results.duplicates) AS row_duplicates,
           any(batch_results.bad_signatures) AS row_bad, any(batch_results.errors) AS row_errors
    FROM batch_results
    GROUP BY upload, batch, shard, part
)
GROUP BY upload, batch;

CREATE VIEW IF NOT EXISTS v_certificates ON CLUSTER 'sign\'ers' AS
SELECT lower(hex(fingerprint)) AS certificate, site, min(c.first_seen) AS first_seen, max(c.last_seen) AS last_seen,
       any(c.chain) AS chain
FROM certificates AS c
GROUP BY fingerprint, site;

ALTER TABLE signed_hashes_local ON CLUSTER 'sign\'ers' MODIFY SETTING min_bytes_for_wide_part = 67108864;

ALTER TABLE batch_results_local ON CLUSTER 'sign\'ers' MODIFY SETTING min_bytes_for_wide_part = 67108864;

ALTER TABLE v_signed_hashes ON CLUSTER 'sign\'ers' MODIFY SQL SECURITY DEFINER DEFINER = CURRENT_USER;

ALTER TABLE v_uploads ON CLUSTER 'sign\'ers' MODIFY SQL SECURITY DEFINER DEFINER = CURRENT_USER;

ALTER TABLE v_batch_results ON CLUSTER 'sign\'ers' MODIFY SQL SECURITY DEFINER DEFINER = CURRENT_USER;

ALTER TABLE v_certificates ON CLUSTER 'sign\'ers' MODIFY SQL SECURITY DEFINER DEFINER = CURRENT_USER;

ALTER TABLE batch_results_local ON CLUSTER 'sign\'ers'
    ADD COLUMN IF NOT EXISTS failed_hashes  Array(FixedString(32)) CODEC(NONE),
    ADD COLUMN IF NOT EXISTS failed_indexes Array(UInt16),
    ADD COLUMN IF NOT EXISTS failed_upper   String,
    ADD COLUMN IF NOT EXISTS failed_reason  String COMMENT 'of all of failed_hashes';

ALTER TABLE batch_results ON CLUSTER 'sign\'ers'
    ADD COLUMN IF NOT EXISTS failed_hashes  Array(FixedString(32)) CODEC(NONE),
    ADD COLUMN IF NOT EXISTS failed_indexes Array(UInt16),
    ADD COLUMN IF NOT EXISTS failed_upper   String,
    ADD COLUMN IF NOT EXISTS failed_reason  String COMMENT 'of all of failed_hashes';

ALTER TABLE signed_hashes_local ON CLUSTER 'sign\'ers'
    ADD COLUMN IF NOT EXISTS upper Int8 DEFAULT -1
    COMMENT 'of the text that was signed: 0 lower case, 1 upper case, -1 from before this was stored';

ALTER TABLE signed_hashes ON CLUSTER 'sign\'ers'
    ADD COLUMN IF NOT EXISTS upper Int8 DEFAULT -1
    COMMENT 'of the text that was signed: 0 lower case, 1 upper case, -1 from before this was stored';

CREATE TABLE IF NOT EXISTS signatures_local ON CLUSTER 'sign\'ers'
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
ENGINE = ReplicatedReplacingMergeTree()
PARTITION BY toYYYYMM(signed_at)
ORDER BY (site, signed_at, upload, position)
SETTINGS index_granularity = 256, min_bytes_for_wide_part = 67108864, max_bytes_to_merge_at_max_space_in_pool = 67108864,
    parts_to_delay_insert = 20000, parts_to_throw_insert = 30000, max_parts_in_total = 200000;

CREATE TABLE IF NOT EXISTS signatures ON CLUSTER 'sign\'ers' AS signatures_local
ENGINE = Distributed('sign\'ers', 'files', 'signatures_local', bitShiftRight(toUInt64(byteSwap(reinterpretAsUInt32(hash))) * 3, 32));

CREATE TABLE IF NOT EXISTS owners_local ON CLUSTER 'sign\'ers'
(
    hash      FixedString(32)        COMMENT 'SHA-256 of the file' CODEC(NONE) SETTINGS (min_compress_block_size = 8192),
    upload    UUID                   COMMENT 'upload that owns the hash' SETTINGS (min_compress_block_size = 8192),
    position  UInt32                 COMMENT 'index of the pair in its upload, from 0' SETTINGS (min_compress_block_size = 8192),
    site      LowCardinality(String) COMMENT 'host name of the signing site, lower case',
    signed_at DateTime64(3, 'UTC')   COMMENT 'when the upload was accepted' SETTINGS (min_compress_block_size = 8192)
)
ENGINE = ReplicatedReplacingMergeTree()
ORDER BY hash
SETTINGS index_granularity = 256, min_bytes_for_wide_part = 67108864;

CREATE TABLE IF NOT EXISTS owners ON CLUSTER 'sign\'ers' AS owners_local
ENGINE = Distributed('sign\'ers', 'files', 'owners_local', bitShiftRight(toUInt64(byteSwap(reinterpretAsUInt32(hash))) * 3, 32));

CREATE TABLE IF NOT EXISTS cosigners_local ON CLUSTER 'sign\'ers'
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
ENGINE = ReplicatedReplacingMergeTree(version)
ORDER BY (hash, site)
SETTINGS index_granularity = 256, min_bytes_for_wide_part = 67108864;

CREATE TABLE IF NOT EXISTS cosigners ON CLUSTER 'sign\'ers' AS cosigners_local
ENGINE = Distributed('sign\'ers', 'files', 'cosigners_local', bitShiftRight(toUInt64(byteSwap(reinterpretAsUInt32(hash))) * 3, 32));

CREATE TABLE IF NOT EXISTS exceptions_local ON CLUSTER 'sign\'ers'
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
ENGINE = ReplicatedReplacingMergeTree()
PARTITION BY toDate(accepted_at)
ORDER BY (upload, batch, shard, part)
TTL toDateTime(accepted_at) + toIntervalSecond(172800 + 3600)
SETTINGS index_granularity = 256, min_bytes_for_wide_part = 67108864, ttl_only_drop_parts = 1;

CREATE TABLE IF NOT EXISTS exceptions ON CLUSTER 'sign\'ers' AS exceptions_local
ENGINE = Distributed('sign\'ers', 'files', 'exceptions_local', bitShiftRight(toUInt64(byteSwap(reinterpretAsUInt32(UUIDToNum(upload)))) * 3, 32));

CREATE TABLE IF NOT EXISTS outcomes_local ON CLUSTER 'sign\'ers'
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
ENGINE = ReplicatedReplacingMergeTree(version)
PARTITION BY toYYYYMM(accepted_at)
ORDER BY (upload, batch, shard, part)
SETTINGS index_granularity = 256, min_bytes_for_wide_part = 67108864;

CREATE TABLE IF NOT EXISTS outcomes ON CLUSTER 'sign\'ers' AS outcomes_local
ENGINE = Distributed('sign\'ers', 'files', 'outcomes_local', bitShiftRight(toUInt64(byteSwap(reinterpretAsUInt32(UUIDToNum(upload)))) * 3, 32));

CREATE OR REPLACE VIEW v_signed_hashes ON CLUSTER 'sign\'ers' DEFINER = CURRENT_USER SQL SECURITY DEFINER AS
SELECT lower(hex(hash)) AS sha256, hash, site, signed_at, upload, position, algorithm,
       base64Encode(signature) AS signature, lower(hex(certificate)) AS certificate
FROM signatures FINAL
UNION ALL
SELECT lower(hex(hash)) AS sha256, hash, site, signed_at, upload, position, algorithm,
       base64Encode(signature) AS signature, lower(hex(certificate)) AS certificate
FROM signed_hashes FINAL;

CREATE OR REPLACE VIEW v_batch_results ON CLUSTER 'sign\'ers' DEFINER = CURRENT_USER SQL SECURITY DEFINER AS
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
        WHERE accepted_at > now() - toIntervalSecond(172800 + 3600)
        UNION ALL
        SELECT upload, batch, shard, part, accepted_at, claims, added, duplicates, bad_signatures, errors FROM batch_results
    ) AS rows
    GROUP BY upload, batch, shard, part
)
GROUP BY upload, batch;

ALTER TABLE signatures_local ON CLUSTER 'sign\'ers'
    ADD COLUMN IF NOT EXISTS moved UInt8 DEFAULT 0 COMMENT '1 where the row was in signed_hashes before';

ALTER TABLE signatures ON CLUSTER 'sign\'ers'
    ADD COLUMN IF NOT EXISTS moved UInt8 DEFAULT 0 COMMENT '1 where the row was in signed_hashes before';

CREATE TABLE IF NOT EXISTS moves_local ON CLUSTER 'sign\'ers'
(
    number UInt32          COMMENT 'of the range, from 0',
    below  FixedString(32) COMMENT 'hashes below this have moved; zero in the last row',
    done   UInt8           COMMENT '1 in the last row: all have moved'
)
ENGINE = ReplicatedReplacingMergeTree()
ORDER BY number;

CREATE TABLE IF NOT EXISTS moves ON CLUSTER 'sign\'ers' AS moves_local
ENGINE = Distributed('sign\'ers', 'files', 'moves_local', bitShiftRight(toUInt64(byteSwap(reinterpretAsUInt32(below))) * 3, 32));

CREATE OR REPLACE VIEW v_signed_hashes ON CLUSTER 'sign\'ers' DEFINER = CURRENT_USER SQL SECURITY DEFINER AS
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

ALTER TABLE certificates_local ON CLUSTER 'sign\'ers'
    ADD COLUMN IF NOT EXISTS subject    SimpleAggregateFunction(max, String) COMMENT 'distinguished name (RFC 4514)',
    ADD COLUMN IF NOT EXISTS issuer     SimpleAggregateFunction(max, String) COMMENT 'distinguished name of who issued it',
    ADD COLUMN IF NOT EXISTS serial     SimpleAggregateFunction(max, String) COMMENT 'serial number, in hex',
    ADD COLUMN IF NOT EXISTS not_before SimpleAggregateFunction(max, DateTime64(3, 'UTC')),
    ADD COLUMN IF NOT EXISTS not_after  SimpleAggregateFunction(max, DateTime64(3, 'UTC'));

ALTER TABLE certificates ON CLUSTER 'sign\'ers'
    ADD COLUMN IF NOT EXISTS subject    SimpleAggregateFunction(max, String) COMMENT 'distinguished name (RFC 4514)',
    ADD COLUMN IF NOT EXISTS issuer     SimpleAggregateFunction(max, String) COMMENT 'distinguished name of who issued it',
    ADD COLUMN IF NOT EXISTS serial     SimpleAggregateFunction(max, String) COMMENT 'serial number, in hex',
    ADD COLUMN IF NOT EXISTS not_before SimpleAggregateFunction(max, DateTime64(3, 'UTC')),
    ADD COLUMN IF NOT EXISTS not_after  SimpleAggregateFunction(max, DateTime64(3, 'UTC'));

CREATE OR REPLACE VIEW v_certificates ON CLUSTER 'sign\'ers' DEFINER = CURRENT_USER SQL SECURITY DEFINER AS
SELECT lower(hex(fingerprint)) AS certificate, site, min(c.first_seen) AS first_seen, max(c.last_seen) AS last_seen,
       any(c.chain) AS chain, max(c.subject) AS subject, max(c.issuer) AS issuer, max(c.serial) AS serial,
       max(c.not_before) AS not_before, max(c.not_after) AS not_after
FROM certificates AS c
GROUP BY fingerprint, site;

CREATE OR REPLACE VIEW v_uploads ON CLUSTER 'sign\'ers' DEFINER = CURRENT_USER SQL SECURITY DEFINER AS
SELECT u.id AS upload, u.site AS site, u.count AS pairs, intDiv(u.count + 999, 1000) AS batches, u.accepted_at AS accepted_at,
       o.n_added AS pairs_added, o.n_duplicates AS pairs_duplicate, o.n_bad AS pairs_bad, o.n_errors AS pairs_failed,
       if(o.n_added + o.n_duplicates + o.n_bad + o.n_errors < u.count, NULL, greatest(o.last_stored, u.accepted_at)) AS finished_at,
       dateDiff('millisecond', u.accepted_at, finished_at) / 1000 AS seconds
FROM (SELECT id, site, count, accepted_at FROM uploads FINAL) AS u
LEFT JOIN
(
    SELECT upload, sum(added) AS n_added, sum(duplicates) AS n_duplicates, sum(bad_signatures) AS n_bad, sum(errors) AS n_errors,
           max(stored_at) AS last_stored
    FROM outcomes FINAL
    GROUP BY upload
) AS o ON o.upload = u.id;

CREATE VIEW IF NOT EXISTS v_outcomes ON CLUSTER 'sign\'ers' DEFINER = CURRENT_USER SQL SECURITY DEFINER AS
SELECT site, day, if(n.1 = toFixedString('', 32), '', lower(hex(n.1))) AS certificate,
       sum(n.2) AS added, sum(n.3) AS duplicates, sum(n.4) AS bad_signatures, sum(n.5) AS errors
FROM
(
    SELECT o.site AS site, toDate(o.accepted_at) AS day, arrayJoin(arrayConcat(
        arrayMap((c, a, d) -> (c, toUInt64(a), toUInt64(d), toUInt64(0), toUInt64(0)), o.certificates, o.certificate_added, o.certificate_duplicates),
        [(toFixedString('', 32), toUInt64(o.added - arraySum(o.certificate_added)), toUInt64(o.duplicates - arraySum(o.certificate_duplicates)),
          toUInt64(o.bad_signatures), toUInt64(o.errors))])) AS n
    FROM outcomes AS o FINAL
)
WHERE n.2 + n.3 + n.4 + n.5 > 0
GROUP BY site, day, certificate;

CREATE VIEW IF NOT EXISTS v_site_daily ON CLUSTER 'sign\'ers' DEFINER = CURRENT_USER SQL SECURITY DEFINER AS
SELECT o.site AS site, toDate(o.accepted_at) AS day, uniqExact(o.upload) AS uploads, sum(o.added) AS added,
       sum(o.duplicates) AS duplicates, sum(o.bad_signatures) AS bad_signatures, sum(o.errors) AS errors
FROM outcomes AS o FINAL
GROUP BY site, day;

CREATE VIEW IF NOT EXISTS v_daily ON CLUSTER 'sign\'ers' DEFINER = CURRENT_USER SQL SECURITY DEFINER AS
SELECT toDate(o.accepted_at) AS day, uniqExactIf(o.site, o.site != '') AS sites, uniqExact(o.upload) AS uploads, sum(o.added) AS added,
       sum(o.duplicates) AS duplicates, sum(o.bad_signatures) AS bad_signatures, sum(o.errors) AS errors
FROM outcomes AS o FINAL
GROUP BY day;

CREATE VIEW IF NOT EXISTS v_cosigners ON CLUSTER 'sign\'ers' DEFINER = CURRENT_USER SQL SECURITY DEFINER AS
SELECT lower(hex(hash)) AS sha256, hash, site, signed_at, upload, position, algorithm,
       base64Encode(signature) AS signature, lower(hex(certificate)) AS certificate
FROM cosigners FINAL;

CREATE VIEW IF NOT EXISTS v_failures ON CLUSTER 'sign\'ers' DEFINER = CURRENT_USER SQL SECURITY DEFINER AS
SELECT site, upload, min(accepted) AS accepted_at, n.1 AS reason, sum(n.2) AS pairs
FROM
(
    SELECT e.site AS site, e.upload AS upload, e.accepted_at AS accepted, arrayJoin(arrayConcat(
        arrayMap(r -> (r, toUInt64(1)), e.error_reasons),
        arrayFilter(x -> x.2 > 0, [(e.failed_reason, toUInt64(length(e.failed_indexes)))]))) AS n
    FROM exceptions AS e FINAL
    WHERE e.accepted_at > now() - toIntervalSecond(172800)
)
GROUP BY site, upload, reason;
