-- Mean and interval per row and class of one metric key. Parameters: task, protocol (its hash),
-- evaluation, key; rows, a list of row ids, null for all; classes, the names to read.
SELECT row_id, class, n, mean, low, high
FROM summary
WHERE task = $task AND protocol_hash = $protocol AND evaluation_hash = $evaluation AND key = $key
    AND class IS NOT NULL AND list_contains($classes, class)
    AND ($rows IS NULL OR list_contains($rows, row_id));
