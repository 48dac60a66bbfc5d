-- Tasks under which counted runs of the given methods or rows have evaluations.
SELECT e.task
FROM evaluations e
JOIN attempt_rows a USING (run_id, attempt)
WHERE a.counted AND a.today
    AND ($methods IS NULL OR list_contains($methods, a.method))
    AND ($rows IS NULL OR list_contains($rows, a.row_id))
GROUP BY e.task
ORDER BY e.task;
