-- Rows with today's digest and their counted runs' values of one metric: a line per row and evaluation.
-- Parameters: task; metric and subset; methods, a list of names, null for all; rows, a list of row ids,
-- null for all; hashes, the protocols to read, null for all.
WITH chosen AS (
    SELECT
        row_id, run_id, attempt, seed, protocol, protocol_hash, dataset, method, params, digest,
        input_methods
    FROM attempt_rows
    WHERE counted AND today
        AND ($methods IS NULL OR list_contains($methods, method))
        AND ($rows IS NULL OR list_contains($rows, row_id))
        AND ($hashes IS NULL OR list_contains($hashes, protocol_hash))
),
scored AS (
    SELECT e.evaluation_id, e.evaluation_hash, c.*
    FROM chosen c
    JOIN evaluations e USING (run_id, attempt)
    WHERE e.task = $task
),
found AS (
    -- the metric first: a few values are then joined, not a million
    SELECT evaluation_id, value
    FROM metrics
    WHERE metric = $metric AND subset = $subset AND class IS NULL AND step IS NULL
)
SELECT
    s.row_id,
    s.evaluation_hash,
    any_value(s.protocol_hash) AS protocol_hash,
    arg_max(s.protocol, s.attempt) AS protocol,
    any_value(s.dataset) AS dataset,
    any_value(s.method) AS method,
    any_value(s.params) AS params,
    any_value(s.digest) AS digest,
    any_value(s.input_methods) AS input_methods,
    list(s.seed ORDER BY s.seed, s.run_id) AS seeds,
    list(s.run_id ORDER BY s.seed, s.run_id) AS runs,
    list(s.attempt ORDER BY s.seed, s.run_id) AS attempts,
    list(f.value ORDER BY s.seed, s.run_id) AS values
FROM scored s
LEFT JOIN found f USING (evaluation_id)
GROUP BY s.row_id, s.evaluation_hash
ORDER BY protocol, protocol_hash, s.evaluation_hash, method, params, s.row_id;
