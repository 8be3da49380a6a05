//! A reader of the OpenMetrics text format that is stricter than most: what it takes, every scraper takes.

use std::collections::{BTreeMap, BTreeSet};

/// A page as it was read.
#[derive(Debug, Default)]
pub struct Measured {
    samples: BTreeMap<String, f64>,
    families: BTreeMap<String, String>,
}

impl Measured {
    /// Reads a page, or says which line breaks the format.
    ///
    /// # Errors
    /// The first line that is not as <https://prometheus.io/docs/specs/om/open_metrics_spec/> says.
    pub fn read(page: &str) -> Result<Self, String> {
        let body = page.strip_suffix("# EOF\n").ok_or("the page does not end with # EOF")?;
        let mut measured = Self::default();
        let (mut helped, mut current) = (BTreeSet::new(), String::new());
        for line in body.lines() {
            let wrong = |what: &str| format!("{what}: {line}");
            if let Some(rest) = line.strip_prefix("# HELP ") {
                let (name, help) = rest.split_once(' ').ok_or_else(|| wrong("no help"))?;
                if help.trim().is_empty() || !helped.insert(name.to_owned()) {
                    return Err(wrong("help is empty, or there twice"));
                }
                name.clone_into(&mut current);
            } else if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').ok_or_else(|| wrong("no type"))?;
                let known = ["counter", "gauge", "histogram", "info"].contains(&kind);
                if name != current || !known || measured.families.insert(name.to_owned(), kind.to_owned()).is_some() {
                    return Err(wrong("type is out of place"));
                }
            } else {
                let (series, value) = line.rsplit_once(' ').ok_or_else(|| wrong("no value"))?;
                let kind = measured.families.get(&current).ok_or_else(|| wrong("no type before"))?;
                let endings: &[&str] = match kind.as_str() {
                    "counter" => &["_total"],
                    "histogram" => &["_sum", "_count", "_bucket"],
                    "info" => &["_info"],
                    _ => &[""],
                };
                let name = series.split('{').next().unwrap_or_default();
                if !name.strip_prefix(current.as_str()).is_some_and(|ending| endings.contains(&ending)) {
                    return Err(wrong("a sample of another family"));
                }
                labels(series.strip_prefix(name).unwrap_or_default()).map_err(|what| wrong(&what))?;
                let value: f64 = value.parse().map_err(|_| wrong("not a number"))?;
                if kind == "counter" && (value < 0.0 || value.is_nan()) {
                    return Err(wrong("a counter below zero"));
                }
                if measured.samples.insert(series.to_owned(), value).is_some() {
                    return Err(wrong("a series that is there twice"));
                }
            }
        }
        measured.histograms_add_up().map(|()| measured)
    }

    /// Buckets without labels of their own: the one without an end holds all.
    fn histograms_add_up(&self) -> Result<(), String> {
        let plain = |name: &&String| self.samples.contains_key(&format!("{name}_count"));
        for name in self.families.iter().filter(|(_, kind)| *kind == "histogram").map(|(name, _)| name).filter(plain) {
            let most = self.samples.iter().filter(|(series, _)| series.starts_with(&format!("{name}_bucket{{")));
            let most = most.map(|(_, count)| *count).fold(0.0, f64::max);
            let endless = self.value(&format!("{name}_bucket{{le=\"+Inf\"}}"));
            if endless != self.value(&format!("{name}_count")) || endless != Some(most) {
                return Err(format!("{name} does not add up"));
            }
        }
        Ok(())
    }

    /// The value of one series, written as on the page.
    #[must_use]
    pub fn value(&self, series: &str) -> Option<f64> {
        self.samples.get(series).copied()
    }

    /// The sum over all series of a name whose labels contain a text.
    #[must_use]
    pub fn sum(&self, name: &str, with: &str) -> f64 {
        let own = |series: &&String| series.split('{').next() == Some(name) && series.contains(with);
        self.samples.keys().filter(own).filter_map(|series| self.samples.get(series)).sum()
    }

    /// Names of all families.
    pub fn families(&self) -> impl Iterator<Item = &str> {
        self.families.keys().map(String::as_str)
    }
}

/// `{a="b",c="d"}`, with escapes; each name once.
fn labels(text: &str) -> Result<(), String> {
    if text.is_empty() {
        return Ok(());
    }
    let inner = text.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')).ok_or("labels without braces")?;
    let (mut rest, mut seen) = (inner, BTreeSet::new());
    loop {
        let (name, after) = rest.split_once("=\"").ok_or("a label without a value")?;
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if name.is_empty() || !name.chars().all(plain) || !seen.insert(name) {
            return Err(format!("label {name} is not a name, or is there twice"));
        }
        let end = closing(after).ok_or("a value without an end")?;
        rest = after.get(end + 1..).unwrap_or_default();
        match rest.strip_prefix(',') {
            Some(next) => rest = next,
            None if rest.is_empty() => return Ok(()),
            None => return Err("something after a value".to_owned()),
        }
    }
}

/// Where the quote is that ends a value.
fn closing(text: &str) -> Option<usize> {
    let mut escaped = false;
    text.char_indices().find_map(|(at, c)| {
        let end = c == '"' && !escaped;
        escaped = c == '\\' && !escaped;
        end.then_some(at)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_that_breaks_the_format_is_refused() {
        let page = |samples: &str| Measured::read(&format!("# HELP a Help\n# TYPE a counter\n{samples}# EOF\n"));
        assert_eq!(page("a_total{x=\"1\\\"}\",y=\"\"} 2\n").unwrap().sum("a_total", ""), 2.0);
        for bad in [
            "a 1\n",
            "a_total{x=\"1\"}\n",
            "a_total{x=1} 1\n",
            "a_total -1\n",
            "a_total 1\na_total 1\n",
            "b 1\n",
            "a_total{x=\"1\",x=\"2\"} 1\n",
        ] {
            assert!(page(bad).is_err(), "{bad}");
        }
        assert!(Measured::read("# HELP a Help\n# TYPE a counter\na_total 1\n").is_err(), "no end");
        let histogram = |endless: u8, count: u8| {
            Measured::read(&format!(
                "# HELP a Help\n# TYPE a histogram\na_sum 0.5\na_count {count}\na_bucket{{le=\"1.0\"}} 2\n\
                 a_bucket{{le=\"+Inf\"}} {endless}\n# EOF\n"
            ))
        };
        assert!(histogram(3, 3).is_ok() && histogram(3, 4).is_err() && histogram(1, 1).is_err());
    }
}
