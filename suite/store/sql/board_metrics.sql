-- Final values of one task, whole set and subsets, not by class: a line per row and evaluation.
-- rows: the row ids to show, null for all.
SELECT row_id, evaluation_hash, list(key), list(n), list(mean), list(low), list(high)
FROM summary
WHERE task = $task AND class IS NULL AND ($rows IS NULL OR row_id IN (SELECT unnest($rows)))
GROUP BY row_id, evaluation_hash;
