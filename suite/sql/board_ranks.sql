-- Shared ranks of one task by one metric key, over whole boards.
SELECT row_id, evaluation_hash, rank FROM ranks WHERE task = $task AND key = $key;
