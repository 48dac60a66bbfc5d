-- Row, method and protocol of each run whose id begins with $prefix: at most six, to tell one from many.
SELECT DISTINCT run_id, row_id, method, protocol_hash, counted, today
FROM attempt_rows
WHERE starts_with(run_id, $prefix)
QUALIFY dense_rank() OVER (ORDER BY run_id) <= 6
ORDER BY run_id, counted AND today DESC;
