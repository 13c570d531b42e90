//! Looks through all doors at once, in a bounded time, and makes one machine of what they tell.

use std::collections::BTreeSet;
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::time::Instant;

use crate::probe::{Doors, Os, Probe, Record};
use crate::{Accelerator, Note, Ram, Source, System};
use crate::{amd, apple, ascend, cpu, intel, known, node_name, nvidia, ram, vulkan};

/// One vendor's way of looking.
type Look = fn(&mut Probe) -> Vec<Accelerator>;

/// What this machine has. Blocks for [`Doors::time`] at most, and never fails: what could not be read is a note.
pub fn detect(doors: &Doors) -> System {
    let end = Instant::now() + doors.time;
    let mut probe = Probe::new(doors, Ram::default(), a_little_before(end, doors));
    let ram = system_memory(&mut probe, doors);
    let cpu = cpu::read(&mut probe, doors.os, &doors.root);
    let looks: &[(&'static str, Look)] = match doors.os {
        Os::Linux => &[("NVIDIA", nvidia::look), ("AMD", amd::look), ("Intel", intel::look), ("Ascend", ascend::look)],
        Os::MacOs => &[("Apple", apple::look)],
    };
    let mut found = look_through(doors, ram, looks, end);
    if found.accelerators.is_empty() && doors.os == Os::Linux {
        found.append(look_through(doors, ram, &[("Vulkan", vulkan::look)], end));
    }
    let (mut notes, mut records) = probe.into_parts();
    notes.append(&mut found.notes);
    records.append(&mut found.records);
    let mut accelerators = without_lesser(without_twins(found.accelerators), &mut notes);
    for one in &mut accelerators {
        one.part = one.part.or_else(|| known::part(one, ram));
        let target = one.part.map(|part| part.target).filter(|target| !target.is_empty());
        one.compute_capability = one.compute_capability.take().or_else(|| target.map(str::to_owned));
    }
    for (name, value) in doors.visibility.iter().filter(|_| !accelerators.is_empty()) {
        let text = format!("is set to `{value}`: engines see only those devices");
        notes.push(Note::new(*name, text, "unset it if they are to use all that are listed"));
    }
    for note in &notes {
        tracing::debug!(about = note.about, "{note}");
    }
    System {
        node_name: node_name(),
        os: doors.os.as_str().to_owned(),
        cpu,
        ram,
        accelerators,
        notes,
        simulated: false,
        records: records.into(),
    }
}

pub(crate) fn system_memory(probe: &mut Probe, doors: &Doors) -> Ram {
    let read = match doors.os {
        Os::Linux => ram::linux(&doors.root),
        Os::MacOs => apple::ram(probe),
    };
    read.unwrap_or_else(|| {
        probe.note("RAM", "the system does not tell how much there is", "give --ram");
        Ram::default()
    })
}

/// What one or several doors told.
#[derive(Default)]
struct Found {
    accelerators: Vec<Accelerator>,
    notes: Vec<Note>,
    records: Vec<Record>,
}

impl Found {
    fn append(&mut self, mut other: Self) {
        self.accelerators.append(&mut other.accelerators);
        self.notes.append(&mut other.notes);
        self.records.append(&mut other.records);
    }
}

/// Each door gets a thread: a driver that hangs keeps its own only, for ever if need be, and nobody waits for it.
fn look_through(doors: &Doors, ram: Ram, looks: &[(&'static str, Look)], end: Instant) -> Found {
    let mut found: Vec<Option<Found>> = looks.iter().map(|_| None).collect();
    let (sender, answers) = sync_channel(looks.len());
    for (index, (name, look)) in looks.iter().enumerate() {
        let (doors, look, sender) = (doors.clone(), *look, sender.clone());
        let thread = std::thread::Builder::new().name(format!("look-{name}"));
        // Without a thread there is no answer, which is noted below.
        let _ = thread.spawn(move || answer(&doors, ram, end, look, index, &sender));
    }
    drop(sender);
    let mut has_ended = true;
    while found.iter().any(Option::is_none) {
        match answers.recv_timeout(end.saturating_duration_since(Instant::now())) {
            Ok((index, answer)) => found[index] = Some(answer),
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => {
                has_ended = false;
                break;
            }
        }
    }
    let mut all = Found::default();
    for (answer, (name, _)) in found.into_iter().zip(looks) {
        all.append(answer.unwrap_or_else(|| {
            let (text, hint) = if has_ended {
                ("looking for devices broke off".to_owned(), "please report it with the output of `snug doctor`")
            } else {
                (format!("no answer within {:?}", doors.time), "a driver may hang: look at `dmesg`")
            };
            Found { notes: vec![Note::new(*name, text, hint)], ..Found::default() }
        }));
    }
    all
}

/// What a door that ran out of time has to say must still be heard.
fn a_little_before(end: Instant, doors: &Doors) -> Instant {
    end.checked_sub(doors.time / 10).unwrap_or(end)
}

fn answer(doors: &Doors, ram: Ram, end: Instant, look: Look, index: usize, sender: &SyncSender<(usize, Found)>) {
    let mut probe = Probe::new(doors, ram, a_little_before(end, doors));
    let accelerators = look(&mut probe);
    let (notes, records) = probe.into_parts();
    // If nobody waits any more, the answer came too late.
    let _ = sender.send((index, Found { accelerators, notes, records }));
}

/// The same card told by two doors is one; the first told counts. Slices share their card's address.
fn without_twins(accelerators: Vec<Accelerator>) -> Vec<Accelerator> {
    let mut seen = BTreeSet::new();
    let mut is_new = |one: &Accelerator| match (&one.mig, &one.address) {
        (None, Some(address)) => seen.insert(address.clone()),
        _ => true,
    };
    accelerators.into_iter().filter(|one| is_new(one)).collect()
}

/// A processor's graphics beside a card of its own memory only slow it down: engines are not to spread over both.
fn without_lesser(accelerators: Vec<Accelerator>, notes: &mut Vec<Note>) -> Vec<Accelerator> {
    let has_card = accelerators.iter().any(|one| !one.unified);
    let is_lesser = |one: &Accelerator| has_card && one.unified && one.source != Source::Simulated;
    let (lesser, kept): (Vec<_>, Vec<_>) = accelerators.into_iter().partition(is_lesser);
    notes.extend(
        lesser
            .into_iter()
            .map(|one| Note::new(one.name, "left out: a graphics card is faster than the processor's", "")),
    );
    kept
}

/// What is used and free now, of the devices that `system` has. Quick: no door is tried that told nothing, and no program
/// started but `nvidia-smi` where it was the one that told. Blocks for as long as a driver does, though.
pub(crate) fn refresh(doors: &Doors, system: &System) -> System {
    let mut system = system.clone();
    let mut probe = Probe::new(doors, system.ram, Instant::now() + doors.time);
    let ram = system_memory(&mut probe, doors);
    if ram != Ram::default() {
        system.ram = ram;
    }
    nvidia::refresh(&mut probe, &mut system.accelerators);
    amd::refresh(&mut probe, &mut system.accelerators);
    for one in system.accelerators.iter_mut().filter(|one| one.unified && one.used.is_none()) {
        one.free = Some(one.memory.min(system.ram.available));
    }
    system
}
