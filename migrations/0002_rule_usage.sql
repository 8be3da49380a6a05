-- Which rules are used (PCI DSS v4.0.1 1.2.7), added up over restarts, swaps and reboots. Not audited: a counter is no decision.

-- One row per rule of a target. `number` is the rule's counter in the data path and `raw` what that counter said when `flows` was
-- written; `world` names the set of counters, which begins at zero when there is another one (after a reboot, say).
CREATE TABLE rule_usage (
    target    TEXT NOT NULL,
    policy    TEXT NOT NULL,
    direction TEXT NOT NULL CHECK (direction IN ('ingress', 'egress', '')),
    rule      TEXT NOT NULL,
    since     INTEGER NOT NULL,
    last_hit  INTEGER,
    flows     INTEGER NOT NULL CHECK (flows >= 0),
    gone_at   INTEGER,
    number    INTEGER NOT NULL CHECK (number > 0),
    raw       INTEGER NOT NULL CHECK (raw >= 0),
    world     TEXT NOT NULL,
    PRIMARY KEY (target, policy, direction, rule)
) STRICT, WITHOUT ROWID;

PRAGMA user_version = 2;
