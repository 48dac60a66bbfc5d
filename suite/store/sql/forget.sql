-- Takes out what came from the registered `paths` (path) and the attempts `keys` (run_id, attempt).
DELETE FROM metrics WHERE evaluation_id IN (
    SELECT evaluation_id FROM evaluations WHERE path IN (SELECT path FROM paths)
);
DELETE FROM evaluations WHERE path IN (SELECT path FROM paths);
DELETE FROM facts WHERE (run_id, attempt) IN (SELECT (run_id, attempt::BIGINT) FROM keys);
DELETE FROM refused WHERE path IN (SELECT path FROM paths);
DELETE FROM files WHERE path IN (SELECT path FROM paths);
