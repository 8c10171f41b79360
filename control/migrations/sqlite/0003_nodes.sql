-- Nodes of other hosts: who was enrolled, and how long its newest certificate is good. A node that was removed keeps its row.
CREATE TABLE nodes (
    node TEXT NOT NULL PRIMARY KEY,
    enrolled_unix_ms INTEGER NOT NULL,
    expires_unix_ms INTEGER NOT NULL,
    removed INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;
