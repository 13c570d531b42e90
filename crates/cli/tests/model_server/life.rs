//! Random walks through the lives of models and their files, beside what must hold whatever happens.
//!
//! A walk is a seed and a number of steps: loads, unloads, pins, flags, deletions, limits, requests, files put there by hand,
//! engines that are killed, and snug killed and started again. After each step what is shown is compared with the few
//! things that are known for certain:
//!
//! - a file that is hot ready or protected is on disk, whole;
//! - what runs, what is Ready and what is stored stay within their budgets;
//! - states are the contract's five; flags, pins and the limit are what was last set, and uses are counted, also after
//!   `kill -9`;
//! - what is busy or pinned does not make room for others;
//! - every refusal is the error object, and none is snug's own failure.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::{Value, json};
use testkit::{Answer, LONG, Method, Snug, Stage, eventually, kill};

use crate::files::Files;
use crate::stage::{add, beside, downloadable, fake, model_of_mib, written};

/// Walks that are the same in every run; `SNUG_WALK` names another one.
const SEEDS: [u64; 6] = [1, 2, 3, 4, 5, 6];
const STEPS: usize = 60;

/// What may be there: model, variant, and whether a config says where to get it.
const FILES: [Kept; 5] = [
    Kept { model: "alpha", variant: "Q4_K_M", has_config: false },
    Kept { model: "alpha", variant: "Q8_0", has_config: false },
    Kept { model: "beta", variant: "Q4_K_M", has_config: false },
    Kept { model: "gamma", variant: "Q4_K_M", has_config: true },
    Kept { model: "delta", variant: "Q4_K_M", has_config: true },
];
const MODELS: [&str; 4] = ["alpha", "beta", "gamma", "delta"];
/// Of every file.
const FILE_MIB: u64 = 3;
/// For Ready models: room for one of them, not for two.
const READY_MIB: u64 = 5;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Kept {
    model: &'static str,
    variant: &'static str,
    has_config: bool,
}

impl Kept {
    fn filename(self) -> String {
        format!("{}-{}.gguf", self.model, self.variant)
    }

    fn path(self, stage: &Stage) -> std::path::PathBuf {
        stage.models_dir().join(self.filename())
    }

    fn is_there(self, stage: &Stage) -> bool {
        self.path(stage).exists()
    }
}

