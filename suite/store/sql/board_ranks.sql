-- Shared ranks of one task by one metric key, over whole boards. rows: the row ids to show, null for all.
SELECT row_id, evaluation_hash, rank, groups, seeds_to_next, test
FROM ranks
WHERE task = $task AND key = $key AND ($rows IS NULL OR row_id IN (SELECT unnest($rows)));
