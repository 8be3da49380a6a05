//! Which rules are used, over restarts and reboots. Counters are no decisions: they are not in the audit log.

use jiff::Timestamp;
use policy::lower::bpf::ids::RuleName;
use policy::net::Direction;

use super::{Error, Store, from_ns, to_ns};
use crate::usage::Usage;

/// Rules that have gone are remembered this long, as the audit log is.
const GONE_DAYS: i64 = 400;

type Row = (String, String, String, String, i64, Option<i64>, i64, Option<i64>, i64, i64, String);

/// A rule's use as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleUsage {
    /// Where the rule is enforced.
    pub target: String,
    /// Its use.
    pub usage: Usage,
    /// Which set of counters its `raw` is from.
    pub world: String,
}

impl Store {
    /// The use of every rule on record, by target and name, gone ones included.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn rule_usage(&self) -> Result<Vec<RuleUsage>, Error> {
        let doing = "cannot read which rules are used";
        let known = sqlx::query_scalar("SELECT count(*) FROM sqlite_schema WHERE name = 'rule_usage'");
        let tables: i64 = self.read(doing, known.fetch_one(&self.readers)).await?;
        if tables == 0 {
            // A database that an older controller still has.
            return Ok(Vec::new());
        }
        let query = sqlx::query_as(
            "SELECT target, policy, direction, rule, since, last_hit, flows, gone_at, number, raw, world FROM rule_usage \
             ORDER BY target, policy, direction, rule",
        );
        let rows: Vec<Row> = self.read(doing, query.fetch_all(&self.readers)).await?;
        rows.into_iter().map(from_row).collect()
    }

    /// Writes the use of rules of one target down, in place of what was there for each.
    ///
    /// # Errors
    /// The database cannot be written.
    pub async fn note_rule_usage(&self, target: String, world: String, rows: Vec<Usage>, now: Timestamp) -> Result<(), Error> {
        self.write(move |tx| {
            Box::pin(async move {
                let writing = |source| Error::sqlite("cannot write down which rules are used", source);
                for row in &rows {
                    let whole = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
                    sqlx::query(
                        "INSERT OR REPLACE INTO rule_usage \
                         (target, policy, direction, rule, since, last_hit, flows, gone_at, number, raw, world) \
                         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                    )
                    .bind(&target)
                    .bind(&row.name.policy)
                    .bind(row.name.direction.map_or("", Direction::name))
                    .bind(&row.name.rule)
                    .bind(to_ns(row.since))
                    .bind(row.last_hit.map(to_ns))
                    .bind(whole(row.flows))
                    .bind(row.gone.map(to_ns))
                    .bind(i64::from(row.number))
                    .bind(whole(row.raw))
                    .bind(&world)
                    .execute(tx.connection())
                    .await
                    .map_err(writing)?;
                }
                let old = to_ns(now).saturating_sub(GONE_DAYS * 86_400 * 1_000_000_000);
                let forget = sqlx::query("DELETE FROM rule_usage WHERE gone_at < ?").bind(old);
                forget.execute(tx.connection()).await.map(drop).map_err(writing)
            })
        })
        .await
    }
}

fn from_row(row: Row) -> Result<RuleUsage, Error> {
    let (target, policy, direction, rule, since, last_hit, flows, gone, number, raw, world) = row;
    let direction = match direction.as_str() {
        "" => None,
        word => Some(
            Direction::BOTH
                .into_iter()
                .find(|direction| direction.name() == word)
                .ok_or_else(|| Error::Damaged(format!("a rule of direction {word}")))?,
        ),
    };
    let usage = Usage {
        name: RuleName { policy, direction, rule },
        since: from_ns(since),
        last_hit: last_hit.map(from_ns),
        flows: u64::try_from(flows).unwrap_or(0),
        gone: gone.map(from_ns),
        number: u32::try_from(number).map_err(|_| Error::Damaged(format!("a rule with number {number}")))?,
        raw: u64::try_from(raw).unwrap_or(0),
    };
    Ok(RuleUsage { target, usage, world })
}
