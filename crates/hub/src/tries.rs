//! How often something is tried again, and after which wait.

use std::time::Duration;

use crate::settings::Retries;

/// So much must have come since the last failure for it to be forgiven: a connection that breaks now and then must not
/// end a download of hours, one that gives a few bytes each time must.
const FORGIVEN_AFTER: u64 = 1 << 20;

/// Failures so far.
#[derive(Debug)]
pub(crate) struct Tries {
    retries: Retries,
    failed: u32,
    wait: Duration,
    since_failure: u64,
}

impl Tries {
    pub(crate) fn new(retries: Retries) -> Self {
        Self { retries, failed: 0, wait: retries.first_wait, since_failure: 0 }
    }

    /// Bytes have come.
    pub(crate) fn came(&mut self, bytes: u64) {
        self.since_failure = self.since_failure.saturating_add(bytes);
    }

    /// A try failed: how long to wait before the next, or how many there were if they are enough. `asked`: how long the
    /// server wants not to be asked.
    pub(crate) fn failed(&mut self, asked: Option<Duration>) -> Result<Duration, u32> {
        if self.since_failure >= FORGIVEN_AFTER {
            *self = Self::new(self.retries);
        }
        self.since_failure = 0;
        self.failed += 1;
        let pause = asked.unwrap_or(self.wait);
        if self.failed >= self.retries.attempts || asked.is_some_and(|asked| asked > self.retries.longest_wait) {
            return Err(self.failed);
        }
        self.wait = self.wait.saturating_mul(2).min(self.retries.longest_wait);
        Ok(pause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_until_there_were_enough_tries() {
        let second = Duration::from_secs;
        let retries = Retries { attempts: 4, first_wait: second(1), longest_wait: second(3) };
        let mut tries = Tries::new(retries);
        assert_eq!(tries.failed(None), Ok(second(1)));
        assert_eq!(tries.failed(Some(second(3))), Ok(second(3)));
        tries.came(FORGIVEN_AFTER - 1);
        assert_eq!(tries.failed(None), Ok(second(3)));
        assert_eq!(tries.failed(None), Err(4));
        tries.came(FORGIVEN_AFTER);
        assert_eq!(tries.failed(None), Ok(second(1)), "what came is worth new tries");
        assert_eq!(tries.failed(Some(second(4))), Err(2), "nobody waits that long");
    }
}
