//! What the records amount to, for metrics.

use super::{DriftClass, DriftEntry, DriftKind, Error, Store};

/// Counts of what is on record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Measures {
    /// Passes that ended, by outcome.
    pub passes: Vec<(String, u64)>,
    /// Open drift, by kind and by what it means for packets; without what is accepted.
    pub drift: Vec<(DriftKind, DriftClass, u64)>,
    /// Rows of the tables that grow.
    pub rows: Vec<(String, u64)>,
    /// The database file and what is beside it, in bytes.
    pub bytes: u64,
}

impl Store {
    /// Counts what is on record.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn measures(&self) -> Result<Measures, Error> {
        let passes = "SELECT outcome, count(*) FROM passes WHERE outcome IS NOT NULL GROUP BY outcome";
        // The log knows its size; counting its rows would read all of it.
        let rows = "SELECT 'audit_log', size FROM audit_frontier UNION ALL SELECT 'commits', count(*) FROM commits \
                    UNION ALL SELECT 'drift', count(*) FROM drift UNION ALL SELECT 'inbox', count(*) FROM inbox \
                    UNION ALL SELECT 'outbox', count(*) FROM outbox UNION ALL SELECT 'passes', count(*) FROM passes \
                    UNION ALL SELECT 'rule_usage', count(*) FROM rule_usage";
        Ok(Measures {
            passes: self.counted(passes).await?,
            drift: counted_drift(&self.drift(true).await?),
            rows: self.counted(rows).await?,
            bytes: self.bytes(),
        })
    }

    async fn counted(&self, question: &'static str) -> Result<Vec<(String, u64)>, Error> {
        let query = sqlx::query_as(question);
        let rows: Vec<(String, i64)> = self.read("cannot count what is on record", query.fetch_all(&self.readers)).await?;
        Ok(rows.into_iter().map(|(name, count)| (name, u64::try_from(count).unwrap_or(0))).collect())
    }

    fn bytes(&self) -> u64 {
        let beside = |ending: &str| {
            let mut name = self.file.as_os_str().to_owned();
            name.push(ending);
            std::fs::metadata(name).map_or(0, |found| found.len())
        };
        ["", "-wal", "-shm"].into_iter().map(beside).sum()
    }
}

fn counted_drift(open: &[DriftEntry]) -> Vec<(DriftKind, DriftClass, u64)> {
    let mut counts = Vec::new();
    // An alert wants a number also where there is nothing wrong.
    for kind in [DriftKind::Missing, DriftKind::Extra, DriftKind::Changed, DriftKind::Detached] {
        for class in [DriftClass::Flow, DriftClass::Cosmetic] {
            let is = |row: &&DriftEntry| row.is_open() && row.kind == kind && row.class == class;
            counts.push((kind, class, open.iter().filter(is).count() as u64));
        }
    }
    counts
}
