//! Minima, medians, and how sure a ratio is.

/// Several measurements of one thing.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rounds(pub(crate) Vec<f64>);

impl Rounds {
    pub(crate) fn min(&self) -> f64 {
        self.0.iter().copied().fold(f64::INFINITY, f64::min)
    }

    pub(crate) fn median(&self) -> f64 {
        median(self.0.clone())
    }

    /// Each round less the same round of `other`.
    pub(crate) fn less(&self, other: &Self) -> Self {
        Self(self.0.iter().zip(&other.0).map(|(own, other)| own - other).collect())
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Resamplings of a ratio.
const RESAMPLINGS: usize = 2_000;

/// The ratio of two medians, and the bounds that 95 of 100 resamplings keep (percentile bootstrap).
pub(crate) fn ratio(above: &Rounds, below: &Rounds) -> (f64, f64, f64) {
    let mut random = Random(0x9E37_79B9_7F4A_7C15);
    let mut ratios: Vec<f64> = (0..RESAMPLINGS).map(|_| median(random.pick(&above.0)) / median(random.pick(&below.0))).collect();
    ratios.sort_by(f64::total_cmp);
    (above.median() / below.median(), ratios[RESAMPLINGS / 40], ratios[RESAMPLINGS - RESAMPLINGS / 40 - 1])
}

/// A ratio as text.
pub(crate) fn words((ratio, low, high): (f64, f64, f64)) -> String {
    format!("{ratio:.2} ({low:.2}–{high:.2})")
}

/// xorshift64.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn pick(&mut self, from: &[f64]) -> Vec<f64> {
        (0..from.len()).map(|_| from[self.next() as usize % from.len()]).collect()
    }
}
