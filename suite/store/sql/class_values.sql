-- Values per run and class of one metric, of counted runs with today's digest. Parameters: task,
-- evaluation; rows, a list of row ids; metric and subset.
SELECT a.row_id, a.run_id, m.class, m.value
FROM attempt_rows a
JOIN evaluations e USING (run_id, attempt)
JOIN metrics m USING (evaluation_id)
WHERE a.counted AND a.today AND list_contains($rows, a.row_id)
    AND e.task = $task AND e.evaluation_hash = $evaluation
    AND m.metric = $metric AND m.subset = $subset AND m.class IS NOT NULL AND m.step IS NULL;
