//! Figures as they are shown: the median over the rounds, the least and the greatest, and whether a target is reached.

use std::time::Duration;

use hdrhistogram::Histogram;

/// One figure over the rounds.
pub(crate) struct Spread {
    least: f64,
    pub(crate) median: f64,
    greatest: f64,
}

impl Spread {
    /// Of any number of figures; of none it is not a number.
    pub(crate) fn of(figures: impl Iterator<Item = f64>) -> Self {
        let mut figures: Vec<f64> = figures.collect();
        figures.sort_by(f64::total_cmp);
        let at = |index: usize| figures.get(index).copied().unwrap_or(f64::NAN);
        Self { least: at(0), median: at(figures.len() / 2), greatest: at(figures.len().saturating_sub(1)) }
    }

    /// Whether some round of one lies among the rounds of the other: then the medians' difference may be chance.
    pub(crate) fn overlaps(&self, other: &Self) -> bool {
        self.least <= other.greatest && other.least <= self.greatest
    }

    pub(crate) fn range(&self) -> String {
        // Small figures differ in what a whole number does not show.
        let digits = usize::from(self.greatest < 100.0);
        format!("{:.digits$}..{:.digits$}", self.least, self.greatest)
    }
}

/// Whether a target is reached, in a word that is easy to search for.
pub(crate) fn word(well: bool) -> &'static str {
    if well { "reached" } else { "MISSED" }
}

/// A quantile of nanoseconds, in microseconds.
#[expect(clippy::cast_precision_loss, reason = "nanoseconds of one request are far below 2^52")]
pub(crate) fn micros(histogram: &Histogram<u64>, quantile: f64) -> f64 {
    histogram.value_at_quantile(quantile) as f64 / 1000.0
}

pub(crate) fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

#[expect(clippy::cast_precision_loss, reason = "one decimal is shown")]
pub(crate) fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_has_its_median_between_its_ends() {
        let spread = Spread::of([300.0, 100.0, 200.0].into_iter());
        assert_eq!((spread.median, spread.range().as_str()), (200.0, "100..300"));
        assert!(spread.overlaps(&Spread::of([300.0, 400.0].into_iter())));
        assert!(!spread.overlaps(&Spread::of([301.0, 400.0].into_iter())));
        assert_eq!(Spread::of([1.25].into_iter()).range(), "1.2..1.2");
    }
}
