//! Any bytes as a file of model configs: reading them ends, without a panic; what is sound stays so when it is written and
//! read again, and when what was shown of it comes back.
#![no_main]

use std::collections::BTreeMap;

use catalog::model_config::{File, merge_into, write_file};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(file) = File::parse(bytes) else { return };
    let mut known = BTreeMap::new();
    let _ = merge_into(&mut known, file);
    let written = File::parse(write_file(known.values()).as_bytes()).expect("it was just written");
    let mut again = BTreeMap::new();
    let problems = merge_into(&mut again, written);
    assert!(problems.is_empty(), "{problems}");
    assert!(known.keys().eq(again.keys()));
    for config in known.values() {
        config.merged(&config.to_shown_json()).expect("what was shown may come back");
    }
});
