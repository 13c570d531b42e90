//! How fast bytes come: the mean of the last seconds, so that the figure is calm.

use std::collections::VecDeque;
use std::time::Duration;

/// Over which time.
const WINDOW: Duration = Duration::from_secs(10);

/// Looks at how much is there. Times count from any one moment.
#[derive(Debug, Default)]
pub(super) struct Speed {
    looks: VecDeque<(Duration, u64)>,
}

impl Speed {
    /// `bytes` are there at `now`.
    pub(super) fn look(&mut self, now: Duration, bytes: u64) {
        if self.looks.back().is_some_and(|(_, before)| *before > bytes) {
            // It began anew.
            self.looks.clear();
        }
        self.looks.push_back((now, bytes));
        // The last look before the window stays: it is the window's beginning.
        while self.looks.get(1).is_some_and(|(at, _)| now.saturating_sub(*at) >= WINDOW) {
            self.looks.pop_front();
        }
    }

    /// Forgets all, as when a download is paused.
    pub(super) fn forget(&mut self) {
        self.looks.clear();
    }

    /// Bytes per second; 0 while that cannot be said.
    pub(super) fn bytes_per_second(&self) -> u64 {
        let (Some((from, first)), Some((to, last))) = (self.looks.front(), self.looks.back()) else { return 0 };
        let millis = to.saturating_sub(*from).as_millis();
        let rate = u128::from(last - first).saturating_mul(1000).checked_div(millis).unwrap_or(0);
        u64::try_from(rate).unwrap_or(u64::MAX)
    }

    /// How long `bytes` more will take.
    pub(super) fn time_for(&self, bytes: u64) -> Option<Duration> {
        let rate = self.bytes_per_second();
        (rate > 0).then(|| Duration::from_secs(bytes.div_ceil(rate)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_speed_is_that_of_the_last_seconds() {
        let mut speed = Speed::default();
        let mut look = |second: u64, bytes| {
            speed.look(Duration::from_secs(second), bytes);
            (speed.bytes_per_second(), speed.time_for(1000).map(|time| time.as_secs()))
        };
        assert_eq!(look(0, 0), (0, None));
        assert_eq!(look(2, 200), (100, Some(10)));
        assert_eq!(look(10, 1000), (100, Some(10)));
        assert_eq!(look(12, 1000), (80, Some(13)), "it stands still, and the figure falls slowly");
        assert_eq!(look(22, 1000), (0, None));
        assert_eq!(look(23, 500), (0, None), "begun anew");
        assert_eq!(look(24, 510), (10, Some(100)));
    }
}
