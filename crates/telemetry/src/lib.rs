//! What happened lately: answers and swaps, with their times, and the averages people ask for.
//!
//! Owns a bounded window in memory and its copy in the store. Must not know HTTP, engines, or who counts.
