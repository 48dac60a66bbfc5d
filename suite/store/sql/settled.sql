-- Runs whose newest attempt is finished, and what `status` calls them: done where an attempt of today's code
-- is, else stale. Parameter: methods, the names of those known today. Of other methods the store takes the
-- newest digest for today's, while `status` takes each run's own: their older runs are left to it.
SELECT
    run_id,
    any_value(protocol_hash),
    any_value(protocol),
    any_value(method) AS name,
    CASE WHEN bool_or(recorded AND today) THEN 'done' ELSE 'stale' END AS state
FROM attempt_rows
GROUP BY run_id
HAVING arg_max(recorded, attempt) AND (bool_or(recorded AND today) OR list_contains($methods, any_value(method)));
