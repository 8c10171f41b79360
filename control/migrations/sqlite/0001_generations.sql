-- Bodies by content hash: canonical JSON, each stored once whatever number of generations holds it.
CREATE TABLE resources (
    hash BLOB NOT NULL PRIMARY KEY,
    body TEXT NOT NULL
) WITHOUT ROWID;

-- The history. A number is never reused; a rollback is a row of its own.
CREATE TABLE generations (
    number INTEGER NOT NULL PRIMARY KEY,
    parent INTEGER REFERENCES generations (number),
    restores INTEGER REFERENCES generations (number),
    snapshot BLOB NOT NULL,
    snapshot_bytes INTEGER NOT NULL,
    root BLOB NOT NULL,
    changes INTEGER NOT NULL,
    routes INTEGER NOT NULL,
    author TEXT NOT NULL,
    message TEXT NOT NULL,
    source TEXT,
    created_unix_ms INTEGER NOT NULL,
    compile_ms INTEGER NOT NULL,
    state TEXT NOT NULL,
    pinned INTEGER NOT NULL DEFAULT 0
);

-- What each generation changed against its parent; no hash means that the resource went away.
CREATE TABLE changes (
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    generation INTEGER NOT NULL REFERENCES generations (number),
    resource BLOB REFERENCES resources (hash),
    PRIMARY KEY (kind, name, generation)
) WITHOUT ROWID;

CREATE INDEX changes_by_generation ON changes (generation);

-- The last content applied from each file or directory (or quick start).
CREATE TABLE sources (
    source TEXT NOT NULL PRIMARY KEY,
    hash BLOB NOT NULL,
    generation INTEGER NOT NULL REFERENCES generations (number),
    applied_unix_ms INTEGER NOT NULL
);

CREATE TABLE audit (
    id INTEGER NOT NULL PRIMARY KEY,
    at_unix_ms INTEGER NOT NULL,
    author TEXT NOT NULL,
    verb TEXT NOT NULL,
    generation INTEGER NOT NULL REFERENCES generations (number),
    detail TEXT NOT NULL
);

-- The last word of each node on each generation.
CREATE TABLE acknowledgements (
    node TEXT NOT NULL,
    generation INTEGER NOT NULL REFERENCES generations (number),
    hash BLOB NOT NULL,
    live_ms INTEGER,
    reason TEXT,
    received_unix_ms INTEGER NOT NULL,
    PRIMARY KEY (node, generation)
) WITHOUT ROWID;

-- What definitions refer to by digest: certificates, revocation lists, sealed keys (JSON).
CREATE TABLE materials (
    digest BLOB NOT NULL PRIMARY KEY,
    body TEXT NOT NULL
) WITHOUT ROWID;
