-- One line per run and metric value of a task, for re-analysis. Counted attempts; of a run without one
-- the newest attempt, a line without a metric: a failed run is no silent gap. Parameters: task;
-- hashes and names, two lists of equal length with each accepted protocol; shown, the hashes of the
-- protocols to export.
WITH accepted AS (
    SELECT unnest($hashes) AS protocol_hash, unnest($names) AS name
),
chosen AS (
    SELECT a.*, p.name
    FROM attempts a
    LEFT JOIN accepted p USING (protocol_hash)
    WHERE list_contains($shown, a.protocol_hash)
    QUALIFY a.counted OR (
        NOT bool_or(a.counted) OVER (PARTITION BY a.run_id)
        AND a.attempt = max(a.attempt) OVER (PARTITION BY a.run_id)
    )
),
scored AS (
    SELECT evaluation_id, run_id, attempt, evaluation_hash FROM evaluations WHERE task = $task
)
SELECT
    $task AS task,
    coalesce(c.name, c.protocol) AS protocol,
    c.protocol_hash,
    s.evaluation_hash,
    c.dataset,
    c.method,
    c.params,
    c.input_methods,
    c.digest,
    c.today,
    c.run_id AS run,
    c.attempt,
    c.seed,
    c.state,
    c.failure_kind AS failure,
    array_to_string(c.flags, ' ') AS flags,
    c.parameters,
    c.passes_per_step,
    c.train_seconds,
    c.wall_seconds,
    c.input_seconds,
    c.gpu_hours,
    c.peak_memory_bytes,
    m.metric,
    m.subset,
    m.class,
    m.step,
    m.value,
    m.source
FROM chosen c
LEFT JOIN scored s ON s.run_id = c.run_id AND s.attempt = c.attempt AND c.counted
LEFT JOIN metrics m ON m.evaluation_id = s.evaluation_id
WHERE c.name IS NOT NULL OR s.evaluation_id IS NOT NULL
ORDER BY
    protocol, c.protocol_hash, s.evaluation_hash, c.method, c.params, c.seed, c.run_id, c.attempt,
    m.metric, m.subset, m.class NULLS FIRST, m.step NULLS LAST;
