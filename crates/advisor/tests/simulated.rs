//! What is recommended on machines that people have: snapshots that a reader of this field should nod at.

use advisor::{Analysis, Book, Known, List, Query, Terms, machine};
use catalog::catalogue::Catalogue;
use hardware::System;
use types::MemoryUse;

const USE_CASES: [&str; 6] = ["general", "coding", "reasoning", "chat", "multimodal", "embedding"];

/// The best ten for each use, a line each.
fn top(words: &str) -> String {
    let system = System::simulated(words).unwrap();
    let machine = machine(&system, &MemoryUse::default());
    let book = Book::new(Catalogue::embedded().models());
    let analysis = Analysis::of(&book, &machine, &Terms::default(), &Known::default());
    let mut text = String::new();
    for use_case in USE_CASES {
        let parameters = [("use_case", use_case), ("limit", "10")];
        let parameters = parameters.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let (_, rows) = analysis.list(&book, &Query::read(List::Top, None, &parameters).unwrap());
        text.push_str(&format!("{use_case}\n"));
        for row in rows {
            let row = row.wire(&book, &machine);
            text.push_str(&format!(
                "  {:5.1} {:<52} {:<12} {:<8} {:<8} {:6.1} tok/s {:6.1} GiB\n",
                row.score,
                row.name,
                row.best_quant.as_deref().unwrap_or("-"),
                row.runtime,
                row.run_mode,
                row.estimated_tps,
                row.memory_required_gb
            ));
        }
    }
    text
}

#[test]
fn one_card_of_24_gib() {
    println!("{}", top("RTX 4090, 64 GB"));
}

#[test]
fn two_cards_of_24_gib() {
    println!("{}", top("2x RTX 3090, 128 GB"));
}

#[test]
fn unified_128_gib() {
    println!("{}", top("M4 Max 128 GB"));
}

#[test]
fn eight_h100() {
    println!("{}", top("8x H100, 1024 GB"));
}

#[test]
fn laptop_of_16_gib() {
    println!("{}", top("16 GB"));
}
