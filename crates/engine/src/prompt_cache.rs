//! What engines held of prompts when they left, kept on disk for when they come back.
//!
//! Owns the folder of these files: what belongs to which start, how much there may be, what goes. The engine itself writes
//! and reads a file; `slots` asks it to.
//!
//! ```text
//!  prompt-cache/KEY/              one start: the same files, engine, context, slots, cache types and arguments
//!               ├── kept.json     what that start was, and the length of each slot's file
//!               ├── slot-0.bin    tokens and KV cache of slot 0; this user's only, for it holds prompts
//!               └── slot-1.part   being written, or left by an engine that was ended meanwhile
//! ```
//!
//! Losing any of it costs the time to read a prompt anew, never an answer: nothing here is an error to anybody. What must
//! not happen is that an engine is given a file that is not whole, for it dies of one; or a file of another model, for it
//! would answer nonsense.

use std::collections::HashSet;
use std::fs::{self, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use types::{ByteCount, Mode};

use crate::llama_cpp::HeldSlot;
use crate::{Spec, stable_hash};

/// Fewer tokens are read anew in about the time that saving and restoring them takes.
const TOKENS_MIN: u64 = 256;
/// What is left free on the disk for others.
const DISK_FREE_MIN: ByteCount = ByteCount::mib(512);
/// What a start was, and what was kept of it.
const KEPT: &str = "kept.json";

/// The prompt caches of all models on this machine.
#[derive(Clone, Debug)]
pub struct PromptCaches {
    folder: PathBuf,
    limit: ByteCount,
    /// Keys of starts whose engine refuses, until snug is started anew.
    refusals: Arc<Mutex<HashSet<String>>>,
}

impl PromptCaches {
    /// Those in `folder`, which must exist and be this user's only. They take at most `limit`; with none, nothing is kept.
    pub fn open(folder: PathBuf, limit: ByteCount) -> Self {
        let caches = Self { folder, limit, refusals: Arc::default() };
        for folder in caches.folders() {
            let _in_use_unless_empty = fs::remove_dir(folder);
        }
        caches
    }

    /// Removes what an earlier snug left behind and nobody can use any more.
    pub async fn sweep(self) {
        let _swept = tokio::task::spawn_blocking(move || {
            for folder in self.folders() {
                if self.limit == ByteCount::ZERO {
                    remove_folder(&folder);
                    continue;
                }
                for unfinished in files(&folder, "part") {
                    remove_file(&unfinished.path);
                }
            }
            self.tidy(ByteCount::ZERO);
        })
        .await;
    }

    /// That of a start; `None` where none is kept. The files are looked at now, so what is saved later belongs to what the
    /// engine has read, whatever became of the files meanwhile.
    pub(crate) fn of(&self, spec: &Spec, program: &Path) -> Option<PromptCache> {
        if self.limit == ByteCount::ZERO || spec.mode != Mode::Chat || !spec.adapter.keeps_prompts() {
            return None;
        }
        let origin = Origin::of(spec, program)?;
        let key = format!("{:016x}", stable_hash(&serde_json::to_vec(&origin).ok()?));
        if self.refusals().contains(&key) {
            return None;
        }
        Some(PromptCache { all: self.clone(), folder: self.folder.join(&key), key, origin })
    }

    /// Removes what belongs to files that changed, then the oldest, until `room` is left of the limit.
    fn tidy(&self, room: ByteCount) {
        let mut kept = Vec::new();
        for folder in self.folders() {
            match Kept::read(&folder) {
                Some(stale) if !stale.origin.is_current() => remove_folder(&folder),
                _ => kept.extend(files(&folder, "bin")),
            }
        }
        for file in surplus(kept, self.limit.saturating_sub(room)) {
            remove_file(&file.path);
        }
    }

    fn folders(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(&self.folder).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect()
    }

    fn refusals(&self) -> std::sync::MutexGuard<'_, HashSet<String>> {
        self.refusals.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The prompt cache of one start.
#[derive(Clone, Debug)]
pub(crate) struct PromptCache {
    all: PromptCaches,
    key: String,
    folder: PathBuf,
    origin: Origin,
}

impl PromptCache {
    /// Its folder, made if it is missing. The engine does not start without it.
    pub(crate) fn prepare(&self) -> io::Result<&Path> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.folder)?;
        Ok(&self.folder)
    }

    /// The slots that can be restored. A file that is not as it was written is removed.
    pub(crate) fn found(&self) -> Vec<u32> {
        let kept = Kept::read(&self.folder).filter(|kept| kept.origin == self.origin);
        let mut slots: Vec<KeptSlot> = kept.map(|kept| kept.slots).unwrap_or_default();
        slots.retain(|slot| {
            let length = fs::metadata(self.path(slot.id)).map(|file| file.len());
            let is_whole = length.as_ref().is_ok_and(|length| *length == slot.bytes);
            if length.is_ok() && !is_whole {
                self.forget(slot.id);
            }
            is_whole
        });
        slots.into_iter().map(|slot| slot.id).collect()
    }

    /// Which of `held` to save now, the largest first. Where a token takes `per_token`, room is made for them.
    pub(crate) async fn make_room(&self, held: Vec<HeldSlot>, per_token: ByteCount) -> Vec<HeldSlot> {
        let cache = self.clone();
        let made = tokio::task::spawn_blocking(move || {
            let worth = worth_saving(held, per_token, cache.all.limit);
            if !worth.is_empty() {
                cache.all.tidy(size_of(&worth, per_token));
            }
            worth_saving(worth, per_token, disk_room(&cache.folder))
        });
        made.await.unwrap_or_default()
    }

    /// Takes over what the engine has written into [`unfinished`] of a slot.
    ///
    /// # Errors
    /// If it has not written `bytes`, or the file cannot be put in its place.
    pub(crate) fn keep(&self, slot: u32, bytes: u64) -> io::Result<()> {
        let written = self.folder.join(unfinished(slot));
        if fs::metadata(&written)?.len() != bytes {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        fs::set_permissions(&written, Permissions::from_mode(0o600))?;
        let mut kept = Kept::read(&self.folder)
            .filter(|kept| kept.origin == self.origin)
            .unwrap_or_else(|| Kept { origin: self.origin.clone(), slots: vec![] });
        kept.slots.retain(|one| one.id != slot);
        kept.slots.push(KeptSlot { id: slot, bytes });
        fs::rename(written, self.path(slot))?;
        kept.write(&self.folder)
    }

    /// Keeps to the limit also where files came out larger than they were expected to.
    pub(crate) async fn trim(&self) {
        let all = self.all.clone();
        let _trimmed = tokio::task::spawn_blocking(move || all.tidy(ByteCount::ZERO)).await;
    }

    /// Removes a slot's file.
    pub(crate) fn forget(&self, slot: u32) {
        remove_file(&self.path(slot));
    }

    /// Removes all its files: what an engine died of must not be given to the next one.
    pub(crate) fn forget_all(&self) {
        files(&self.folder, "bin").iter().for_each(|file| remove_file(&file.path));
    }

    /// Removes what was not written to its end.
    pub(crate) fn drop_unfinished(&self) {
        files(&self.folder, "part").iter().for_each(|file| remove_file(&file.path));
    }

    /// Nothing more comes: a folder in which nothing was kept goes.
    pub(crate) fn close(&self) {
        let _goes_if_empty = fs::remove_dir(&self.folder);
    }

    /// The engine does not do this, so it is not asked again.
    pub(crate) fn refuse(&self) {
        self.all.refusals().insert(self.key.clone());
    }

    fn path(&self, slot: u32) -> PathBuf {
        self.folder.join(finished(slot))
    }
}

/// The name of a slot's file.
pub(crate) fn finished(slot: u32) -> String {
    format!("slot-{slot}.bin")
}

/// The name of a slot's file while it is written.
pub(crate) fn unfinished(slot: u32) -> String {
    format!("slot-{slot}.part")
}

/// What a prompt cache belongs to: with anything else it would be rubbish.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Origin {
    spec: Spec,
    files: Vec<Stamp>,
}

