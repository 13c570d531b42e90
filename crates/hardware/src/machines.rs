//! Whole machines, as recorded: everything detection reads of them is in one file each, with what it must make of it.
//!
//! A file has parts that begin with `==`:
//!
//! ```text
//! == file PATH            the file's text, up to the next part; `\0` is a zero byte
//! == folder PATH          small files of one folder: `name text` a line; `name -> target` is a link
//! == run PROGRAM ARGS     what the program prints when it is asked so
//! == hang PROGRAM ARGS    it never answers
//! == fail PROGRAM ARGS    it prints this to standard error, and fails
//! == nvml                 what NVIDIA's library says, as JSON
//! == macos                the machine runs macOS
//! == expect               the processor, the memory, the accelerators, the notes
//! ```
//!
//! `SNUG_UPDATE_MACHINES=1` writes the last part anew.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::nvidia::nvml::{Absent, Answer, Nvml};
use crate::report::Hardware;
use crate::{Doors, Os, Source, detect};

/// A recorded machine, unpacked.
pub(crate) struct Machine {
    pub(crate) doors: Doors,
    root: tempfile::TempDir,
    expected: String,
}

struct Recorded(Result<Answer, Absent>);

impl Nvml for Recorded {
    fn ask(&self) -> Result<Answer, Absent> {
        self.0.clone()
    }
}

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

impl Machine {
    pub(crate) fn named(name: &str) -> Self {
        Self::unpack(&std::fs::read_to_string(fixtures().join(format!("{name}.txt"))).unwrap())
    }

    /// Something happens to it.
    pub(crate) fn write(&self, path: &str, text: &str) {
        write(&self.root.path().join(path), text);
    }

    fn unpack(text: &str) -> Self {
        let root = tempfile::tempdir().unwrap();
        let bin = root.path().join("recorded-programs");
        std::fs::create_dir(&bin).unwrap();
        let (mut os, mut nvml, mut expected) = (Os::Linux, Recorded(Err(Absent::Library)), String::new());
        // Device trees hold zero bytes, which would make a file of text one of bytes.
        let text = format!("\n{text}").replace("\\0", "\0");
        for part in text.split("\n== ").skip(1) {
            let (head, body) = part.split_once('\n').unwrap_or((part, ""));
            let (kind, rest) = head.split_once(' ').unwrap_or((head, ""));
            match kind {
                "file" => write(&root.path().join(rest), body),
                "folder" => {
                    for line in body.lines().filter(|line| !line.is_empty()) {
                        let (name, text) = line.split_once(' ').unwrap_or((line, ""));
                        let path = root.path().join(rest).join(name);
                        match text.strip_prefix("-> ") {
                            Some(target) => {
                                std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                                std::os::unix::fs::symlink(target, path).unwrap();
                            }
                            None if text == "(unreadable)" => std::fs::create_dir_all(path).unwrap(),
                            None => write(&path, &format!("{text}\n")),
                        }
                    }
                }
                "run" | "hang" | "fail" => {
                    // A link to one committed program: a program written here could be busy when it is started, because
                    // another test's child still holds it open for writing.
                    let program = rest.split(' ').next().unwrap();
                    let link = bin.join(program);
                    if !link.exists() {
                        std::os::unix::fs::symlink(fixtures().join("program"), link).unwrap();
                    }
                    write(&bin.join(format!("{rest} ({kind})")), body);
                }
                "nvml" => {
                    nvml = Recorded(match body.trim().strip_prefix("silent: ") {
                        Some(why) => Err(Absent::Silent(why.to_owned())),
                        None => Ok(serde_json::from_str(body).unwrap()),
                    });
                }
                "macos" => os = Os::MacOs,
                "expect" => expected = body.to_owned(),
                kind => panic!("unknown part `{kind}`"),
            }
        }
        let doors = Doors {
            root: root.path().to_owned(),
            path: OsString::from(&bin),
            os,
            // A recorded program takes milliseconds; this machine may be busy with other tests.
            program_time: Duration::from_secs(if text.contains("\n== hang") { 3 } else { 20 }),
            time: Duration::from_secs(30),
            visibility: vec![],
            nvml: Arc::new(nvml),
        };
        Self { doors, root, expected }
    }
}

fn write(path: &Path, text: &str) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

/// What is made of a recorded machine is what its file expects.
fn check(name: &str) {
    let machine = Machine::named(name);
    let told = format!("{}", Hardware(&detect(&machine.doors)));
    if std::env::var_os("SNUG_UPDATE_MACHINES").is_some() {
        let path = fixtures().join(format!("{name}.txt"));
        let text = std::fs::read_to_string(&path).unwrap();
        let kept = text.split("== expect\n").next().unwrap();
        std::fs::write(path, format!("{kept}== expect\n{told}")).unwrap();
    } else {
        assert_eq!(told, machine.expected, "{name}");
    }
}

