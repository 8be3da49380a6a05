//! What this controller and this host's firewall are worth measuring by, as OpenMetrics text.
//!
//! Nothing is counted twice: what the kernel counts is read from the kernel at each scrape ([`kernel`], [`nftables`]), what is on record from the
//! database ([`records`]); only what neither keeps is counted here, in a [`Tally`]. A page is therefore made anew each time, from
//! plain values ([`Family`]); the text format is the library's.

mod forge;
mod hooks;
mod judging;
pub mod kernel;
pub mod nftables;
pub mod records;
pub mod rules;
mod tally;

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

pub use self::forge::Calls;
pub use self::hooks::Hooks;
pub use self::judging::{Judging, Spread};
pub use self::tally::{Tally, Unguarded};

/// The format's media type.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What a family's samples are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only grows; its samples are called `…_total`.
    Counter,
    /// Goes up and down.
    Gauge,
    /// How many of what was measured lie where.
    Histogram,
    /// Always 1; what it says is in its labels. Its samples are called `…_info`.
    Info,
}

/// A number.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// A count.
    Whole(u64),
    /// Seconds, mostly.
    Real(f64),
    /// Of a histogram.
    Spread(Spread),
}

impl From<Spread> for Value {
    fn from(spread: Spread) -> Self {
        Self::Spread(spread)
    }
}

impl From<u64> for Value {
    fn from(number: u64) -> Self {
        Self::Whole(number)
    }
}

impl From<f64> for Value {
    fn from(number: f64) -> Self {
        Self::Real(number)
    }
}

impl From<bool> for Value {
    fn from(yes: bool) -> Self {
        Self::Whole(u64::from(yes))
    }
}

/// Names and values.
pub type Labels = Vec<(&'static str, String)>;

/// All samples of one name.
#[derive(Debug, Clone, PartialEq)]
pub struct Family {
    name: &'static str,
    help: &'static str,
    kind: Kind,
    samples: Vec<(Labels, Value)>,
}

impl Family {
    /// A family without samples; `name` is without the ending that the kind gives, `help` without a full stop.
    #[must_use]
    pub fn new(kind: Kind, name: &'static str, help: &'static str) -> Self {
        Self { name, help, kind, samples: Vec::new() }
    }

    /// With one sample more.
    #[must_use]
    pub fn with(mut self, labels: &[(&'static str, &str)], value: impl Into<Value>) -> Self {
        self.push(labels, value);
        self
    }

    /// One sample more.
    pub fn push(&mut self, labels: &[(&'static str, &str)], value: impl Into<Value>) {
        let labels = labels.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        self.samples.push((labels, value.into()));
    }

    fn encode(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let kind = match self.kind {
            Kind::Counter => MetricType::Counter,
            Kind::Gauge => MetricType::Gauge,
            Kind::Histogram => MetricType::Histogram,
            Kind::Info => MetricType::Info,
        };
        let mut metric = encoder.encode_descriptor(self.name, self.help, None, kind)?;
        self.samples.iter().try_for_each(|(labels, value)| {
            if self.kind == Kind::Info {
                metric.encode_info(labels)
            } else if labels.is_empty() {
                self.encode_value(&mut metric, value)
            } else {
                self.encode_value(&mut metric.encode_family(labels)?, value)
            }
        })
    }

    fn encode_value(&self, metric: &mut MetricEncoder<'_>, value: &Value) -> fmt::Result {
        match (self.kind, value) {
            (Kind::Counter, Value::Whole(number)) => metric.encode_counter::<NoLabelSet, u64, f64>(number, None),
            (Kind::Counter, Value::Real(number)) => metric.encode_counter::<NoLabelSet, f64, f64>(number, None),
            (_, Value::Spread(spread)) => {
                metric.encode_histogram::<NoLabelSet>(spread.sum(), spread.count(), &spread.buckets(), None)
            }
            (_, Value::Whole(number)) => metric.encode_gauge(number),
            (_, Value::Real(number)) => metric.encode_gauge(number),
        }
    }
}

/// What one scrape answers.
#[derive(Debug)]
struct Page(Vec<Family>);

impl Collector for Page {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        self.0.iter().filter(|family| !family.samples.is_empty()).try_for_each(|family| family.encode(&mut encoder))
    }
}

/// The page as text. Families without samples are left out.
///
/// # Errors
/// Never for a text in memory; the library's signature has one.
pub fn render(families: Vec<Family>) -> Result<String, fmt::Error> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Page(families)));
    let mut page = String::new();
    text::encode(&mut page, &registry)?;
    Ok(page)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_what_the_format_says() {
        let page = render(vec![
            Family::new(Kind::Counter, "drops", "Packets dropped").with(&[("reason", "no_rule"), ("hook", "tc_in")], 3_u64),
            Family::new(Kind::Counter, "away_seconds", "Time away").with(&[], 1.5),
            Family::new(Kind::Gauge, "flows", "Flows remembered").with(&[], 7_u64).with(&[("table", "tcp4")], true),
            Family::new(Kind::Info, "build", "This program").with(&[("version", "1.0")], 1_u64),
            Family::new(Kind::Gauge, "silent", "Nothing to say"),
        ])
        .unwrap();
        let expected = "# HELP drops Packets dropped\n# TYPE drops counter\ndrops_total{reason=\"no_rule\",hook=\"tc_in\"} 3\n\
                        # HELP away_seconds Time away\n# TYPE away_seconds counter\naway_seconds_total 1.5\n\
                        # HELP flows Flows remembered\n# TYPE flows gauge\nflows 7\nflows{table=\"tcp4\"} 1\n\
                        # HELP build This program\n# TYPE build info\nbuild_info{version=\"1.0\"} 1\n# EOF\n";
        assert_eq!(page, expected);
    }

    #[test]
    fn what_people_wrote_cannot_break_out_of_its_label() {
        let page = render(vec![Family::new(Kind::Gauge, "g", "H").with(&[("rule", "a\"} 1\nb\\")], 2_u64)]).unwrap();
        assert!(page.contains("g{rule=\"a\\\"} 1\\nb\\\\\"} 2\n"), "{page}");
    }
}
