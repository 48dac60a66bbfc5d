-- What a run of each method took under one protocol, for the estimates of a plan and for packing.
SELECT method, avg(wall_seconds), max(peak_memory_bytes) FROM attempts
WHERE counted AND protocol_hash = $protocol_hash AND ($gpu IS NULL OR (gpu_hours > 0) = $gpu)
GROUP BY method;
