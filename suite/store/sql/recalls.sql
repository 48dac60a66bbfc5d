-- Final values by class of one metric: a line per counted run of today's code under one protocol that has
-- the evaluation; null lists where the run has no such value. Parameters: task; hash, the protocol's;
-- evaluation, its hash; metric and subset.
WITH scored AS (
    SELECT
        e.evaluation_id, a.row_id, a.method, a.params, a.input_methods, a.digest, a.flags, a.run_id, a.attempt, a.seed
    FROM attempt_rows a
    JOIN evaluations e USING (run_id, attempt)
    WHERE a.counted AND a.today AND a.protocol_hash = $hash
        AND e.task = $task AND e.evaluation_hash = $evaluation
),
found AS (
    SELECT evaluation_id, list(class ORDER BY class) AS classes, list(value ORDER BY class) AS values
    FROM metrics
    WHERE metric = $metric AND subset = $subset AND class IS NOT NULL AND step IS NULL
        AND evaluation_id IN (SELECT evaluation_id FROM scored)
    GROUP BY evaluation_id
)
SELECT
    s.row_id, s.method, s.params, s.input_methods, s.digest, s.flags, s.run_id, s.attempt, s.seed, f.classes, f.values
FROM scored s
LEFT JOIN found f USING (evaluation_id)
ORDER BY s.method, s.params, s.row_id, s.seed, s.run_id;
