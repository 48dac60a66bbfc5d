-- What there is of a task: a line per protocol with runs. Parameters: task; hashes and evaluations, two
-- lists of equal length with each accepted protocol's hash and its evaluation hash of today; replicates,
-- how many runs a row needs to be ranked. Texts are looked at once a protocol or row, not once a run.
WITH scored AS (
    SELECT run_id, attempt, list_contains($evaluations, evaluation_hash) AS current
    FROM evaluations
    WHERE task = $task
),
runs AS (
    SELECT
        t.row_id,
        t.run_id,
        bool_or(t.counted AND t.today) AS done,
        bool_or(t.counted AND t.today AND coalesce(s.current, false)) AS scored,
        bool_or(t.state = 'running') AS running,
        -- of the newest attempt
        max(10 * t.attempt + CASE t.state WHEN 'failed' THEN 1 WHEN 'stopped' THEN 2 ELSE 0 END) % 10
            AS ended,
        bool_or(t.today) AS today
    FROM attempts t
    LEFT JOIN scored s USING (run_id, attempt)
    WHERE t.protocol_hash IN (
        SELECT protocol_hash FROM summary WHERE task = $task
        UNION
        SELECT unnest($hashes)
    )
    GROUP BY t.row_id, t.run_id
),
board AS (
    SELECT
        row_id,
        count(*) AS runs,
        count(*) FILTER (WHERE scored) AS scored,
        count(*) FILTER (WHERE done AND NOT scored) AS unscored,
        count(*) FILTER (WHERE running) AS running,
        count(*) FILTER (WHERE NOT running AND NOT done AND today AND ended = 1) AS failed,
        count(*) FILTER (WHERE NOT running AND NOT done AND today AND ended = 2) AS stopped,
        count(*) FILTER (WHERE NOT today) AS stale
    FROM runs
    GROUP BY row_id
),
about AS (
    SELECT
        protocol_hash,
        arg_max(protocol, coalesce(finished, started, 0)) AS protocol,
        any_value(dataset) AS dataset,
        max(imbalance) AS imbalance,
        max(finished) AS finished
    FROM attempt_rows
    GROUP BY protocol_hash
)
SELECT
    r.protocol_hash,
    any_value(a.protocol) AS protocol,
    any_value(a.dataset) AS dataset,
    any_value(a.imbalance) AS imbalance,
    list_sort(list(DISTINCT r.method) FILTER (WHERE b.scored > 0)) AS methods,
    count(*) FILTER (WHERE b.scored > 0) AS rows,
    count(*) FILTER (WHERE b.scored >= $replicates) AS ranked,
    sum(b.runs)::BIGINT AS runs,
    sum(b.scored)::BIGINT AS done,
    sum(b.unscored)::BIGINT AS unscored,
    sum(b.running)::BIGINT AS running,
    sum(b.failed)::BIGINT AS failed,
    sum(b.stopped)::BIGINT AS stopped,
    sum(b.stale)::BIGINT AS stale,
    any_value(a.finished) AS finished
FROM board b
JOIN board_rows r USING (row_id)
JOIN about a USING (protocol_hash)
GROUP BY r.protocol_hash;
