//! What routing reads of a body: any bytes are survived, and every field is where it is said to be.

#![no_main]

use libfuzzer_sys::fuzz_target;
use protocol::{form, scan::Scan};

fuzz_target!(|body: &[u8]| {
    if let Ok(scan) = Scan::of(body) {
        let _model = scan.model();
        if let Some(field) = scan.field("messages") {
            assert_eq!(&body[field.at.clone()], field.value.as_bytes());
        }
    }
    if let Ok(Some(at)) = form::field(body, "x", "model") {
        assert!(at.end <= body.len());
    }
});
