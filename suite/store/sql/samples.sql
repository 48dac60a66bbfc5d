-- Values behind the ranks of the registered table `wanted` (task, key, metric, subset): a line per key
-- and row that has today's digest, with its counted runs' values, null where a run has none.
SELECT
    w.task, e.evaluation_hash, a.protocol_hash, w.key, a.row_id,
    list(a.seed ORDER BY a.run_id) AS seeds,
    list(a.run_id ORDER BY a.run_id) AS runs,
    list(m.value ORDER BY a.run_id) AS values
FROM wanted w
JOIN evaluations e ON e.task = w.task
JOIN attempt_rows a ON a.run_id = e.run_id AND a.attempt = e.attempt
LEFT JOIN metrics m
    ON m.evaluation_id = e.evaluation_id
    AND m.metric = w.metric AND m.subset = w.subset
    AND m.class IS NULL AND m.step IS NULL
WHERE a.counted AND a.today
GROUP BY ALL
ORDER BY w.task, e.evaluation_hash, a.protocol_hash, w.key, a.row_id;