impl Origin {
    fn of(spec: &Spec, program: &Path) -> Option<Self> {
        let files = [Some(spec.model.as_path()), spec.mmproj.as_deref(), Some(program)];
        let files = files.into_iter().flatten().map(Stamp::of).collect::<io::Result<_>>().ok()?;
        // Where layers lie, where it listens and what the engine is called change nothing in what it holds, and they
        // differ from start to start.
        Some(Self { spec: Spec { gpu_layers: 0, listen: None, alias: String::new(), ..spec.clone() }, files })
    }

    /// Whether its files are as they were.
    fn is_current(&self) -> bool {
        self.files.iter().all(|stamp| Stamp::of(&stamp.path).is_ok_and(|now| now == *stamp))
    }
}

/// A file as it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Stamp {
    path: PathBuf,
    bytes: u64,
    /// Seconds and nanoseconds since 1970.
    modified: (i64, i64),
}

impl Stamp {
    fn of(path: &Path) -> io::Result<Self> {
        let file = fs::metadata(path)?;
        Ok(Self { path: path.to_owned(), bytes: file.len(), modified: (file.mtime(), file.mtime_nsec()) })
    }
}

/// The content of [`KEPT`].
#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    origin: Origin,
    slots: Vec<KeptSlot>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct KeptSlot {
    id: u32,
    bytes: u64,
}

