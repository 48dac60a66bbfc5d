-- Tables filled from files. What is derived from them is made by attempts.sql, summary.sql and
-- suite/store/ranking.py.

CREATE TABLE meta (key VARCHAR NOT NULL, value VARCHAR NOT NULL);

-- Every file seen, with the stamp it had when it was read: an equal stamp is not read again.
CREATE TABLE files (path VARCHAR NOT NULL, mtime_ns BIGINT NOT NULL, size BIGINT NOT NULL);

-- Files that are there and not in the store.
CREATE TABLE refused (path VARCHAR NOT NULL, reason VARCHAR NOT NULL);

-- One row per attempt as its files tell it. `recorded`: a valid record.json stands.
CREATE TABLE facts (
    run_id VARCHAR NOT NULL,
    attempt BIGINT NOT NULL,
    protocol VARCHAR NOT NULL,
    protocol_hash VARCHAR NOT NULL,
    dataset VARCHAR,
    method VARCHAR NOT NULL,
    params VARCHAR NOT NULL,
    inputs VARCHAR NOT NULL,
    seed BIGINT NOT NULL,
    digest VARCHAR NOT NULL,
    recorded BOOLEAN NOT NULL,
    state VARCHAR NOT NULL,
    failure_kind VARCHAR,
    failure_message VARCHAR,
    failure_step BIGINT,
    flags VARCHAR[] NOT NULL,
    -- largest over smallest training count of a class
    imbalance DOUBLE,
    step BIGINT,
    total BIGINT,
    heartbeat DOUBLE,
    started DOUBLE,
    finished DOUBLE,
    restarts BIGINT,
    host VARCHAR,
    parameters BIGINT,
    passes_per_step DOUBLE,
    iterations BIGINT,
    samples_seen BIGINT,
    train_seconds DOUBLE,
    wall_seconds DOUBLE,
    gpu_hours DOUBLE,
    peak_memory_bytes BIGINT,
    input_seconds DOUBLE
);

CREATE TABLE evaluations (
    evaluation_id BIGINT NOT NULL,
    path VARCHAR NOT NULL,
    run_id VARCHAR NOT NULL,
    attempt BIGINT NOT NULL,
    task VARCHAR NOT NULL,
    evaluation_hash VARCHAR NOT NULL,
    evaluation VARCHAR NOT NULL,
    made DOUBLE NOT NULL
);

CREATE TABLE metrics (
    evaluation_id BIGINT NOT NULL,
    metric VARCHAR NOT NULL,
    subset VARCHAR NOT NULL,
    class VARCHAR,
    step BIGINT,
    value DOUBLE,
    source VARCHAR NOT NULL
);

-- A leaderboard row without its evaluation. An id is good within one store file; a rebuild may give
-- out others.
CREATE TABLE board_rows (
    row_id BIGINT NOT NULL,
    protocol_hash VARCHAR NOT NULL,
    method VARCHAR NOT NULL,
    params VARCHAR NOT NULL,
    lineage VARCHAR NOT NULL,
    digest VARCHAR NOT NULL
);

CREATE TABLE ranks (
    task VARCHAR NOT NULL,
    evaluation_hash VARCHAR NOT NULL,
    key VARCHAR NOT NULL,
    row_id BIGINT NOT NULL,
    rank BIGINT,
    groups VARCHAR NOT NULL,
    seeds_to_next BIGINT,
    test VARCHAR NOT NULL
);
