-- Rows of one task's board. Parameters: task; hashes and evaluations, two lists of equal length with
-- each accepted protocol's hash and its evaluation hash of today; rows, the row ids to show, null for
-- all.
WITH chosen AS (
    SELECT * FROM attempts WHERE $rows IS NULL OR row_id IN (SELECT unnest($rows))
),
accepted AS (
    SELECT unnest($hashes) AS protocol_hash, unnest($evaluations) AS evaluation_hash
),
scored AS (
    SELECT a.row_id, a.run_id, e.evaluation_hash
    FROM evaluations e
    JOIN chosen a USING (run_id, attempt)
    WHERE e.task = $task AND a.counted
),
blocks AS (
    SELECT row_id, evaluation_hash FROM scored
    UNION
    -- runs without an evaluation belong to the board too: running, failed, not evaluated yet
    SELECT a.row_id, c.evaluation_hash FROM chosen a JOIN accepted c USING (protocol_hash)
),
replicates AS (
    SELECT
        row_id,
        run_id,
        any_value(seed) AS seed,
        bool_or(counted) AS counted,
        bool_or(state = 'running') AS alive,
        bool_or(today) AS today,
        arg_max(state, attempt) AS state,
        arg_max(
            {'kind': failure_kind, 'message': failure_message, 'step': failure_step}, attempt
        ) AS failure,
        arg_max(protocol, attempt) AS protocol,
        any_value(dataset) AS dataset,
        any_value(input_methods) AS input_methods,
        any_value(flags) FILTER (WHERE counted) AS flags,
        any_value(parameters) FILTER (WHERE counted) AS parameters,
        any_value(passes_per_step) FILTER (WHERE counted) AS passes_per_step,
        any_value(train_seconds) FILTER (WHERE counted) AS train_seconds,
        any_value(wall_seconds + input_seconds) FILTER (WHERE counted) AS wall_seconds,
        any_value(gpu_hours) FILTER (WHERE counted) AS gpu_hours,
        any_value(peak_memory_bytes) FILTER (WHERE counted) AS peak_memory_bytes
    FROM chosen
    GROUP BY row_id, run_id
)
SELECT
    b.row_id,
    b.evaluation_hash,
    any_value(r.protocol_hash) AS protocol_hash,
    any_value(r.method) AS method,
    any_value(r.params) AS params,
    any_value(r.digest) AS digest,
    max(p.protocol) AS protocol,
    max(p.dataset) AS dataset,
    any_value(p.input_methods) AS inputs,
    count(*) AS replicates,
    count(*) FILTER (WHERE p.counted) AS recorded,
    count(s.run_id) AS n,
    bool_or(p.alive) AS alive,
    bool_or(p.today) AS today,
    list_sort(list_distinct(flatten(list(p.flags)))) AS flags,
    list(
        {
            'run': p.run_id, 'seed': p.seed, 'kind': p.failure.kind,
            'message': p.failure.message, 'step': p.failure.step
        }
        ORDER BY p.seed, p.run_id
    ) FILTER (WHERE p.state = 'failed') AS failures,
    list(p.run_id ORDER BY p.seed, p.run_id) AS runs,
    list(p.seed ORDER BY p.seed, p.run_id) AS seeds,
    avg(p.parameters) AS parameters,
    avg(p.passes_per_step) AS passes_per_step,
    avg(p.train_seconds) AS train_seconds,
    avg(p.wall_seconds) AS wall_seconds,
    avg(p.gpu_hours) AS gpu_hours,
    avg(p.peak_memory_bytes) AS peak_memory_bytes
FROM blocks b
JOIN board_rows r USING (row_id)
JOIN replicates p USING (row_id)
LEFT JOIN scored s
    ON s.row_id = b.row_id AND s.run_id = p.run_id AND s.evaluation_hash = b.evaluation_hash
GROUP BY b.row_id, b.evaluation_hash
ORDER BY method, params, digest;
