-- What a run of each method took under one protocol, for the estimates of a plan.
SELECT method, avg(wall_seconds) FROM attempts
WHERE counted AND protocol_hash = $protocol_hash
GROUP BY method;