impl Kept {
    fn read(folder: &Path) -> Option<Self> {
        serde_json::from_slice(&fs::read(folder.join(KEPT)).ok()?).ok()
    }

    fn write(&self, folder: &Path) -> io::Result<()> {
        let temporary = folder.join("kept.tmp");
        // Arguments of an engine may hold secrets.
        let mut file = fs::File::options().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
        file.write_all(&serde_json::to_vec_pretty(self)?)?;
        fs::rename(temporary, folder.join(KEPT))
    }
}

/// A kept file, as tidying sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct KeptFile {
    path: PathBuf,
    size: ByteCount,
    modified: SystemTime,
}

/// Which files go, so that the others take at most `limit`: the oldest.
fn surplus(mut files: Vec<KeptFile>, limit: ByteCount) -> Vec<KeptFile> {
    files.sort_by_key(|file| std::cmp::Reverse(file.modified));
    let mut taken = ByteCount::ZERO;
    let stay = files.iter().take_while(|file| {
        taken += file.size;
        taken <= limit
    });
    let stay = stay.count();
    files.split_off(stay)
}

/// The slots that are worth the time and fit into `room` together, the largest first.
fn worth_saving(mut held: Vec<HeldSlot>, per_token: ByteCount, room: ByteCount) -> Vec<HeldSlot> {
    held.retain(|slot| slot.tokens >= TOKENS_MIN);
    held.sort_by_key(|slot| (std::cmp::Reverse(slot.tokens), slot.id));
    let mut taken = ByteCount::ZERO;
    held.retain(|slot| {
        let size = per_token.saturating_mul(slot.tokens);
        let fits = taken + size <= room;
        if fits {
            taken += size;
        }
        fits
    });
    held
}

fn size_of(held: &[HeldSlot], per_token: ByteCount) -> ByteCount {
    held.iter().map(|slot| per_token.saturating_mul(slot.tokens)).sum()
}

/// What may be written to the disk that `folder` is on. Where the system does not tell, the engine will.
fn disk_room(folder: &Path) -> ByteCount {
    let Ok(disk) = rustix::fs::statvfs(folder) else { return ByteCount::bytes(u64::MAX) };
    ByteCount::bytes(disk.f_bavail.saturating_mul(disk.f_frsize)).saturating_sub(DISK_FREE_MIN)
}

fn files(folder: &Path, extension: &str) -> Vec<KeptFile> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let of_kind = entries.filter(|entry| entry.path().extension().is_some_and(|it| it == extension));
    of_kind
        .filter_map(|entry| {
            let file = entry.metadata().ok()?;
            let modified = file.modified().unwrap_or(SystemTime::UNIX_EPOCH);
            Some(KeptFile { path: entry.path(), size: ByteCount::bytes(file.len()), modified })
        })
        .collect()
}

fn remove_file(path: &Path) {
    tell(path, fs::remove_file(path));
}

fn remove_folder(path: &Path) {
    tell(path, fs::remove_dir_all(path));
}

