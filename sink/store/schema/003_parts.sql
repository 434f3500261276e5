-- Parts up to 64 MiB keep all columns in one file. An insert of 32,768 hashes is 13 MB, and with a file or two a column it was synced some
-- twenty times, and written again so at the first merge: a third of all that inserting and merging cost.
ALTER TABLE {{local "signed_hashes"}}{{onCluster}} MODIFY SETTING min_bytes_for_wide_part = 67108864;

ALTER TABLE {{local "batch_results"}}{{onCluster}} MODIFY SETTING min_bytes_for_wide_part = 67108864;
