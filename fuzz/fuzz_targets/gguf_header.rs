//! Any bytes at all as a model file: reading them ends, without a panic, and what is read adds up.
#![no_main]

use libfuzzer_sys::fuzz_target;
use types::ByteCount;

fuzz_target!(|bytes: &[u8]| {
    let length = ByteCount::bytes(bytes.len() as u64);
    let Ok(header) = catalog::gguf::read(bytes, length) else { return };
    let weights = &header.weights;
    let layers: ByteCount = weights.layers.iter().map(|layer| layer.total).sum();
    assert_eq!(weights.token_embedding + weights.output + weights.other + layers, weights.total);
    if !header.tensors.is_empty() {
        assert!(header.data_offset + weights.total <= length, "more bytes than the file has");
    }
    let _ = header.mode();
});
