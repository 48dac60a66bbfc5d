-- Mean and t interval per (task, evaluation, row, metric key, class) over the counted runs' final
-- values. `n` counts defined values only: where it is below the row's number of evaluated runs, some
-- replicate has no value. Reads the registered table `quantiles` (n, t): see stats.t_quantiles.
CREATE OR REPLACE TABLE summary AS
SELECT
    s.task, s.protocol_hash, s.evaluation_hash, s.row_id, s.metric, s.subset, s.key, s.class, s.n,
    s.mean,
    s.mean - q.t * s.deviation / sqrt(s.n) AS low,
    s.mean + q.t * s.deviation / sqrt(s.n) AS high
FROM (
    SELECT
        e.task, a.protocol_hash, e.evaluation_hash, a.row_id, m.metric, m.subset,
        CASE WHEN m.subset = '' THEN m.metric ELSE m.metric || '[' || m.subset || ']' END AS key,
        m.class,
        count(m.value) AS n,
        favg(m.value) AS mean,
        stddev_samp(m.value) AS deviation
    FROM attempt_rows a
    JOIN evaluations e USING (run_id, attempt)
    JOIN metrics m USING (evaluation_id)
    WHERE a.counted AND m.step IS NULL
    GROUP BY ALL
) s
LEFT JOIN quantiles q ON q.n = s.n
ORDER BY s.task, s.class NULLS FIRST, s.evaluation_hash, s.row_id;
