//! What is recommended on machines that people have: snapshots that a reader of this field should nod at.
//!
//! They hold names and how to run them, no scores and no speeds, so that only a change of order shows.

use advisor::{Analysis, Book, Known, List, Query, Terms, machine};
use catalog::catalogue::Catalogue;
use hardware::System;
use types::MemoryUse;

const USE_CASES: [&str; 6] = ["general", "coding", "reasoning", "chat", "multimodal", "embedding"];
/// Models for each use.
const SHOWN: &str = "5";

/// The best few for each use, a line each.
fn top(words: &str) -> String {
    let system = System::simulated(words).unwrap();
    let machine = machine(&system, &MemoryUse::default());
    let book = Book::new(Catalogue::embedded().models());
    let analysis = Analysis::of(&book, &machine, &Terms::default(), &Known::default());
    let mut text = String::new();
    for use_case in USE_CASES {
        let parameters = [("use_case", use_case), ("limit", SHOWN)];
        let parameters = parameters.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let (_, rows) = analysis.list(&book, &Query::read(List::Top, None, &parameters).unwrap());
        text.push_str(&format!("{use_case}\n"));
        for row in rows {
            let row = row.wire(&book, &machine);
            let quantization = row.best_quant.as_deref().unwrap_or("-");
            text.push_str(&format!("  {:<48} {quantization:<12} {:<8} {}\n", row.name, row.runtime, row.run_mode));
        }
    }
    text
}

#[test]
fn rtx_4090() {
    insta::assert_snapshot!(top("RTX 4090, 64 GB"));
}

#[test]
fn two_rtx_3090() {
    insta::assert_snapshot!(top("2x RTX 3090, 128 GB"));
}

#[test]
fn m4_max() {
    insta::assert_snapshot!(top("M4 Max 128 GB"));
}

#[test]
fn strix_halo() {
    insta::assert_snapshot!(top("Ryzen AI Max+ 395 128 GB"));
}

#[test]
fn eight_h100() {
    insta::assert_snapshot!(top("8x H100, 1024 GB"));
}

#[test]
fn laptop_with_8_gib_of_vram() {
    insta::assert_snapshot!(top("RTX 4060 Laptop, 32 GB"));
}

#[test]
fn laptop_without_gpu() {
    insta::assert_snapshot!(top("16 GB"));
}
