//! Verifying exports, one after another.

use std::path::PathBuf;

use super::reader::{Export, Next, Unreadable};
use crate::audit::VerifierKey;
use crate::audit::verify::{Chain, Evidence, Extent, Fault, Options, Report, conclude};

/// Rows that are held at a time.
const ROWS_AT_ONCE: usize = 512;

/// Exports of one log, in order.
pub struct Exports(Vec<Export>);

/// What ended the walk before the last file did.
enum Stop {
    Fault(Fault),
    /// Rows its header names are not in the file.
    Short,
    Unreadable(Unreadable),
}

impl Exports {
    /// Opens all of them.
    ///
    /// # Errors
    /// One cannot be read.
    pub fn open(files: &[PathBuf]) -> Result<Self, Unreadable> {
        files.iter().map(|file| Export::open(file)).collect::<Result<_, _>>().map(Self)
    }

    /// The keys their headers name.
    #[must_use]
    pub fn keys(&self) -> Vec<VerifierKey> {
        self.0.iter().filter_map(|export| export.header.verifiers()).flatten().collect()
    }

    /// Verifies them as one log.
    #[must_use]
    pub fn verify(mut self, mut evidence: Evidence, options: &Options) -> Report {
        for export in &self.0 {
            if let Some(note) = export.note() {
                evidence.last_line(&format!("last line of {}", export.file()), note);
            }
        }
        let Some(first) = self.0.first() else { return Report::unreadable("no export was named".to_owned()) };
        let before = first.header.before().unwrap_or_default();
        let mut chain = Chain::starting(first.header.first, before).with_marks(evidence.sizes());
        let mut end = 0;
        let mut walked = Ok(());
        for export in &mut self.0 {
            end = export.header.last.saturating_add(1);
            match follow(&mut chain, export) {
                Ok(()) => {}
                Err(Stop::Short) => break,
                Err(Stop::Fault(fault)) => {
                    walked = Err(fault);
                    break;
                }
                Err(Stop::Unreadable(why)) => return Report::unreadable(why.to_string()),
            }
        }
        let extent = Extent { end: options.end().unwrap_or(0).max(end), ..Extent::default() };
        let fault = conclude(&chain, walked, &extent, &evidence, options);
        Report::of(&chain, &evidence, fault.as_ref(), options)
    }
}

fn follow(chain: &mut Chain, export: &mut Export) -> Result<(), Stop> {
    let (first, before) = (export.header.first, export.header.before().unwrap_or_default());
    if first > chain.next() {
        return Err(Stop::Fault(Fault::Missing { first: chain.next(), last: first - 1 }));
    }
    if first < chain.next() {
        return Err(Stop::Fault(Fault::Again { seq: first, expected: chain.next() }));
    }
    if before != *chain.head() {
        return Err(Stop::Fault(Fault::Chain { seq: first, prev: before, before: *chain.head() }));
    }
    loop {
        let (rows, next) = export.rows(ROWS_AT_ONCE);
        chain.follow(rows).map_err(Stop::Fault)?;
        match next {
            Next::More => {}
            Next::End if chain.next() <= export.header.last => return Err(Stop::Short),
            Next::End => return Ok(()),
            Next::Unreadable(why) => return Err(Stop::Unreadable(why)),
        }
    }
}
