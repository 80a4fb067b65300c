-- Times are milliseconds since the Unix epoch. Objects are named `sha256:HEX` or `url:HEX`.

CREATE TABLE nodes (
    id                  TEXT PRIMARY KEY,
    component           TEXT NOT NULL,
    -- attached, away, or configured (a scheduler named in the manager's own file)
    state               TEXT NOT NULL,
    host_name           TEXT NOT NULL DEFAULT '',
    zone                TEXT NOT NULL DEFAULT '',
    tenant              TEXT NOT NULL DEFAULT '',
    version             TEXT NOT NULL DEFAULT '',
    piece_address       TEXT NOT NULL DEFAULT '',
    grpc_address        TEXT NOT NULL DEFAULT '',
    admin_address       TEXT NOT NULL DEFAULT '',
    attached_ms         INTEGER NOT NULL DEFAULT 0,
    seen_ms             INTEGER NOT NULL DEFAULT 0,
    clock_skew_ms       INTEGER NOT NULL DEFAULT 0,
    config_version      INTEGER NOT NULL DEFAULT 0,
    config_error        TEXT NOT NULL DEFAULT '',
    tombstone_sequence  INTEGER NOT NULL DEFAULT 0,
    -- JSON, as the node reported it last
    stats               TEXT NOT NULL DEFAULT '{}'
);

CREATE TABLE holdings (
    object     TEXT NOT NULL,
    node       TEXT NOT NULL REFERENCES nodes (id) ON DELETE CASCADE,
    size       INTEGER NOT NULL,
    state      TEXT NOT NULL,
    -- JSON list of texts
    upstreams  TEXT NOT NULL,
    used_ms    INTEGER NOT NULL,
    PRIMARY KEY (object, node)
) WITHOUT ROWID;
CREATE INDEX holdings_of_node ON holdings (node);

CREATE TABLE downloads (
    id               INTEGER PRIMARY KEY AUTOINCREMENT,
    node             TEXT NOT NULL,
    task             TEXT NOT NULL,
    object           TEXT NOT NULL,
    size             INTEGER,
    started_ms       INTEGER NOT NULL,
    ended_ms         INTEGER NOT NULL,
    state            TEXT NOT NULL,
    source           TEXT NOT NULL,
    trace            TEXT NOT NULL,
    upstream         TEXT NOT NULL,
    error            TEXT NOT NULL,
    received         INTEGER NOT NULL,
    -- JSON object: node id -> bytes
    bytes_by_parent  TEXT NOT NULL,
    UNIQUE (node, task)
);

CREATE TABLE configurations (
    version     INTEGER PRIMARY KEY,
    json        TEXT NOT NULL,
    author      TEXT NOT NULL,
    changed_ms  INTEGER NOT NULL
);

CREATE TABLE tombstones (
    sequence   INTEGER PRIMARY KEY,
    -- object or upstream
    kind       TEXT NOT NULL,
    target     TEXT NOT NULL,
    author     TEXT NOT NULL,
    purged_ms  INTEGER NOT NULL
);

CREATE TABLE users (
    name           TEXT PRIMARY KEY,
    password_hash  TEXT NOT NULL,
    role           TEXT NOT NULL,
    created_ms     INTEGER NOT NULL
);

CREATE TABLE sessions (
    -- SHA-256 of the cookie, in hex
    hash        TEXT PRIMARY KEY,
    user_name   TEXT NOT NULL REFERENCES users (name) ON DELETE CASCADE,
    created_ms  INTEGER NOT NULL,
    expires_ms  INTEGER NOT NULL
);

CREATE TABLE tokens (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    -- SHA-256 of the token, in hex
    hash        TEXT NOT NULL UNIQUE,
    name        TEXT NOT NULL,
    user_name   TEXT NOT NULL REFERENCES users (name) ON DELETE CASCADE,
    role        TEXT NOT NULL,
    created_ms  INTEGER NOT NULL,
    -- 0: never
    expires_ms  INTEGER NOT NULL,
    revoked_ms  INTEGER NOT NULL DEFAULT 0,
    used_ms     INTEGER NOT NULL DEFAULT 0
);

CREATE TABLE audit (
    id       INTEGER PRIMARY KEY AUTOINCREMENT,
    at_ms    INTEGER NOT NULL,
    actor    TEXT NOT NULL,
    -- session, token or password
    via      TEXT NOT NULL,
    action   TEXT NOT NULL,
    target   TEXT NOT NULL,
    outcome  TEXT NOT NULL
);
