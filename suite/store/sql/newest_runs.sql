-- The newest $most runs under the protocols $hashes: a line per run, as its newest attempt is; `stale`
-- where that is finished, of other code than today's. Parameters beside: method, a part of its name in lower case,
-- "" for all; states, a list, null for all.
WITH runs AS (
    SELECT
        run_id,
        arg_max(protocol_hash, attempt) AS protocol_hash,
        arg_max(method, attempt) AS method,
        arg_max(params, attempt) AS params,
        arg_max(seed, attempt) AS seed,
        max(attempt) AS attempt,
        CASE
            WHEN bool_or(state = 'running') THEN 'running'
            WHEN bool_or(counted AND today) THEN 'done'
            WHEN arg_max(state, attempt) = 'done' THEN 'stale'
            ELSE arg_max(state, attempt)
        END AS state,
        max(coalesce(finished, heartbeat, started)) AS seen
    FROM attempts
    WHERE list_contains($hashes, protocol_hash)
    GROUP BY run_id
)
SELECT *, count(*) OVER () AS found
FROM runs
WHERE contains(lower(method), $method) AND ($states IS NULL OR list_contains($states, state))
ORDER BY seen DESC NULLS LAST, run_id
LIMIT $most;
