-- Counted attempts under each of the protocols $shown, at most $most a protocol, and how many there are.
SELECT
    protocol_hash,
    run_id,
    attempt,
    count(*) OVER (PARTITION BY protocol_hash) AS runs
FROM attempts
WHERE counted AND list_contains($shown, protocol_hash)
QUALIFY row_number() OVER (PARTITION BY protocol_hash ORDER BY run_id, attempt) <= $most
ORDER BY protocol_hash, run_id, attempt;
