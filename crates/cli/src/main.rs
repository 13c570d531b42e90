//! The binary: arguments to settings to command.

fn main() {}
