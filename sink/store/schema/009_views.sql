-- What a certificate says of itself. Empty, or 1970, where the leaf can't be read.
{{range tables "certificates"}}ALTER TABLE {{.}}{{onCluster}}
    ADD COLUMN IF NOT EXISTS subject    SimpleAggregateFunction(max, String) COMMENT 'distinguished name (RFC 4514)',
    ADD COLUMN IF NOT EXISTS issuer     SimpleAggregateFunction(max, String) COMMENT 'distinguished name of who issued it',
    ADD COLUMN IF NOT EXISTS serial     SimpleAggregateFunction(max, String) COMMENT 'serial number, in hex',
    ADD COLUMN IF NOT EXISTS not_before SimpleAggregateFunction(max, DateTime64(3, 'UTC')),
    ADD COLUMN IF NOT EXISTS not_after  SimpleAggregateFunction(max, DateTime64(3, 'UTC'));
{{end}}

CREATE OR REPLACE VIEW v_certificates{{onCluster}} DEFINER = CURRENT_USER SQL SECURITY DEFINER AS
SELECT lower(hex(fingerprint)) AS certificate, site, min(c.first_seen) AS first_seen, max(c.last_seen) AS last_seen,
       any(c.chain) AS chain, max(c.subject) AS subject, max(c.issuer) AS issuer, max(c.serial) AS serial,
       max(c.not_before) AS not_before, max(c.not_after) AS not_after
FROM certificates AS c
GROUP BY fingerprint, site;

-- The counts have names that v_batch_results doesn't have: the two are joined.
CREATE OR REPLACE VIEW v_uploads{{onCluster}} DEFINER = CURRENT_USER SQL SECURITY DEFINER AS
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

-- v_outcomes: how many pairs came to what, by site, day and certificate. Pairs that no certificate verified have none.
CREATE VIEW IF NOT EXISTS v_outcomes{{onCluster}} DEFINER = CURRENT_USER SQL SECURITY DEFINER AS
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

-- v_site_daily: the same by site and day, with the uploads that had any pair.
CREATE VIEW IF NOT EXISTS v_site_daily{{onCluster}} DEFINER = CURRENT_USER SQL SECURITY DEFINER AS
SELECT o.site AS site, toDate(o.accepted_at) AS day, uniqExact(o.upload) AS uploads, sum(o.added) AS added,
       sum(o.duplicates) AS duplicates, sum(o.bad_signatures) AS bad_signatures, sum(o.errors) AS errors
FROM outcomes AS o FINAL
GROUP BY site, day;

-- v_daily: the same by day, with the sites.
CREATE VIEW IF NOT EXISTS v_daily{{onCluster}} DEFINER = CURRENT_USER SQL SECURITY DEFINER AS
SELECT toDate(o.accepted_at) AS day, uniqExactIf(o.site, o.site != '') AS sites, uniqExact(o.upload) AS uploads, sum(o.added) AS added,
       sum(o.duplicates) AS duplicates, sum(o.bad_signatures) AS bad_signatures, sum(o.errors) AS errors
FROM outcomes AS o FINAL
GROUP BY day;

-- v_cosigners: one row for each file and site that signed it and was not the first.
CREATE VIEW IF NOT EXISTS v_cosigners{{onCluster}} DEFINER = CURRENT_USER SQL SECURITY DEFINER AS
SELECT lower(hex(hash)) AS sha256, hash, site, signed_at, upload, position, algorithm,
       base64Encode(signature) AS signature, lower(hex(certificate)) AS certificate
FROM cosigners FINAL;

-- v_failures: why pairs could not be judged, of uploads of the last 48 hours.
CREATE VIEW IF NOT EXISTS v_failures{{onCluster}} DEFINER = CURRENT_USER SQL SECURITY DEFINER AS
SELECT site, upload, min(accepted) AS accepted_at, n.1 AS reason, sum(n.2) AS pairs
FROM
(
    SELECT e.site AS site, e.upload AS upload, e.accepted_at AS accepted, arrayJoin(arrayConcat(
        arrayMap(r -> (r, toUInt64(1)), e.error_reasons),
        arrayFilter(x -> x.2 > 0, [(e.failed_reason, toUInt64(length(e.failed_indexes)))]))) AS n
    FROM exceptions AS e FINAL
    WHERE e.accepted_at > now() - toIntervalSecond({{retentionSeconds}})
)
GROUP BY site, upload, reason;
