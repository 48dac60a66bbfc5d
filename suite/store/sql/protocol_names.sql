-- Names that runs of a protocol were made under: a line per protocol hash. rows: the row ids to look at,
-- null for all.
SELECT protocol_hash, list_sort(list(DISTINCT protocol))
FROM attempt_rows
WHERE $rows IS NULL OR list_contains($rows, row_id)
GROUP BY protocol_hash
ORDER BY protocol_hash;
