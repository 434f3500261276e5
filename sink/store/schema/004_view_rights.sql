-- The views read the tables with the rights of the user who runs this. So an analyst needs SELECT on the views, and no right on a table.
ALTER TABLE v_signed_hashes{{onCluster}} MODIFY SQL SECURITY DEFINER DEFINER = CURRENT_USER;

ALTER TABLE v_uploads{{onCluster}} MODIFY SQL SECURITY DEFINER DEFINER = CURRENT_USER;

ALTER TABLE v_batch_results{{onCluster}} MODIFY SQL SECURITY DEFINER DEFINER = CURRENT_USER;

ALTER TABLE v_certificates{{onCluster}} MODIFY SQL SECURITY DEFINER DEFINER = CURRENT_USER;
