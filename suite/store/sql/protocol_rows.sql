-- Rows under one protocol, by the name it had or by its hash of today.
SELECT DISTINCT row_id FROM attempts WHERE protocol = $name OR protocol_hash = $hash;
