-- Ids of applications (an empty credential) and of their credentials (the key's digest), each from a generation on; no id means
-- that it went away. Rows are never removed: they say for ever whose an id was.
CREATE TABLE identities (
    application TEXT NOT NULL,
    credential BLOB NOT NULL,
    generation INTEGER NOT NULL REFERENCES generations (number),
    id BLOB,
    PRIMARY KEY (application, credential, generation)
) WITHOUT ROWID;

CREATE INDEX identities_by_id ON identities (id);
