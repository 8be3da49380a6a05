-- What is said to forges beside statuses: one comment per request. And what they say of a commit: who signed it, who approved it.

-- Pull or merge requests whose head is judged. One forge is configured, so a number is enough. A comment is found again by
-- `comment_id`; `comment_sha256` is the text the forge has, so that the same is not said twice.
CREATE TABLE requests (
    number         INTEGER PRIMARY KEY CHECK (number > 0),
    head           BLOB CHECK (length(head) IN (20, 32)),
    state          TEXT NOT NULL CHECK (state IN ('open', 'closed')),
    comment_id     TEXT,
    comment_sha256 BLOB CHECK (length(comment_sha256) = 32),
    first_seen     INTEGER NOT NULL,
    seen           INTEGER NOT NULL,
    CHECK ((state = 'open') = (head IS NOT NULL))
) STRICT;
CREATE INDEX requests_open ON requests (number) WHERE state = 'open';

-- Who signed it; who approved the request it came by (PCI DSS v4.0.1 6.5.1), null as long as nobody was asked.
ALTER TABLE commits ADD COLUMN signed_by TEXT;
ALTER TABLE commits ADD COLUMN approvals TEXT CHECK (json_valid(approvals));
CREATE INDEX commits_unreviewed ON commits (first_seen) WHERE approvals IS NULL;

-- A comment is about a request; its text is in `evidence`. A status may name the ref it is for, which GitLab files it under.
ALTER TABLE outbox ADD COLUMN request INTEGER CHECK (request > 0);
ALTER TABLE outbox ADD COLUMN body BLOB REFERENCES evidence (sha256);
ALTER TABLE outbox ADD COLUMN ref TEXT;
CREATE UNIQUE INDEX outbox_one_comment_waiting ON outbox (request) WHERE state = 'queued' AND kind = 'comment';

PRAGMA user_version = 3;
