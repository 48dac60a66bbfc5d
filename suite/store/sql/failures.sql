-- Newest attempts that failed, of runs without a finished one of today's code: the newest $most.
SELECT run_id, protocol, method, seed, failure_kind, failure_message, failure_step, heartbeat, host
FROM attempts
QUALIFY
    state = 'failed' AND today
    AND attempt = max(attempt) OVER (PARTITION BY run_id)
    AND NOT bool_or(counted AND today) OVER (PARTITION BY run_id)
ORDER BY heartbeat DESC NULLS LAST, run_id
LIMIT $most;