fn tell(path: &Path, removed: io::Result<()>) {
    if let Err(error) = removed
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::warn!(path = %path.display(), %error, "cannot remove a kept prompt cache");
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;
    use types::CacheType;

    use super::*;

    fn slots(tokens: &[u64]) -> Vec<HeldSlot> {
        (0..).zip(tokens).map(|(id, &tokens)| HeldSlot { id, tokens }).collect()
    }

    #[test]
    fn what_is_worth_saving() {
        let check = |tokens: &[u64], room: u64, expected: &[u32]| {
            let saved = worth_saving(slots(tokens), ByteCount::bytes(10), ByteCount::bytes(room));
            assert_eq!(saved.iter().map(|slot| slot.id).collect::<Vec<_>>(), expected, "{tokens:?} in {room}");
        };
        check(&[], 1 << 30, &[]);
        check(&[0, 40, TOKENS_MIN - 1], 1 << 30, &[]);
        check(&[TOKENS_MIN, 40, 4096, 4096], 1 << 30, &[2, 3, 0]);
        check(&[8000, 300, 5000], 79_999, &[2, 1]);
        check(&[8000, 300, 5000], 0, &[]);
    }

    fn spec(folder: &Path) -> Spec {
        let model = folder.join("m.gguf");
        Spec { alias: "m".into(), context: 512, slots: 2, embeddings: true, ..Spec::of(model) }
    }

    /// A folder with a model, an engine, and the caches of a machine.
    fn stage(limit: ByteCount) -> (tempfile::TempDir, PathBuf, PromptCaches) {
        let folder = tempfile::tempdir().unwrap();
        for name in ["m.gguf", "llama-server"] {
            fs::write(folder.path().join(name), name).unwrap();
        }
        let kept = folder.path().join("prompt-cache");
        fs::create_dir(&kept).unwrap();
        let program = folder.path().join("llama-server");
        (folder, program, PromptCaches::open(kept, limit))
    }

    fn save(cache: &PromptCache, slot: u32, bytes: usize) {
        fs::write(cache.prepare().unwrap().join(unfinished(slot)), vec![7; bytes]).unwrap();
        cache.keep(slot, bytes as u64).unwrap();
    }

    #[test]
    fn what_was_kept_is_found_by_the_same_start_only() {
        let (folder, program, caches) = stage(ByteCount::mib(1));
        let spec = spec(folder.path());
        save(&caches.of(&spec, &program).unwrap(), 1, 1000);
        let check = |spec: &Spec, expected: &[u32]| {
            assert_eq!(caches.of(spec, &program).unwrap().found(), expected, "{spec:?}");
        };
        check(&spec, &[1]);
        check(&Spec { gpu_layers: 7, alias: "n".into(), ..spec.clone() }, &[1]);
        check(&Spec { context: 513, ..spec.clone() }, &[]);
        check(&Spec { slots: 3, ..spec.clone() }, &[]);
        check(&Spec { cache_type_v: CacheType::Q8_0, ..spec.clone() }, &[]);
        check(&Spec { extra_args: vec!["--lora".into()], ..spec.clone() }, &[]);
        assert!(caches.of(&Spec { mode: Mode::Embedding, ..spec.clone() }, &program).is_none());

        fs::write(&program, "another llama-server").unwrap();
        check(&spec, &[]);
    }

    #[test]
    fn a_file_that_is_not_as_it_was_written_is_not_found() {
        let (folder, program, caches) = stage(ByteCount::mib(1));
        let cache = caches.of(&spec(folder.path()), &program).unwrap();
        save(&cache, 0, 1000);
        save(&cache, 1, 2000);
        fs::write(cache.path(1), "cut").unwrap();
        assert_eq!(cache.found(), [0]);
        assert!(!cache.path(1).exists());
        fs::write(cache.prepare().unwrap().join(unfinished(1)), "short").unwrap();
        cache.keep(1, 6).unwrap_err();
        assert_eq!(cache.found(), [0]);
    }

    #[tokio::test]
    async fn what_nobody_can_use_is_swept() {
        let (folder, program, caches) = stage(ByteCount::mib(1));
        let cache = caches.of(&spec(folder.path()), &program).unwrap();
        save(&cache, 0, 1000);
        fs::write(cache.folder.join(unfinished(1)), "half").unwrap();
        caches.clone().sweep().await;
        assert_eq!(cache.found(), [0]);
        assert!(!cache.folder.join(unfinished(1)).exists());

        fs::write(folder.path().join("m.gguf"), "another model").unwrap();
        caches.clone().sweep().await;
        assert!(!cache.folder.exists(), "the model changed");

        let cache = caches.of(&spec(folder.path()), &program).unwrap();
        save(&cache, 0, 1000);
        PromptCaches::open(caches.folder.clone(), ByteCount::ZERO).sweep().await;
        assert!(!cache.folder.exists(), "nothing is to be kept");
    }

    #[tokio::test]
    async fn room_is_made_by_removing_the_oldest() {
        let (folder, program, caches) = stage(ByteCount::bytes(10_000));
        let old = caches.of(&spec(folder.path()), &program).unwrap();
        save(&old, 0, 4000);
        save(&old, 1, 4000);
        let aged = fs::File::options().write(true).open(old.path(0)).unwrap();
        aged.set_modified(SystemTime::now() - Duration::from_secs(60)).unwrap();
        let new = caches.of(&Spec { context: 1024, ..spec(folder.path()) }, &program).unwrap();
        let held = slots(&[500, 600, 40]);
        // 600 and 500 tokens of 5 bytes.
        assert_eq!(new.make_room(held, ByteCount::bytes(5)).await.len(), 2);
        assert_eq!(old.found(), [1], "5,500 bytes are wanted, 4,500 may stay");
    }

    #[test]
    fn a_refusal_is_remembered_for_that_start() {
        let (folder, program, caches) = stage(ByteCount::mib(1));
        let spec = spec(folder.path());
        caches.of(&spec, &program).unwrap().refuse();
        assert!(caches.of(&spec, &program).is_none());
        assert!(caches.of(&Spec { mmproj: Some(spec.model.clone()), ..spec }, &program).is_some());
    }

    proptest! {
        /// Whatever lies there: what stays keeps to the limit, nothing older stays than what goes, and nothing goes that
        /// could stay.
        #[test]
        fn the_oldest_go(sizes in prop::collection::vec((0u64..1000, 0u64..20), 0..20), limit in 0u64..5000) {
            let file = |(at, (size, age)): (usize, (u64, u64))| KeptFile {
                path: at.to_string().into(),
                size: ByteCount::bytes(size),
                modified: SystemTime::UNIX_EPOCH + Duration::from_secs(age),
            };
            let all: Vec<KeptFile> = sizes.into_iter().enumerate().map(file).collect();
            let gone = surplus(all.clone(), ByteCount::bytes(limit));
            let stay: Vec<&KeptFile> = all.iter().filter(|one| !gone.contains(one)).collect();
            let sum: ByteCount = stay.iter().map(|one| one.size).sum();
            prop_assert!(sum <= ByteCount::bytes(limit));
            prop_assert!(stay.iter().all(|one| gone.iter().all(|other| one.modified >= other.modified)));
            if let Some(first) = gone.iter().max_by_key(|one| one.modified) {
                let newest = gone.iter().filter(|one| one.modified == first.modified).map(|one| one.size).max().unwrap();
                prop_assert!(sum + newest > ByteCount::bytes(limit), "{} could have stayed", first.path.display());
            }
        }

        /// Slots that are saved are worth it and fit; one that is not saved is not worth it or does not fit beside them.
        #[test]
        fn slots_fit(tokens in prop::collection::vec(0u64..2000, 0..10), per_token in 0u64..9, room in 0u64..20_000) {
            let (per_token, room) = (ByteCount::bytes(per_token), ByteCount::bytes(room));
            let held = slots(&tokens);
            let saved = worth_saving(held.clone(), per_token, room);
            prop_assert!(size_of(&saved, per_token) <= room);
            prop_assert!(saved.iter().all(|slot| slot.tokens >= TOKENS_MIN));
            for slot in held.iter().filter(|slot| !saved.contains(slot) && slot.tokens >= TOKENS_MIN) {
                prop_assert!(size_of(&saved, per_token) + per_token.saturating_mul(slot.tokens) > room);
            }
        }
    }
}
