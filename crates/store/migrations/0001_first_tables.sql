-- One row for each file set that flags, uses or a download are known of; the file itself may be gone or not there yet.
CREATE TABLE files (
    model TEXT NOT NULL,
    variant TEXT NOT NULL,
    hot_ready BOOLEAN NOT NULL DEFAULT FALSE,
    protected BOOLEAN NOT NULL DEFAULT FALSE,
    usage_count BIGINT NOT NULL DEFAULT 0,
    last_used_ms BIGINT,
    downloaded_ms BIGINT,
    PRIMARY KEY (model, variant)
);

-- Models that are never evicted.
CREATE TABLE pins (
    model TEXT NOT NULL PRIMARY KEY
);

-- What a person changed while snug ran.
CREATE TABLE settings (
    name TEXT NOT NULL PRIMARY KEY,
    value TEXT NOT NULL
);

-- Downloads that are not done.
CREATE TABLE downloads (
    id TEXT NOT NULL PRIMARY KEY,
    model TEXT NOT NULL,
    variant TEXT NOT NULL,
    job TEXT NOT NULL,
    state TEXT NOT NULL,
    reason TEXT,
    created_ms BIGINT NOT NULL
);

-- Answers of the last hour.
CREATE TABLE inferences (
    at_ms BIGINT NOT NULL,
    model TEXT NOT NULL,
    variant TEXT NOT NULL,
    prompt_tokens BIGINT NOT NULL,
    completion_tokens BIGINT NOT NULL,
    prompt_tokens_per_second DOUBLE PRECISION NOT NULL,
    generation_tokens_per_second DOUBLE PRECISION NOT NULL,
    latency_ms DOUBLE PRECISION NOT NULL,
    total_time_ms DOUBLE PRECISION NOT NULL,
    prompt_time_ms DOUBLE PRECISION NOT NULL,
    generation_time_ms DOUBLE PRECISION NOT NULL
);
CREATE INDEX inferences_at ON inferences (at_ms);

-- The last times that one model made room for another.
CREATE TABLE swaps (
    at_ms BIGINT NOT NULL,
    from_model TEXT NOT NULL,
    from_variant TEXT NOT NULL,
    to_model TEXT NOT NULL,
    to_variant TEXT NOT NULL,
    time_ms DOUBLE PRECISION NOT NULL
);
CREATE INDEX swaps_at ON swaps (at_ms);
