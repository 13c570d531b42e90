//! One answer.

use std::time::{Duration, SystemTime};

use store::InferenceRow;
use types::ModelKey;

use crate::{duration, millis, moment, since_1970};

/// From so many generated tokens on, an engine's generation speed says something: the first one is the prompt's.
const TOKENS_FOR_SPEED: u64 = 2;

/// An answer that a model completed. What nobody told is 0.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// Which model gave it.
    pub model: ModelKey,
    /// When it ended.
    pub at: SystemTime,
    /// Tokens of the prompt.
    pub prompt_tokens: u64,
    /// Tokens generated.
    pub completion_tokens: u64,
    /// How fast the engine read the prompt, tokens/s.
    pub prompt_tokens_per_second: f64,
    /// How fast it generated, tokens/s.
    pub generation_tokens_per_second: f64,
    /// Time to the first token.
    pub latency: Duration,
    /// Time to the last one.
    pub total_time: Duration,
    /// How long the engine read the prompt.
    pub prompt_time: Duration,
    /// How long it generated.
    pub generation_time: Duration,
}

impl Answer {
    /// How fast it came, tokens/s: as the engine measured it, else its tokens over the whole time, else 0.
    pub fn tokens_per_second(&self) -> f64 {
        if self.completion_tokens >= TOKENS_FOR_SPEED && self.generation_tokens_per_second > 0.0 {
            return self.generation_tokens_per_second;
        }
        if self.total_time.is_zero() {
            return 0.0;
        }
        #[expect(clippy::cast_precision_loss, reason = "an answer has far fewer than 2^53 tokens")]
        let tokens = self.completion_tokens as f64;
        tokens / self.total_time.as_secs_f64()
    }

    pub(crate) fn row(&self) -> InferenceRow {
        InferenceRow {
            at_ms: since_1970(self.at),
            model: self.model.clone(),
            prompt_tokens: self.prompt_tokens,
            completion_tokens: self.completion_tokens,
            prompt_tokens_per_second: self.prompt_tokens_per_second,
            generation_tokens_per_second: self.generation_tokens_per_second,
            latency_ms: millis(self.latency),
            total_time_ms: millis(self.total_time),
            prompt_time_ms: millis(self.prompt_time),
            generation_time_ms: millis(self.generation_time),
        }
    }
}

impl From<InferenceRow> for Answer {
    fn from(row: InferenceRow) -> Self {
        Self {
            model: row.model,
            at: moment(row.at_ms),
            prompt_tokens: row.prompt_tokens,
            completion_tokens: row.completion_tokens,
            prompt_tokens_per_second: row.prompt_tokens_per_second,
            generation_tokens_per_second: row.generation_tokens_per_second,
            latency: duration(row.latency_ms),
            total_time: duration(row.total_time_ms),
            prompt_time: duration(row.prompt_time_ms),
            generation_time: duration(row.generation_time_ms),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use types::{ModelId, Variant};

    use super::*;

    /// An answer that ended `second` seconds after 1970.
    pub(crate) fn answer(second: u64) -> Answer {
        Answer {
            model: ModelKey { id: ModelId::new("m"), variant: Variant::new("Q4_0") },
            at: SystemTime::UNIX_EPOCH + Duration::from_secs(second),
            prompt_tokens: 31,
            completion_tokens: 80,
            prompt_tokens_per_second: 200.0,
            generation_tokens_per_second: 50.0,
            latency: Duration::from_millis(150),
            total_time: Duration::from_millis(1800),
            prompt_time: Duration::from_micros(140_500),
            generation_time: Duration::from_millis(1600),
        }
    }

    #[test]
    fn the_engine_knows_best_how_fast_it_was() {
        assert_eq!(answer(0).tokens_per_second(), 50.0);
        let silent = Answer { generation_tokens_per_second: 0.0, total_time: Duration::from_secs(2), ..answer(0) };
        assert_eq!(silent.tokens_per_second(), 40.0);
        // What it says of a single token is the time of nothing.
        let single = Answer { completion_tokens: 1, generation_tokens_per_second: 1e6, ..silent };
        assert_eq!(single.tokens_per_second(), 0.5);
        let vectors = Answer { completion_tokens: 0, generation_tokens_per_second: 0.0, ..answer(0) };
        assert_eq!(vectors.tokens_per_second(), 0.0);
        let at_once = Answer { generation_tokens_per_second: 0.0, total_time: Duration::ZERO, ..answer(0) };
        assert_eq!(at_once.tokens_per_second(), 0.0);
    }

    #[test]
    fn a_row_says_it_all() {
        assert_eq!(Answer::from(answer(1_700_000_000).row()), answer(1_700_000_000));
    }
}