/// One test for each file, so that a failure names its machine.
macro_rules! machines {
    ($($test:ident = $file:literal),* $(,)?) => {
        $(#[test] fn $test() { check($file); })*

        #[test]
        fn every_recorded_machine_is_tested() {
            let mut files: Vec<String> = std::fs::read_dir(fixtures()).unwrap()
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .filter_map(|name| name.strip_suffix(".txt").map(str::to_owned))
                .collect();
            files.sort();
            let mut tested = vec![$($file.to_owned()),*];
            tested.sort();
            assert_eq!(files, tested);
        }
    };
}

machines! {
    rtx_4090 = "rtx-4090",
    two_rtx_3090_by_program = "2x-rtx-3090-nvidia-smi",
    h100_in_slices = "h100-mig",
    h100_in_slices_by_program = "h100-mig-nvidia-smi",
    eight_a100 = "8x-a100",
    dgx_spark = "dgx-spark",
    jetson_orin = "jetson-orin",
    jetson_orin_by_program = "jetson-orin-nvidia-smi",
    nvidia_in_a_container_without_utilities = "rtx-4090-no-nvml",
    nvidia_without_a_driver = "rtx-4090-nouveau",
    rx_7900_xtx = "rx-7900-xtx",
    a_card_newer_than_our_table_named_by_rocm_smi = "new-radeon-rocm-smi",
    two_mi300x = "2x-mi300x",
    strix_halo = "strix-halo",
    strix_halo_carved = "strix-halo-carve-out",
    ryzen_7840u = "ryzen-7840u",
    ryzen_7950x_with_a_card = "ryzen-7950x-rx-6800",
    arc_a770_i915 = "arc-a770-i915",
    arc_b580_xe = "arc-b580-xe",
    lunar_lake = "lunar-lake",
    old_intel = "uhd-630",
    laptop_with_two = "laptop-iris-xe-rtx-3050",
    m2_max = "m2-max",
    m4_pro = "m4-pro",
    intel_mac = "imac-intel",
    ascend = "ascend-910b",
    vulkan_only = "vulkan-llvmpipe",
    vulkan_software_only = "vulkan-software-only",
    cloud_cpu = "graviton-cgroup",
    grace_hopper = "gh200",
    container_without_its_devices = "container-without-devices",
    sandbox_that_hides_the_bus = "drm-only",
    broken_files = "broken-files",
    broken_programs = "broken-programs",
    broken_json = "broken-json",
    nothing_at_all = "nothing",
}

/// Files and outputs that end anywhere: less is known of the machine, and nothing breaks.
#[test]
fn recordings_cut_short_break_nothing() {
    for file in std::fs::read_dir(fixtures()).unwrap() {
        let path = file.unwrap().path();
        let Some(text) = path.extension().and_then(|_| std::fs::read_to_string(&path).ok()) else { continue };
        for percent in [10, 50, 95] {
            let cut = |part: &str| {
                let (head, body) = part.split_once('\n').unwrap_or((part, ""));
                // What stands for the library is ours, and whole or not there.
                let keep = if head.starts_with("nvml") { body.len() } else { body.len() * percent / 100 };
                let kept = String::from_utf8_lossy(&body.as_bytes()[..keep]).into_owned();
                // A name of a folder's file is not to be cut: it would be another folder's.
                let whole_lines = kept.rfind('\n').map_or("", |end| &kept[..end]);
                format!("== {head}\n{}\n", if head.starts_with("folder") { whole_lines } else { &kept })
            };
            let parts = text.strip_prefix("== ").unwrap().split("\n== ").filter(|part| !part.starts_with("hang"));
            let machine = Machine::unpack(&parts.map(cut).collect::<String>());
            let system = detect(&machine.doors);
            let broken = system.notes.iter().find(|note| note.text.contains("broke off"));
            assert_eq!(broken, None, "{} cut to {percent} %", path.display());
        }
    }
}

#[test]
fn a_program_that_hangs_costs_its_time_and_no_more() {
    let machine = Machine::unpack("== hang nvidia-smi\n== hang npu-smi info\n== hang vulkaninfo --summary\n");
    let start = Instant::now();
    let system = detect(&machine.doors);
    assert_eq!(system.accelerators, []);
    // Two rounds of three seconds each; the bound leaves room for a busy machine.
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
}

#[test]
fn a_driver_that_hangs_is_a_note() {
    struct Hangs(std::sync::Mutex<std::sync::mpsc::Receiver<()>>);
    impl Nvml for Hangs {
        fn ask(&self) -> Result<Answer, Absent> {
            // Until the test is over.
            let _ = self.0.lock().unwrap().recv();
            Err(Absent::Library)
        }
    }
    let (_until_the_end, over) = std::sync::mpsc::sync_channel(0);
    let mut machine = Machine::named("rx-7900-xtx");
    machine.doors.nvml = Arc::new(Hangs(over.into()));
    machine.doors.time = Duration::from_secs(3);
    let system = detect(&machine.doors);
    assert!(system.accelerators.iter().any(|one| one.source == Source::Sysfs), "the others are heard");
    assert!(system.notes.iter().any(|note| note.about == "NVIDIA" && note.text.contains("no answer")));
}

#[test]
fn this_machine_is_looked_at_without_failing() {
    let system = detect(&Doors::here());
    assert!(system.cpu.cores >= 1 && system.cpu.cores_physical <= system.cpu.cores);
    assert!(system.ram.total > types::ByteCount::mib(64));
    assert!(crate::report(&system).to_string().contains(&system.cpu.name));
}
