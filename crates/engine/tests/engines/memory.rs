//! The estimate before a load beside what the real engine then says it allocated.

use std::path::{Path, PathBuf};
use std::time::Duration;

use engine::{Launch, Spec};
use testkit::gguf::{File, kinds};
use types::{ByteCount, CacheType, InstanceId, InstanceState, MemoryUse};

use crate::llama_server::parts;
use crate::stage::{Stage, launch, wait_for};

/// Allowed between them: 3 %, or what a small model cannot be told apart by.
const SHARE_PER_MILLE: u64 = 30;
const FLOOR: ByteCount = ByteCount::mib(16);

/// One way to start a model.
struct Case {
    name: &'static str,
    model: PathBuf,
    setting: fit::Setting,
}

fn setting(context: u64, slots: u32, cache: CacheType) -> fit::Setting {
    fit::Setting {
        context,
        slots,
        offload: vec![],
        experts_in_ram: 0,
        cache_type_k: cache,
        cache_type_v: cache,
        all_outputs: false,
    }
}

fn with_embeddings(setting: fit::Setting) -> fit::Setting {
    fit::Setting { all_outputs: true, ..setting }
}

fn estimate(case: &Case) -> MemoryUse {
    let file = std::fs::File::open(&case.model).unwrap();
    let length = ByteCount::bytes(file.metadata().unwrap().len());
    let facts = fit::Facts::from(&catalog::gguf::read(file, length).unwrap());
    fit::memory(&facts, &case.setting)
}

async fn reported(stage: &Stage, program: &Path, case: &Case, id: usize) -> MemoryUse {
    let base = launch(program.to_owned(), case.model.clone());
    let spec = Spec {
        context: case.setting.context,
        slots: case.setting.slots,
        cache_type_k: case.setting.cache_type_k,
        cache_type_v: case.setting.cache_type_v,
        embeddings: case.setting.all_outputs,
        ..base.spec
    };
    let handle = stage.start(Launch { id: InstanceId::new(format!("memory-{id}")), spec, ..base });
    let ready = wait_for(&handle, "ready", |status| status.over || status.state == InstanceState::Ready).await;
    assert!(!ready.over, "{}: {:?}", case.name, ready.failure);
    handle.stop(Duration::ZERO);
    wait_for(&handle, "over", |status| status.over).await;
    fit::with_overhead(&ready.memory)
}

async fn check(cases: Vec<Case>) {
    let Some((program, _)) = parts() else { return };
    let stage = Stage::new();
    let mut wrong = vec![];
    for (id, case) in cases.iter().enumerate() {
        let (estimate, reported) = (estimate(case), reported(&stage, &program, case, id).await);
        let of = |memory: &MemoryUse| memory.0[&types::DeviceName::cpu()];
        let (ours, theirs) = (of(&estimate), of(&reported));
        let line = format!(
            "{:<42} model {} / {}, kv {} / {}, compute {} / {}",
            case.name, ours.model, theirs.model, ours.kv, theirs.kv, ours.compute, theirs.compute
        );
        let allowed = ByteCount::bytes(theirs.total().as_u64() * SHARE_PER_MILLE / 1000).max(FLOOR);
        let apart = ours.total().saturating_sub(theirs.total()).max(theirs.total().saturating_sub(ours.total()));
        // The engine prints hundredths of a MiB.
        let cache_apart = ours.kv.saturating_sub(theirs.kv).max(theirs.kv.saturating_sub(ours.kv));
        if apart > allowed || cache_apart > ByteCount::from_mib_f64(0.02) {
            wrong.push(line);
        }
    }
    assert!(wrong.is_empty(), "estimate / reported by llama-server:\n{}", wrong.join("\n"));
}

#[tokio::test]
async fn the_sample_model_in_many_settings() {
    let Some((_, model)) = parts() else { return };
    let case = |name, setting| Case { name, model: model.clone(), setting };
    let (f16, q8, q4) = (CacheType::F16, CacheType::Q8_0, CacheType::Q4_0);
    check(vec![
        case("one slot of 512", setting(512, 1, f16)),
        case("two slots of 2,048", setting(2048, 2, f16)),
        case("four slots of 1,000", setting(1000, 4, f16)),
        case("one slot of 8,192", setting(8192, 1, f16)),
        case("four slots of 8,192", setting(8192, 4, f16)),
        case("8-bit cache", setting(8192, 2, q8)),
        case("4-bit cache", setting(8192, 2, q4)),
        case("embeddings", with_embeddings(setting(2048, 2, f16))),
        case("embeddings, 8-bit cache", with_embeddings(setting(8192, 1, q8))),
    ])
    .await;
}

#[tokio::test]
async fn models_of_other_kinds() {
    if parts().is_none() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, file: File| {
        let path = folder.path().join(name);
        file.write(&path).unwrap();
        path
    };
    let sliding = write("sliding.gguf", kinds::sliding_window());
    let experts = write("experts.gguf", kinds::experts());
    let latent = write("latent.gguf", kinds::latent_attention());
    let state = write("state.gguf", kinds::state_space());
    let hybrid = write("hybrid.gguf", kinds::hybrid());
    let short = write("short.gguf", kinds::short_convolution());
    let case = |name, model: &PathBuf, setting| Case { name, model: model.clone(), setting };
    let (f16, q8) = (CacheType::F16, CacheType::Q8_0);
    check(vec![
        case("sliding window, one slot of 16,384", &sliding, setting(16_384, 1, f16)),
        case("sliding window, four slots of 4,096", &sliding, setting(4096, 4, f16)),
        case("sliding window, embeddings", &sliding, with_embeddings(setting(8192, 2, f16))),
        case("experts, one slot of 8,192", &experts, setting(8192, 1, f16)),
        case("experts, two slots of 8,192, 8-bit cache", &experts, setting(8192, 2, q8)),
        case("latent attention, one slot of 8,192", &latent, setting(8192, 1, f16)),
        case("latent attention, four slots of 4,096", &latent, setting(4096, 4, f16)),
        case("state space, 12 slots", &state, setting(1024, 12, f16)),
        case("hybrid, one slot of 16,384", &hybrid, setting(16_384, 1, f16)),
        case("hybrid, eight slots of 4,096", &hybrid, setting(4096, 8, f16)),
        case("short convolution, one slot of 16,384", &short, setting(16_384, 1, f16)),
    ])
    .await;
}