#[derive(Clone, Debug)]
enum Step {
    Load(&'static str, Option<&'static str>),
    Unload(&'static str),
    Pin(&'static str, bool),
    Flag(Kept, &'static str, bool),
    Delete(&'static str, Option<&'static str>),
    Download(&'static str),
    /// This many bytes beyond what is used, or no limit.
    Limit(Option<u64>),
    Chat(&'static str),
    /// The inner step while a request to this model is in flight.
    Busy(&'static str, Box<Step>),
    /// The file is written by hand.
    Put(Kept),
    KillEngine(&'static str),
    KillSnug,
}

impl Step {
    fn random(random: &mut Random) -> Self {
        let model = random.of(&MODELS);
        let file = random.of(&FILES);
        match random.below(27) {
            0..=3 => Self::Load(model, None),
            4 => Self::Load(file.model, Some(file.variant)),
            5..=6 => Self::Unload(model),
            7..=8 => Self::Pin(model, true),
            9..=11 => Self::Pin(model, false),
            12..=13 => Self::Flag(file, random.of(&["hot-ready", "protected"]), true),
            14..=16 => Self::Flag(file, random.of(&["hot-ready", "protected"]), false),
            17 => Self::Delete(model, None),
            18 => Self::Delete(file.model, Some(file.variant)),
            19 => Self::Download(model),
            20 => Self::Limit(random.of(&[None, Some(0), Some(1 << 20), Some(4 << 20), Some(64 << 20)])),
            21..=22 => Self::Chat(model),
            23 => Self::Busy(model, Box::new(Self::beside_a_request(random))),
            24 => Self::Put(file),
            25 => Self::KillEngine(model),
            _ => Self::KillSnug,
        }
    }

    fn beside_a_request(random: &mut Random) -> Self {
        loop {
            match Self::random(random) {
                Self::Busy(..) | Self::KillSnug => {}
                step => return step,
            }
        }
    }

    /// The model that is told to change, so that a change of it is no surprise.
    fn target(&self) -> Option<&'static str> {
        match self {
            Self::Load(model, _) | Self::Unload(model) | Self::Delete(model, _) | Self::KillEngine(model) => {
                Some(model)
            }
            Self::Busy(_, inner) => inner.target(),
            _ => None,
        }
    }

    /// Whether it may end a request of this model.
    fn ends(&self, model: &str) -> bool {
        matches!(self, Self::Unload(target) | Self::Delete(target, _) | Self::KillEngine(target) if *target == model)
    }
}

/// What must be shown.
struct Expected {
    /// Hot ready and protected; files that are not in here may have any.
    flags: BTreeMap<Kept, (bool, bool)>,
    /// Models that are not in here may be either.
    pinned: BTreeMap<&'static str, bool>,
    uses: BTreeMap<&'static str, u64>,
    limit: u64,
    /// What may be used although it is more than the limit.
    used: u64,
}

impl Expected {
    fn guarded(&self, file: Kept) -> bool {
        self.flags.get(&file).is_some_and(|(hot_ready, protected)| *hot_ready || *protected)
    }

    fn pinned_others(&self, model: &str) -> bool {
        MODELS.iter().any(|other| *other != model && self.pinned.get(other) != Some(&false))
    }
}

struct Walk<'s> {
    stage: &'s Stage,
    model: Vec<u8>,
    ram_mib: u64,
    expected: Expected,
}

#[tokio::test]
#[expect(clippy::print_stdout, reason = "shown with a failure: how to walk the same way again")]
async fn nothing_guarded_is_lost_and_no_budget_exceeded() {
    let seeds = match std::env::var("SNUG_WALK") {
        Ok(seed) => vec![seed.parse().expect("SNUG_WALK is a number")],
        Err(_) => SEEDS.to_vec(),
    };
    for seed in seeds {
        println!("SNUG_WALK={seed}");
        walk(seed).await;
    }
}

#[expect(clippy::print_stdout, reason = "shown with a failure: which way it went")]
async fn walk(seed: u64) {
    let model = model_of_mib(FILE_MIB).bytes();
    let files = FILES.map(Kept::filename);
    let server = Files::serve(files.iter().map(|name| (&**name, model.clone()))).await;
    let each = memory_of_one(&server, &model).await;
    let ram_mib = each * 5 / 2;

    let stage = prepared(&model, Some(ram_mib));
    let mut snug = stage.start().await;
    add(&snug, configs(&server)).await;
    let expected = Expected {
        flags: FILES.map(|file| (file, (false, false))).into(),
        pinned: MODELS.map(|model| (model, false)).into(),
        uses: BTreeMap::new(),
        limit: 0,
        used: 0,
    };
    let mut walk = Walk { stage: &stage, model, ram_mib, expected };
    walk.expected.used = walk.settled(&snug).await.used;

    let mut random = Random(seed);
    for number in 0..STEPS {
        let step = Step::random(&mut random);
        println!("{number:3}  {step:?}");
        let before = walk.settled(&snug).await;
        if matches!(step, Step::KillSnug) {
            snug.kill();
            snug = stage.start().await;
        } else {
            walk.perform(&snug, &step, &before).await;
        }
        let after = walk.settled(&snug).await;
        walk.compare(&step, &before, &after);
    }
}

/// Folders with all files that no config can get, and an engine that reports little more than the files hold.
fn prepared(model: &[u8], ram_mib: Option<u64>) -> Stage {
    let stage = fake();
    for file in FILES {
        if !file.has_config {
            std::fs::write(file.path(&stage), model).expect("the folder is ours");
        }
        let faults = format!("--fake-model-mib {FILE_MIB} --fake-kv-mib 1");
        std::fs::write(stage.models_dir().join(format!("{}.fake", file.filename())), faults)
            .expect("the folder is ours");
    }
    let settings = json!({
        "override_path": beside(&stage, "runtime_models.json"),
        "ram_budget_mb": READY_MIB,
        "engine": { "context": 1024, "slots": 1, "restart_backoff": "10ms" }
    });
    let path = written(&stage, &settings);
    let stage = stage.arguments(&["--config", &path]);
    match ram_mib {
        Some(mib) => stage.arguments(&["--ram", &format!("{mib}M")]),
        None => stage,
    }
}

fn configs(server: &Files) -> Vec<Value> {
    let with_config = FILES.iter().filter(|file| file.has_config);
    with_config.map(|file| downloadable(file.model, server, &file.filename())).collect()
}

/// MiB that one model is said to need or reported to have, whichever is more.
async fn memory_of_one(server: &Files, model: &[u8]) -> u64 {
    let stage = prepared(model, None);
    let snug = stage.start().await;
    add(&snug, configs(server)).await;
    snug.load("alpha", "").await.ok();
    let reported = snug.instance("alpha").await["ram_usage_mb"].as_u64().unwrap_or_default();
    let available = snug.get("/api/models").await.ok();
    let rows = available["models"].as_array().expect("a list");
    let estimated = rows.iter().filter_map(|row| row["estimated_ram_mb"].as_u64()).max().unwrap_or_default();
    assert!(reported > 0, "the engine reports what it holds");
    reported.max(estimated)
}

/// What is shown at one moment.
struct Seen {
    loaded: Vec<Value>,
    stored: Vec<Value>,
    used: u64,
    limit: u64,
}

impl Seen {
    fn loaded_as(&self, model: &str, state: &str) -> Option<&Value> {
        self.loaded.iter().find(|row| row["model"] == model && row["state"] == state)
    }
}

impl Walk<'_> {
    /// Looks until nothing moves any more; each look on the way must be in order too.
    async fn settled(&self, snug: &Snug<'_>) -> Seen {
        let mut moving = String::new();
        let looking = eventually("nothing moves", async || match self.look(snug).await {
            Ok(seen) => Some(seen),
            Err(what) => {
                moving = what;
                None
            }
        });
        let seen = tokio::time::timeout(LONG / 2, looking).await;
        seen.unwrap_or_else(|_| panic!("does not settle: {moving}\n{}", snug.log()))
    }

    /// One look; what still moves, if something does.
    async fn look(&self, snug: &Snug<'_>) -> Result<Seen, String> {
        let loaded = snug.loaded().await;
        self.check_loaded(&loaded);
        let downloads = snug.get("/api/downloads").await.ok();
        let stored = snug.get("/api/storage/models").await.ok();
        let overview = snug.get("/api/storage").await.ok();
        let stored_size = stored["total_size_bytes"].clone();
        let stored = stored["models"].as_array().expect("a list").clone();
        let is_moving = |row: &&Value| {
            ["starting", "loading", "stopping"].iter().any(|state| row["instance_state"] == *state)
                || ["Unloading", "Downloading"].iter().any(|state| row["state"] == *state)
        };
        if let Some(row) = loaded.iter().find(is_moving) {
            return Err(format!("an instance: {row}"));
        }
        if downloads["downloads"].as_array().is_none_or(|rows| !rows.is_empty()) {
            return Err(format!("downloads: {downloads}"));
        }
        if overview["used_by_models_bytes"] != stored_size {
            return Err(format!("sizes: {overview}, but {stored_size} by {stored:?}"));
        }
        for file in FILES {
            let listed = stored.iter().any(|row| row["model"] == file.model && row["variant"] == file.variant);
            if listed != file.is_there(self.stage) {
                return Err(format!("{file:?} is listed: {listed}, which its folder denies: {stored:?}"));
            }
        }
        // Uses are counted behind the answer.
        for (model, uses) in &self.expected.uses {
            if uses_of(&stored, model) < *uses {
                return Err(format!("{model} was used {uses} times: {stored:?}"));
            }
        }
        let figure = |name: &str| overview[name].as_u64().expect("a number");
        let (used, limit) = (figure("used_by_models_bytes"), figure("storage_limit_bytes"));
        Ok(Seen { loaded, stored, used, limit })
    }

    /// What holds of `/api/models/loaded` at every moment.
    fn check_loaded(&self, rows: &[Value]) {
        const STATES: [&str; 5] = ["Unloaded", "Downloading", "Ready", "Loaded", "Unloading"];
        for row in rows {
            assert!(STATES.iter().any(|state| row["state"] == *state), "a state of the contract: {row}");
        }
        let ram = |states: &[&str]| -> (u64, u64) {
            let rows = rows.iter().filter(|row| states.iter().any(|state| row["state"] == *state));
            let sizes: Vec<u64> = rows.map(|row| row["ram_usage_mb"].as_u64().expect("a number")).collect();
            (sizes.iter().sum(), sizes.len() as u64)
        };
        // Each figure is rounded up.
        let (runs, count) = ram(&["Loaded", "Unloading"]);
        assert!(runs <= self.ram_mib + count, "{runs} MiB run where {} may: {rows:?}", self.ram_mib);
        let (ready, count) = ram(&["Ready"]);
        assert!(ready <= READY_MIB + count, "{ready} MiB are Ready where {READY_MIB} may: {rows:?}");
    }

    /// What holds between two moments with this step between them.
    fn compare(&mut self, step: &Step, before: &Seen, after: &Seen) {
        let size = self.model.len() as u64;
        for (file, (hot_ready, protected)) in &self.expected.flags {
            let row = after.stored.iter().find(|row| row["model"] == file.model && row["variant"] == file.variant);
            if let Some(row) = row {
                let shown = (&row["hot_ready"], &row["protected"]);
                assert_eq!(shown, (&json!(hot_ready), &json!(protected)), "flags are what was set: {row}");
                assert_eq!(row["file_size_bytes"], size, "{row}");
            }
            if self.expected.guarded(*file) {
                let left = std::fs::metadata(file.path(self.stage)).map_or(0, |file| file.len());
                assert_eq!(left, size, "a guarded file is lost: {file:?}");
            }
        }
        for (model, pinned) in &self.expected.pinned {
            for row in after.loaded.iter().filter(|row| row["model"] == *model && row["state"] != "Unloaded") {
                assert_eq!(row["pinned"], *pinned, "a pin is what was set: {row}");
            }
            let ran = before.loaded_as(model, "Loaded").filter(|_| *pinned && step.target() != Some(model));
            if let Some(row) = ran {
                let runs = after.loaded.iter().any(|other| other["pid"] == row["pid"] && other["state"] == "Loaded");
                assert!(runs, "a pinned model made room: {row}, now {:?}", after.loaded);
            }
        }
        assert_eq!(after.limit, self.expected.limit, "the limit is what was set");
        let most = if self.expected.limit == 0 { u64::MAX } else { self.expected.limit.max(self.expected.used) };
        assert!(after.used <= most, "{} bytes are stored where {most} may be", after.used);
        self.expected.used = after.used;
    }

    async fn perform(&mut self, snug: &Snug<'_>, step: &Step, before: &Seen) {
        match step {
            Step::Busy(model, inner) if before.loaded_as(model, "Loaded").is_some() => {
                self.beside_a_request(snug, model, inner, before).await;
            }
            Step::Busy(_, inner) => self.perform_one(snug, inner, before).await,
            step => self.perform_one(snug, step, before).await,
        }
    }

    async fn beside_a_request(&mut self, snug: &Snug<'_>, model: &'static str, inner: &Step, before: &Seen) {
        let request = snug.chat(model, json!({ "max_tokens": 10, "fake_token_ms": 30 }));
        let beside = async {
            // It may be over before it is seen, on a busy machine; then it is no witness.
            let in_flight = eventually("the request is in flight", async || {
                let rows = snug.loaded().await;
                rows.iter().any(|row| row["model"] == model && row["active_requests"] == 1).then_some(())
            });
            let seen = tokio::time::timeout(Duration::from_millis(200), in_flight).await.is_ok();
            self.perform_one(snug, inner, before).await;
            seen
        };
        let (answer, seen) = tokio::join!(request, beside);
        if seen && !inner.ends(model) {
            assert_eq!(answer.status, 200, "a request in flight was cut off by {inner:?}: {answer:?}");
        }
        in_order(&answer, &[200, 404, 429, 502, 503]);
        if answer.status == 200 {
            *self.expected.uses.entry(model).or_default() += 1;
        }
    }

    async fn perform_one(&mut self, snug: &Snug<'_>, step: &Step, before: &Seen) {
        let stage = self.stage;
        let there = |model: &str, variant: Option<&str>| -> Vec<Kept> {
            let wanted = |file: &&Kept| file.model == model && variant.is_none_or(|variant| file.variant == variant);
            FILES.iter().filter(wanted).filter(|file| file.is_there(stage)).copied().collect()
        };
        let known =
            |model: &str| FILES.iter().any(|file| file.model == model && (file.has_config || file.is_there(stage)));
        match *step {
            Step::Load(model, variant) => {
                let query = variant.map_or_else(String::new, |variant| format!("?variant={variant}"));
                let answer = snug.load(model, &query).await;
                in_order(&answer, &[200, 202, 400, 503, 507]);
                let must = !there(model, variant).is_empty() && !self.expected.pinned_others(model);
                assert!(!must || answer.status == 200, "it is here, and others can make room: {answer:?}");
            }
            Step::Unload(model) => {
                let answer = snug.post(&format!("/api/models/{model}/unload"), &Value::Null).await;
                in_order(&answer, if known(model) { &[200] } else { &[200, 400, 404] });
            }
            Step::Pin(model, pinned) => {
                let action = if pinned { "pin" } else { "unpin" };
                let answer = snug.post(&format!("/api/models/{model}/{action}"), &Value::Null).await;
                in_order(&answer, if known(model) { &[200] } else { &[200, 400, 404] });
                if answer.status == 200 {
                    self.expected.pinned.insert(model, pinned);
                }
            }
            Step::Flag(file, flag, set) => {
                let path = format!("/api/models/{}/variants/{}/{flag}", file.model, file.variant);
                let method = if set { Method::POST } else { Method::DELETE };
                let answer = snug.send(method, &path, &[], "").await;
                in_order(&answer, if file.is_there(stage) { &[200] } else { &[200, 404] });
                match self.expected.flags.get_mut(&file) {
                    // Whether a flag of a file that is not here is kept is not said.
                    _ if !file.is_there(stage) && answer.status == 200 => {
                        self.expected.flags.remove(&file);
                    }
                    Some((hot_ready, protected)) if answer.status == 200 => {
                        *(if flag == "hot-ready" { hot_ready } else { protected }) = set;
                    }
                    _ => {}
                }
            }
            Step::Delete(model, variant) => self.delete(snug, model, variant, &there(model, variant)).await,
            Step::Download(model) => {
                let answer = snug.post(&format!("/api/models/{model}/download"), &Value::Null).await;
                in_order(&answer, &[200, 202, 400, 404, 507]);
                let must = there(model, None).is_empty() && answer.status == 200;
                assert!(!must, "it is not here, and said to be: {answer:?}");
            }
            Step::Limit(spare) => {
                let limit = spare.map_or(0, |spare| before.used.max(1) + spare);
                let body = json!({ "limit_bytes": limit }).to_string();
                let headers = [("content-type", "application/json")];
                in_order(&snug.send(Method::PUT, "/api/storage/limit", &headers, &body).await, &[200]);
                self.expected.limit = limit;
            }
            Step::Chat(model) => {
                let answer = snug.chat(model, json!({ "max_tokens": 1 })).await;
                in_order(&answer, &[200, 404, 429, 503, 507]);
                if answer.status == 200 {
                    *self.expected.uses.entry(model).or_default() += 1;
                }
            }
            Step::Put(file) => {
                if !file.is_there(stage) {
                    // Under its name only once it is whole, as a person's `mv` has it.
                    let part = beside(stage, "part");
                    std::fs::write(&part, &self.model).expect("the folder is ours");
                    std::fs::rename(part, file.path(stage)).expect("the folder is ours");
                    self.expected.used += self.model.len() as u64;
                }
            }
            Step::KillEngine(model) => {
                for row in before.loaded.iter().filter(|row| row["model"] == model) {
                    if let Some(pid) = row["pid"].as_u64().and_then(|pid| u32::try_from(pid).ok()) {
                        kill(pid);
                        eventually("its end is seen", async || {
                            let rows = snug.loaded().await;
                            rows.iter().all(|row| row["pid"] != pid).then_some(())
                        })
                        .await;
                    }
                }
            }
            Step::Busy(..) | Step::KillSnug => unreachable!("not inside another step"),
        }
    }

    async fn delete(&mut self, snug: &Snug<'_>, model: &'static str, variant: Option<&str>, there: &[Kept]) {
        let query = variant.map_or_else(String::new, |variant| format!("?variant={variant}"));
        let answer = snug.send(Method::DELETE, &format!("/api/models/{model}/files{query}"), &[], "").await;
        let guarded: Vec<&Kept> = there.iter().filter(|file| self.expected.guarded(**file)).collect();
        let sure = there.iter().all(|file| self.expected.flags.contains_key(file));
        in_order(&answer, if there.is_empty() { &[404] } else { &[200, 409] });
        if !guarded.is_empty() {
            assert_eq!(answer.status, 409, "{guarded:?} is guarded: {answer:?}");
            let body = answer.json();
            let flags = |of: fn(&(bool, bool)) -> bool| guarded.iter().any(|file| of(&self.expected.flags[file]));
            let told = (&body["hot_ready"], &body["protected"]);
            let expected = (json!(flags(|flags| flags.0)), json!(flags(|flags| flags.1)));
            assert!(!sure || guarded.len() > 1 || told == (&expected.0, &expected.1), "{answer:?} for {guarded:?}");
        }
        let left: BTreeSet<Kept> = there.iter().copied().filter(|file| file.is_there(self.stage)).collect();
        if answer.status == 200 {
            assert!(left.is_empty(), "said to be deleted, and here: {left:?}");
            assert_eq!(answer.json()["freed_bytes"], self.model.len() as u64 * there.len() as u64, "{answer:?}");
            self.expected.uses.remove(model);
            for file in there {
                self.expected.flags.insert(*file, (false, false));
            }
            // What becomes of the pin of a model that is not known any more is not said.
            if there.iter().any(|file| !file.has_config) {
                self.expected.pinned.remove(model);
            }
        } else {
            assert_eq!(left.len(), there.len(), "refused, and yet something is gone: {answer:?}");
        }
    }
}

/// How often a model was used, over all its variants.
fn uses_of(rows: &[Value], model: &str) -> u64 {
    rows.iter().filter(|row| row["model"] == model).filter_map(|row| row["usage_count"].as_u64()).sum()
}

/// One of these statuses; a refusal has the error object.
#[track_caller]
fn in_order(answer: &Answer, statuses: &[u16]) {
    assert!(statuses.contains(&answer.status), "one of {statuses:?}: {answer:?}");
    if answer.status >= 400 {
        let error = &answer.json()["error"];
        let whole = error["message"].as_str().is_some_and(|text| !text.is_empty())
            && error["type"].is_string()
            && error.get("param").is_some()
            && error.get("code").is_some();
        assert!(whole, "the error object: {answer:?}");
    }
}

/// SplitMix64: the same walk for the same seed.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        let end = end as u64;
        usize::try_from((mixed ^ (mixed >> 31)) % end).expect("below a usize")
    }

    fn of<T: Clone>(&mut self, items: &[T]) -> T {
        items[self.below(items.len())].clone()
    }
}
