//! The models kept on this machine: their configurations, files, flags and downloads, the limit on them, and clean-up.
//!
//! Owns which models may be had and which of their files may go. Must not know HTTP, engines, or who is asking.
