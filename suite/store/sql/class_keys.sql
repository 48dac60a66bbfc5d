-- Metric keys with a value per class under one protocol and evaluation, of rows with today's digest.
-- Parameters: task, protocol (its hash), evaluation.
SELECT DISTINCT key
FROM summary
WHERE task = $task AND protocol_hash = $protocol AND evaluation_hash = $evaluation
    AND class IS NOT NULL
    AND row_id IN (
        SELECT row_id FROM attempt_rows WHERE counted AND today AND protocol_hash = $protocol
    )
ORDER BY key;
