//! Pure estimator: how much memory one model takes on one machine, and how it should be started there.
//!
//! Values in, values out: no clock, no file, no environment. The same numbers serve the advice, the placement and the
//! eviction. An engine's own report, once there is one, replaces the estimate; that is its keeper's (`node`'s) business.

mod assess;
mod facts;
mod level;
mod machine;
mod memory;
mod plan;
mod quality;
mod reads;
mod runtime;
mod score;
pub mod speed;

pub use assess::{Assessment, CONTEXT_DEFAULT, Candidate, Terms, Variant, assess, rate};
pub use facts::Facts;
pub use level::{FitLevel, RunMode, USABLE_SHARE};
pub use machine::{Accelerator, Cpu, Machine};
pub use memory::{OnAccelerator, Setting, in_ram, memory, on_accelerator, with_overhead};
pub use plan::{Capacity, Limit, Misfit, Plan, Wish, largest_context, plan, plan_on};
pub use quality::{Quality, Trend, quality, quality_loss};
pub use reads::places;
pub use score::{Components, Demand};
