-- facts -> attempts: which row an attempt belongs to, which attempt of a run counts.
-- Reads the registered tables `today` (method, digest), `lineages` (run_id, input_methods, lineage) and
-- `combined` (run_id, digest): today's digest of the runs that other methods' code is part of; and
-- `earlier_of_methods` (method, earlier, digest) and `earlier_of_runs` (run_id, earlier, digest): recorded
-- digests that stand for today's code.

-- The digest that counts for each method: today's; where the method is not known today, its newest.
CREATE OR REPLACE TABLE digests AS
SELECT
    f.method,
    coalesce(
        any_value(t.digest),
        arg_max(f.digest, coalesce(f.finished, f.started, 0)) FILTER (WHERE f.digest <> ''),
        ''
    ) AS digest
FROM facts f
LEFT JOIN today t USING (method)
GROUP BY f.method;

CREATE OR REPLACE TEMP TABLE keyed AS
SELECT
    -- an attempt killed before its first heartbeat has no digest yet; it would have run today's
    f.* REPLACE (
        coalesce(er.digest, em.digest, nullif(f.digest, ''), c.digest, d.digest) AS digest
    ),
    coalesce(c.digest, d.digest) AS digest_today,
    coalesce(l.input_methods, '{}') AS input_methods,
    coalesce(l.lineage, '{}')
        -- trained on another copy of the data: comparable by eye, not to be averaged with the rest
        || CASE WHEN list_contains(f.flags, 'data-variant') THEN ' data-variant' ELSE '' END
        -- somebody else's word for how it was trained
        || CASE WHEN list_contains(f.flags, 'external') THEN ' external' ELSE '' END
        AS lineage
FROM facts f
JOIN digests d USING (method)
LEFT JOIN combined c USING (run_id)
LEFT JOIN earlier_of_methods em ON em.method = f.method AND em.earlier = f.digest
LEFT JOIN earlier_of_runs er ON er.run_id = f.run_id AND er.earlier = f.digest
LEFT JOIN lineages l USING (run_id);

INSERT INTO board_rows
SELECT
    (SELECT coalesce(max(row_id), 0) FROM board_rows)
        + row_number() OVER (ORDER BY protocol_hash, method, params, lineage, digest),
    protocol_hash, method, params, lineage, digest
FROM (
    SELECT protocol_hash, method, params, lineage, digest FROM keyed
    EXCEPT
    SELECT protocol_hash, method, params, lineage, digest FROM board_rows
);

CREATE OR REPLACE TABLE attempt_rows AS
SELECT
    r.row_id,
    k.* EXCLUDE (lineage, digest_today),
    k.digest = k.digest_today AS today,
    -- newest finished attempt per run and digest; older ones are superseded, never pooled
    k.recorded AND k.attempt = max(CASE WHEN k.recorded THEN k.attempt END)
        OVER (PARTITION BY k.run_id, k.digest) AS counted
FROM keyed k
JOIN board_rows r USING (protocol_hash, method, params, lineage, digest);

-- Whether a running attempt still lives depends on the clock, so it is said when it is asked.
CREATE OR REPLACE VIEW attempts AS
SELECT * REPLACE (
    CASE
        WHEN state = 'running' AND epoch(now()) - heartbeat >= {stale_seconds} THEN 'stopped'
        ELSE state
    END AS state
)
FROM attempt_rows;
