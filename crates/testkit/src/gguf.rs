//! Writes small GGUF files of any architecture, sound or damaged.
