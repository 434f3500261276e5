-- The views that analysts use. Their names, columns and meaning are kept stable over versions of countersign; the
-- tables below them are not. All of them are exact while replayed rows are unmerged.

-- v_signed_hashes: one row for each signed file.
--   sha256       the file's SHA-256 as 64 lower-case hex digits
--   hash         the same in 32 bytes: filter by hash = unhex('...'), which reads one granule; a filter on sha256 reads all
--   site         the site that signed it first; signed_at: when its upload was accepted (UTC)
--   upload, position   the upload and the index of the pair in it, from 0
--   algorithm    of the signature; signature: the signature in standard base64, over the text sha256 as it was sent
--   certificate  SHA-256 of the leaf certificate in hex: see v_certificates
CREATE VIEW IF NOT EXISTS v_signed_hashes{{onCluster}} AS
SELECT lower(hex(hash)) AS sha256, hash, site, signed_at, upload, position, algorithm,
       base64Encode(signature) AS signature, lower(hex(certificate)) AS certificate
FROM signed_hashes FINAL;

-- v_uploads: one row for each accepted upload, kept for good.
--   upload, site, pairs, accepted_at (UTC)
--   batches      the number of batches of 1000 pairs
CREATE VIEW IF NOT EXISTS v_uploads{{onCluster}} AS
SELECT id AS upload, site, count AS pairs, intDiv(count + 999, 1000) AS batches, accepted_at
FROM uploads FINAL;

-- v_batch_results: one row for each batch of the uploads of the last 48 hours that has any result.
--   upload, batch (from 1), accepted_at (UTC)
--   done         1 when every pair of the batch has its outcome; the four counts are final then:
--   added, duplicates, bad_signatures, errors
CREATE VIEW IF NOT EXISTS v_batch_results{{onCluster}} AS
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

-- v_certificates: one row for each leaf certificate and site.
--   certificate  SHA-256 of the leaf in hex, as in v_signed_hashes
--   site, first_seen, last_seen (UTC); chain: the chain in DER, leaf first
CREATE VIEW IF NOT EXISTS v_certificates{{onCluster}} AS
SELECT lower(hex(fingerprint)) AS certificate, site, min(c.first_seen) AS first_seen, max(c.last_seen) AS last_seen,
       any(c.chain) AS chain
FROM certificates AS c
GROUP BY fingerprint, site;
