-- The last number given out of each kind, so that none is given twice.
CREATE TABLE numbers (
    kind TEXT NOT NULL PRIMARY KEY,
    last BIGINT NOT NULL
);

-- API keys, by the hash of their text. One without an end is permanent.
CREATE TABLE api_keys (
    id BIGINT NOT NULL PRIMARY KEY,
    hash TEXT NOT NULL UNIQUE,
    prefix TEXT NOT NULL,
    label TEXT NOT NULL,
    owner TEXT NOT NULL DEFAULT '',
    created_ms BIGINT NOT NULL,
    expires_ms BIGINT,
    last_used_ms BIGINT,
    scope TEXT NOT NULL,
    limits TEXT NOT NULL
);

-- What was used, summed up by minute; by hour once it is some days old.
CREATE TABLE usage (
    bucket_ms BIGINT NOT NULL,
    key_id BIGINT NOT NULL,
    owner TEXT NOT NULL,
    model TEXT NOT NULL,
    endpoint TEXT NOT NULL,
    key_label TEXT NOT NULL DEFAULT '',
    requests BIGINT NOT NULL,
    errors BIGINT NOT NULL,
    prompt_tokens BIGINT NOT NULL,
    completion_tokens BIGINT NOT NULL,
    cached_tokens BIGINT NOT NULL,
    duration_ms BIGINT NOT NULL,
    PRIMARY KEY (bucket_ms, key_id, owner, model, endpoint)
);
