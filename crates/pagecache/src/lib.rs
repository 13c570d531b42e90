//! Keeps files in RAM: their pages stay locked in the page cache, so that whoever reads them next need not wait for a disk.
//!
//! The only crate with `unsafe`: mapping a file is, because somebody else may change it. Nothing here reads through the
//! mapping.
