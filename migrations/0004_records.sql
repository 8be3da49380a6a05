-- Records nobody can quietly change: signed checkpoints of the log and where they were left, sealed segments, controls that failed,
-- what is known of drift beside its two sides, reports.

-- One row per signed note. A log may have had more than one origin (`audit fork`), each with sizes of its own.
CREATE TABLE audit_checkpoint (
    origin TEXT NOT NULL,
    size   INTEGER NOT NULL CHECK (size > 0),
    root   BLOB NOT NULL CHECK (length(root) = 32),
    note   TEXT NOT NULL,
    cut_at INTEGER NOT NULL,
    -- The tree the note was signed over, so that the next one begins there and not at row 0.
    subtrees BLOB,
    PRIMARY KEY (origin, size)
) STRICT, WITHOUT ROWID;

-- Which note each sink has, or still has to be given.
CREATE TABLE audit_anchor (
    sink       TEXT NOT NULL,
    origin     TEXT NOT NULL,
    size       INTEGER NOT NULL CHECK (size > 0),
    state      TEXT NOT NULL CHECK (state IN ('queued', 'put')),
    receipt    TEXT,
    put_at     INTEGER,
    attempts   INTEGER NOT NULL DEFAULT 0,
    last_error TEXT,
    PRIMARY KEY (sink, origin, size)
) STRICT, WITHOUT ROWID;
CREATE INDEX audit_anchor_queued ON audit_anchor (sink) WHERE state = 'queued';

-- Rows `first` to `last`, written to a file of their own once nothing in them can change any more.
CREATE TABLE audit_segment (
    id          INTEGER PRIMARY KEY CHECK (id > 0),
    first       INTEGER NOT NULL CHECK (first >= 0),
    last        INTEGER NOT NULL CHECK (last >= first),
    head_in     BLOB NOT NULL CHECK (length(head_in) = 32),
    head_out    BLOB NOT NULL CHECK (length(head_out) = 32),
    root        BLOB NOT NULL CHECK (length(root) = 32),
    file        TEXT NOT NULL,
    file_sha256 BLOB NOT NULL CHECK (length(file_sha256) = 32),
    newest_ts   INTEGER NOT NULL,
    state       TEXT NOT NULL CHECK (state IN ('sealed', 'pruned')),
    sealed_at   INTEGER NOT NULL,
    verified_at INTEGER,
    pruned_at   INTEGER
) STRICT;
CREATE UNIQUE INDEX audit_segment_first ON audit_segment (first);

-- A body may go once its row is sealed; everything else stays as it was written.
DROP TRIGGER audit_log_is_never_updated;
CREATE TRIGGER audit_log_is_never_updated BEFORE UPDATE ON audit_log
WHEN NOT (new.seq = old.seq AND new.event_id = old.event_id AND new.ts = old.ts AND new.kind = old.kind AND new.hash = old.hash
          AND new.leaf = x'' AND EXISTS (SELECT 1 FROM audit_segment WHERE old.seq BETWEEN first AND last))
BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;

-- A control that failed: which, from when to when, why, and what was done (PCI DSS v4.0.1 10.7.3).
CREATE TABLE failures (
    id          BLOB PRIMARY KEY CHECK (length(id) = 16),
    control     TEXT NOT NULL,
    cause       TEXT NOT NULL,
    started     INTEGER NOT NULL,
    ended       INTEGER,
    remediation TEXT,
    who         TEXT
) STRICT;
CREATE UNIQUE INDEX failures_one_open ON failures (control) WHERE ended IS NULL;

-- Whether verdicts differ or only words; whose it is; what closed it; who did it, where exactly one event names them.
ALTER TABLE drift ADD COLUMN class TEXT NOT NULL DEFAULT 'flow' CHECK (class IN ('flow', 'cosmetic'));
ALTER TABLE drift ADD COLUMN ours INTEGER CHECK (ours IN (0, 1));
ALTER TABLE drift ADD COLUMN pass BLOB REFERENCES passes (id);
ALTER TABLE drift ADD COLUMN actor TEXT;
ALTER TABLE drift ADD COLUMN evidence BLOB REFERENCES evidence (sha256);

-- Differences that a person accepted for a time, and objects that are healed no longer because somebody changes them back each time.
-- A release stays for a while, so that what happened before it does not count.
CREATE TABLE drift_decisions (
    target   TEXT NOT NULL,
    key      TEXT NOT NULL,
    kind     TEXT NOT NULL CHECK (kind IN ('missing', 'extra', 'changed', 'detached')),
    decision TEXT NOT NULL CHECK (decision IN ('accepted', 'quarantined', 'released')),
    who      TEXT NOT NULL,
    why      TEXT NOT NULL,
    set_at   INTEGER NOT NULL,
    until    INTEGER,
    -- SHA-256 over what was accepted: something else in its place is another question.
    about    BLOB CHECK (length(about) = 32),
    PRIMARY KEY (target, key, kind, decision),
    CHECK (decision <> 'accepted' OR (until IS NOT NULL AND about IS NOT NULL))
) STRICT, WITHOUT ROWID;

-- Drift reports: the period, and the bytes that were written.
CREATE TABLE reports (
    id         BLOB PRIMARY KEY CHECK (length(id) = 16),
    kind       TEXT NOT NULL CHECK (kind IN ('drift')),
    begins     INTEGER NOT NULL,
    ends       INTEGER NOT NULL CHECK (ends >= begins),
    written_at INTEGER NOT NULL,
    summary    TEXT NOT NULL CHECK (json_valid(summary)),
    html       BLOB NOT NULL REFERENCES evidence (sha256),
    json       BLOB NOT NULL REFERENCES evidence (sha256)
) STRICT;
CREATE INDEX reports_written ON reports (written_at);

-- Who released it: a person, or `system` where the controller vouched for what was on trial.
ALTER TABLE passes ADD COLUMN confirmed_by TEXT;

PRAGMA user_version = 4;
