//! Accelerators as somebody says they are. None is needed: an engine that lists some is a script around the fake one.

use std::os::unix::fs::PermissionsExt;

use testkit::{Stage, fake_engine};

use crate::support::program;

#[tokio::test]
async fn memory_and_interface_are_as_configured() {
    let folder = tempfile::tempdir().unwrap();
    let engine = folder.path().join("llama-server");
    let script = r#"#!/bin/sh
if [ "$1" = --list-devices ]; then
    echo "Available devices:"
    echo "  CUDA0: A card (24576 MiB, 20480 MiB free)"
    echo "  CUDA1: A card (24576 MiB, 20480 MiB free)"
    echo "  Vulkan0: A card (24576 MiB, 20480 MiB free)"
    exit
fi
echo "$@" >> "$0.arguments"
"#;
    let script = format!("{script}exec '{}' \"$@\"\n", fake_engine().display());
    std::fs::write(&engine, script).unwrap();
    std::fs::set_permissions(&engine, std::fs::Permissions::from_mode(0o755)).unwrap();

    let settings = r#"{
        // Twice the card that it is, less what others use of it.
        "hardware": {"vram_overrides": {"1": 49152}, "default_backend_priority": ["metal", "cuda", "vulkan"]},
    }"#;
    let file = folder.path().join("snug.json");
    std::fs::write(&file, settings).unwrap();
    let stage = Stage::new(program(), &engine).arguments(&["-c", file.to_str().unwrap()]).fake_model("m.gguf", "");
    let snug = stage.start().await;
    let metrics = snug.get("/metrics").await.text;
    let capacity = |device: &str| {
        let of = format!("snug_device_capacity_bytes{{device=\"{device}\"}} ");
        metrics.lines().find_map(|line| line.strip_prefix(&of)).map(str::to_owned)
    };
    let mib = |mib: u64| Some((mib << 20).to_string());
    assert_eq!((capacity("CUDA0"), capacity("CUDA1"), capacity("Vulkan0")), (mib(20480), mib(45056), None));

    snug.load("m", "").await.ok();
    let arguments = std::fs::read_to_string(engine.with_extension("arguments")).unwrap();
    assert!(arguments.contains("--device CUDA0,CUDA1"), "{arguments}");
}
