//! Any bytes as a Hugging Face folder's configuration, index and weights: reading them ends, without a panic, and a shape
//! that is accepted can be computed with.
#![no_main]

use libfuzzer_sys::fuzz_target;
use types::ByteCount;

fuzz_target!(|bytes: &[u8]| {
    let _ = catalog::hf::Index::read(bytes);
    if let Ok(shape) = catalog::hf::shape("x", bytes) {
        assert!(shape.parameters().is_ok() && shape.parameters_active().is_ok());
    }
    // A configuration that is known to be good, so that the bytes reach the header.
    const CONFIG: &[u8] = br#"{"model_type": "llama", "quantization": {"bits": 4}}"#;
    if let Ok(mut folder) = catalog::hf::Folder::new("x", CONFIG) {
        let length = ByteCount::bytes(bytes.len() as u64);
        if folder.add(bytes, length).is_ok() {
            assert!(folder.weights <= length, "more bytes than the file has");
        }
    }
});
