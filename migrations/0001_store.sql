-- What the controller must not forget. Times are nanoseconds since 1970 UTC, ids are 16-byte UUIDv7, hashes are 32 bytes.
-- Forward-only: a released file is never edited, the next number is added.

CREATE TABLE meta (
    name   TEXT PRIMARY KEY,
    value  TEXT NOT NULL,
    set_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- One row per webhook delivery. The body is only a hint and carries people's addresses: it is never kept.
CREATE TABLE inbox (
    id          BLOB PRIMARY KEY CHECK (length(id) = 16),
    forge       TEXT NOT NULL,
    delivery_id TEXT NOT NULL,
    event       TEXT NOT NULL,
    ref         TEXT NOT NULL,
    before      TEXT,
    after       TEXT,
    request     INTEGER,
    body_sha256 BLOB NOT NULL CHECK (length(body_sha256) = 32),
    secret_line INTEGER NOT NULL,
    received    INTEGER NOT NULL,
    state       TEXT NOT NULL CHECK (state IN ('new', 'done', 'ignored')),
    reason      TEXT,
    pass        BLOB CHECK (length(pass) = 16),
    UNIQUE (forge, delivery_id)
) STRICT;
CREATE INDEX inbox_waiting ON inbox (received) WHERE state = 'new';
CREATE INDEX inbox_received ON inbox (received);

CREATE TABLE commits (
    oid           BLOB PRIMARY KEY CHECK (length(oid) IN (20, 32)),
    parents       TEXT NOT NULL CHECK (json_valid(parents)),
    author        TEXT NOT NULL,
    committer     TEXT NOT NULL,
    subject       TEXT NOT NULL,
    committed_at  INTEGER NOT NULL,
    ref           TEXT NOT NULL,
    first_seen    INTEGER NOT NULL,
    came          TEXT NOT NULL CHECK (came IN ('push', 'poll', 'request')),
    attempts      INTEGER NOT NULL CHECK (attempts >= 0),
    verdict       TEXT NOT NULL CHECK (verdict IN ('pending', 'compliant', 'rejected', 'inexpressible', 'error')),
    findings      TEXT NOT NULL CHECK (json_valid(findings)),
    finding_count INTEGER NOT NULL CHECK (finding_count >= 0),
    rule_ids      TEXT NOT NULL CHECK (json_valid(rule_ids)),
    judged_by     TEXT,
    judged_at     INTEGER,
    quarantine    TEXT
) STRICT;
CREATE INDEX commits_pending ON commits (first_seen) WHERE verdict = 'pending';

-- Bytes too large for a log row, by their SHA-256.
CREATE TABLE evidence (
    sha256  BLOB PRIMARY KEY CHECK (length(sha256) = 32),
    bytes   BLOB NOT NULL,
    kept_at INTEGER NOT NULL
) STRICT;

-- One row per trip of the loop that ended in something new; an unchanged situation only moves `seen`.
CREATE TABLE passes (
    id              BLOB PRIMARY KEY CHECK (length(id) = 16),
    opened          INTEGER NOT NULL,
    closed          INTEGER,
    seen            INTEGER NOT NULL,
    times_seen      INTEGER NOT NULL DEFAULT 1,
    head            BLOB CHECK (length(head) IN (20, 32)),
    ref             TEXT NOT NULL,
    enforced_before BLOB CHECK (length(enforced_before) IN (20, 32)),
    plan_hash       BLOB REFERENCES evidence (sha256),
    desired_hash    BLOB CHECK (length(desired_hash) = 32),
    observed_hash   BLOB CHECK (length(observed_hash) = 32),
    epoch           INTEGER NOT NULL DEFAULT 0,
    outcome         TEXT CHECK (outcome IN ('in_force', 'rejected', 'inexpressible', 'held', 'failed')),
    reason          TEXT NOT NULL DEFAULT '',
    changes         INTEGER NOT NULL DEFAULT 0 CHECK (changes >= 0),
    finding_count   INTEGER NOT NULL DEFAULT 0 CHECK (finding_count >= 0),
    rule_ids        TEXT NOT NULL DEFAULT '[]' CHECK (json_valid(rule_ids)),
    CHECK ((closed IS NULL) = (outcome IS NULL))
) STRICT;
CREATE INDEX passes_opened ON passes (opened);
CREATE INDEX passes_open ON passes (opened) WHERE closed IS NULL;
CREATE INDEX passes_in_force ON passes (closed) WHERE outcome = 'in_force';

CREATE TABLE steps (
    pass     BLOB NOT NULL REFERENCES passes (id),
    n        INTEGER NOT NULL CHECK (n >= 0),
    backend  TEXT NOT NULL,
    target   TEXT NOT NULL,
    key      TEXT NOT NULL,
    ensure   TEXT NOT NULL CHECK (ensure IN ('present', 'absent')),
    why      TEXT NOT NULL CHECK (why IN ('commit', 'drift', 'rollback')),
    state    TEXT NOT NULL CHECK (state IN ('intent', 'done', 'already', 'failed', 'unknown')),
    code     TEXT,
    epoch    INTEGER NOT NULL DEFAULT 0,
    deadline INTEGER,
    started  INTEGER NOT NULL,
    finished INTEGER,
    PRIMARY KEY (pass, n)
) STRICT, WITHOUT ROWID;

CREATE TABLE enforced (
    backend      TEXT NOT NULL,
    target       TEXT NOT NULL,
    oid          BLOB NOT NULL CHECK (length(oid) IN (20, 32)),
    pass         BLOB NOT NULL REFERENCES passes (id),
    desired_hash BLOB NOT NULL CHECK (length(desired_hash) = 32),
    generation   INTEGER NOT NULL,
    verified_at  INTEGER NOT NULL,
    last_good    BLOB CHECK (length(last_good) IN (20, 32)),
    PRIMARY KEY (backend, target)
) STRICT, WITHOUT ROWID;

-- What still has to be said to the forge.
CREATE TABLE outbox (
    id          BLOB PRIMARY KEY CHECK (length(id) = 16),
    kind        TEXT NOT NULL CHECK (kind IN ('status', 'comment', 'notice')),
    oid         BLOB NOT NULL CHECK (length(oid) IN (20, 32)),
    context     TEXT NOT NULL,
    status      TEXT NOT NULL CHECK (status IN ('pending', 'success', 'failure', 'error')),
    description TEXT NOT NULL,
    link        TEXT,
    attempts    INTEGER NOT NULL DEFAULT 0,
    queued_at   INTEGER NOT NULL,
    next_try    INTEGER NOT NULL,
    state       TEXT NOT NULL CHECK (state IN ('queued', 'sent', 'superseded', 'dead')),
    ended_at    INTEGER,
    remote_id   TEXT,
    last_error  TEXT
) STRICT;
CREATE UNIQUE INDEX outbox_one_waiting ON outbox (oid, context, kind) WHERE state = 'queued';
CREATE INDEX outbox_due ON outbox (next_try) WHERE state = 'queued';
CREATE INDEX outbox_news ON outbox (oid, context, kind, queued_at);

CREATE TABLE drift (
    id          BLOB PRIMARY KEY CHECK (length(id) = 16),
    target      TEXT NOT NULL,
    key         TEXT NOT NULL,
    kind        TEXT NOT NULL CHECK (kind IN ('missing', 'extra', 'changed', 'detached')),
    expected    TEXT,
    observed    TEXT,
    first_seen  INTEGER NOT NULL,
    last_seen   INTEGER NOT NULL,
    times_seen  INTEGER NOT NULL DEFAULT 1,
    oid         BLOB CHECK (length(oid) IN (20, 32)),
    resolution  TEXT CHECK (resolution IN ('healed', 'reverted', 'accepted')),
    resolved_at INTEGER,
    CHECK ((resolution IS NULL) = (resolved_at IS NULL))
) STRICT;
CREATE UNIQUE INDEX drift_one_open ON drift (target, key, kind) WHERE resolved_at IS NULL;
CREATE INDEX drift_first_seen ON drift (first_seen);

-- What a person decided: accepted head, suspension, pin.
CREATE TABLE switches (
    name   TEXT PRIMARY KEY,
    value  TEXT NOT NULL,
    who    TEXT NOT NULL,
    why    TEXT NOT NULL,
    set_at INTEGER NOT NULL,
    until  INTEGER
) STRICT, WITHOUT ROWID;

-- The log. `leaf` is what was hashed; every other column is a copy for reading.
CREATE TABLE audit_log (
    seq      INTEGER PRIMARY KEY CHECK (seq >= 0),
    event_id BLOB NOT NULL UNIQUE CHECK (length(event_id) = 16),
    ts       INTEGER NOT NULL,
    kind     TEXT NOT NULL,
    leaf     BLOB NOT NULL CHECK (length(leaf) <= 65535),
    hash     BLOB NOT NULL CHECK (length(hash) = 32)
) STRICT;

-- Against mistakes only: whoever can write the file can drop these.
CREATE TRIGGER audit_log_is_never_updated BEFORE UPDATE ON audit_log
BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;
CREATE TRIGGER audit_log_is_never_deleted BEFORE DELETE ON audit_log
BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;

-- Size and perfect-subtree hashes (RFC 6962), written in the transaction that adds the rows.
CREATE TABLE audit_frontier (
    id     INTEGER PRIMARY KEY CHECK (id = 0),
    size   INTEGER NOT NULL CHECK (size >= 0),
    hashes BLOB NOT NULL CHECK (length(hashes) % 32 = 0 AND length(hashes) <= 2048)
) STRICT;
INSERT INTO audit_frontier (id, size, hashes) VALUES (0, 0, x'');

-- 'PCIS'; the number of the newest file in this folder.
PRAGMA application_id = 1346586963;
PRAGMA user_version = 1;
