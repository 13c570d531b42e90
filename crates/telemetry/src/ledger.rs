//! What was used by whom, until the store has it: sums, not a list.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use store::{UsageRow, UsageSums};
use types::{KeyId, ModelId};

use crate::since_1970;

const MINUTE_MS: i64 = 60_000;
const HOUR_MS: i64 = 60 * MINUTE_MS;
/// From so many entries on, which is only where the store fails for long, they are told apart less.
const ENTRIES_MAX: usize = 10_000;

/// One request that was answered, well or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Used {
    /// When the answer ended.
    pub at: SystemTime,
    /// With which key; `None` for those who had none.
    pub key: Option<KeyId>,
    /// What a person calls the key; empty without one.
    pub key_label: Arc<str>,
    /// Whose key it is; empty if nobody said.
    pub owner: Arc<str>,
    /// Which model: the id of one that exists, never what a client wrote.
    pub model: ModelId,
    /// By which endpoint, as the metrics call it.
    pub endpoint: &'static str,
    /// Whether the answer was whole and no error.
    pub is_ok: bool,
    /// Tokens of the prompt, those from a cache included.
    pub prompt_tokens: u64,
    /// Tokens generated.
    pub completion_tokens: u64,
    /// Tokens of the prompt that came from a cache.
    pub cached_tokens: u64,
    /// From the request to the answer's end.
    pub duration: Duration,
}

/// What the store does not have yet. Pure.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    entries: HashMap<Entry, Booked>,
}

/// What is told apart.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Entry {
    /// When the minute began, or the hour where there was too much; ms since 1970.
    bucket_ms: i64,
    key: Option<KeyId>,
    owner: Arc<str>,
    model: Option<ModelId>,
    endpoint: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Booked {
    key_label: Arc<str>,
    sums: UsageSums,
}

impl Ledger {
    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(crate) fn used(&mut self, used: Used) {
        let at_ms = since_1970(used.at);
        let entry = Entry {
            bucket_ms: at_ms - at_ms.rem_euclid(MINUTE_MS),
            key: used.key,
            owner: used.owner,
            model: Some(used.model),
            endpoint: used.endpoint,
        };
        let sums = UsageSums {
            requests: 1,
            errors: u64::from(!used.is_ok),
            prompt_tokens: used.prompt_tokens,
            completion_tokens: used.completion_tokens,
            cached_tokens: used.cached_tokens,
            duration_ms: u64::try_from(used.duration.as_millis()).unwrap_or(u64::MAX),
        };
        self.book(entry, Booked { key_label: used.key_label, sums });
    }

    /// Takes back what the store did not take.
    pub(crate) fn put_back(&mut self, earlier: Self) {
        let later = std::mem::replace(self, earlier);
        later.entries.into_iter().for_each(|(entry, booked)| self.book(entry, booked));
    }

    /// As the store has it.
    pub(crate) fn rows(&self) -> Vec<UsageRow> {
        let row = |(entry, booked): (&Entry, &Booked)| UsageRow {
            at_ms: entry.bucket_ms,
            key: entry.key,
            key_label: booked.key_label.to_string(),
            owner: entry.owner.to_string(),
            model: entry.model.as_ref().map_or_else(String::new, ToString::to_string),
            endpoint: entry.endpoint.to_owned(),
            sums: booked.sums,
        };
        self.entries.iter().map(row).collect()
    }

    fn book(&mut self, entry: Entry, Booked { key_label, sums }: Booked) {
        if self.entries.len() >= ENTRIES_MAX && !self.entries.contains_key(&entry) {
            self.fold();
        }
        match self.entries.get_mut(&entry) {
            Some(booked) => {
                booked.key_label = key_label;
                booked.sums.add(&sums);
            }
            None => {
                self.entries.insert(entry, Booked { key_label, sums });
            }
        }
    }

    /// Makes room: no request and no token is forgotten, only when it was exactly, and if that is not enough, which model
    /// and endpoint it was for, and at last the time altogether. What is left then is one entry for each key.
    fn fold(&mut self) {
        let latest = self.entries.keys().map(|entry| entry.bucket_ms).max().unwrap_or(0);
        let coarser: [&dyn Fn(&mut Entry); 3] = [
            &|entry| entry.bucket_ms -= entry.bucket_ms.rem_euclid(HOUR_MS),
            &|entry| (entry.model, entry.endpoint) = (None, ""),
            &|entry| entry.bucket_ms = latest,
        ];
        for coarsen in coarser {
            let mut folded: HashMap<Entry, Booked> = HashMap::new();
            for (mut entry, booked) in self.entries.drain() {
                coarsen(&mut entry);
                folded.entry(entry).and_modify(|sum| sum.sums.add(&booked.sums)).or_insert(booked);
            }
            self.entries = folded;
            if self.entries.len() <= ENTRIES_MAX / 2 {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn used(minute: u64, key: i64, model: &str) -> Used {
        Used {
            at: SystemTime::UNIX_EPOCH + Duration::from_secs(1_699_999_200 + minute * 60),
            key: (key > 0).then(|| KeyId::new(key)),
            key_label: "k".into(),
            owner: "o".into(),
            model: ModelId::new(model),
            endpoint: "chat_completions",
            is_ok: minute.is_multiple_of(2),
            prompt_tokens: 10,
            completion_tokens: 3,
            cached_tokens: 1,
            duration: Duration::from_micros(1_500_700),
        }
    }

    fn total(ledger: &Ledger) -> UsageSums {
        let mut total = UsageSums::default();
        ledger.rows().iter().for_each(|row| total.add(&row.sums));
        total
    }

    #[test]
    fn what_is_the_same_adds_up() {
        let mut ledger = Ledger::default();
        for (minute, key, model) in [(0, 1, "m"), (0, 1, "m"), (1, 1, "m"), (0, 0, "m"), (0, 1, "n")] {
            ledger.used(used(minute, key, model));
        }
        assert_eq!(ledger.rows().len(), 4);
        let sums = UsageSums {
            requests: 5,
            errors: 1,
            prompt_tokens: 50,
            completion_tokens: 15,
            cached_tokens: 5,
            duration_ms: 5 * 1500,
        };
        assert_eq!(total(&ledger), sums);
    }

    #[test]
    fn what_the_store_did_not_take_is_not_lost() {
        let mut ledger = Ledger::default();
        ledger.used(used(0, 1, "m"));
        let taken = std::mem::take(&mut ledger);
        ledger.used(Used { key_label: "new".into(), ..used(0, 1, "m") });
        ledger.used(used(0, 2, "m"));
        ledger.put_back(taken);
        assert_eq!((ledger.rows().len(), total(&ledger).requests), (2, 3));
        assert!(ledger.rows().iter().any(|row| row.key_label == "new" && row.sums.requests == 2));
    }

    #[test]
    fn without_a_store_it_stays_small_and_counts_on() {
        let mut ledger = Ledger::default();
        let requests = 60_000;
        for number in 0..requests {
            ledger.used(used(number / 7, i64::try_from(number % 300).unwrap(), &format!("m{}", number % 50)));
        }
        assert!(ledger.entries.len() <= ENTRIES_MAX, "{}", ledger.entries.len());
        assert_eq!(total(&ledger).requests, requests);
    }
}
