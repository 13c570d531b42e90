//! Any text as a file's stem: taking it apart loses nothing.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|stem: &str| {
    let key = catalog::name::key(stem);
    let (id, variant) = (key.id.as_str(), key.variant.as_str());
    if variant.is_empty() {
        assert_eq!(id, stem);
    } else {
        assert_eq!(id.len() + 1 + variant.len(), stem.len());
        assert!(stem.starts_with(id) && stem.ends_with(variant));
    }
    if let Some(shard) = catalog::name::shard(stem) {
        assert!(stem.starts_with(shard.stem) && (1..=shard.count).contains(&shard.number));
    }
});
