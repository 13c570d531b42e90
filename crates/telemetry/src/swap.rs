//! One swap.

use std::time::{Duration, SystemTime};

use store::SwapRow;
use types::ModelKey;

use crate::{duration, millis, moment, since_1970};

/// One model made room for another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Swap {
    /// When the new model was ready.
    pub at: SystemTime,
    /// The model that left.
    pub from: ModelKey,
    /// The model that came.
    pub to: ModelKey,
    /// How long it took.
    pub time: Duration,
}

impl Swap {
    pub(crate) fn row(&self) -> SwapRow {
        SwapRow { at_ms: since_1970(self.at), from: self.from.clone(), to: self.to.clone(), time_ms: millis(self.time) }
    }
}

impl From<SwapRow> for Swap {
    fn from(row: SwapRow) -> Self {
        Self { at: moment(row.at_ms), from: row.from, to: row.to, time: duration(row.time_ms) }
    }
}
