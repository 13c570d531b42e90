//! What was detected and how, for `snug doctor`: a page a person can read, or hand to somebody who helps.

use std::fmt;

use serde::Serialize;

use crate::{Accelerator, Record, System};

/// A machine with everything that was read to know it. Serialises for `--json`, prints for people.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Report<'a> {
    /// What was made of it, with the notes.
    pub system: &'a System,
    /// What every door answered, each shortened to 4 KiB. May hold serial numbers of devices; no names of users, no keys.
    pub answers: &'a [Record],
}

/// Of `system`, with what its doors answered.
pub fn report(system: &System) -> Report<'_> {
    Report { system, answers: &system.records }
}

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let System { node_name, os, .. } = self.system;
        let made_up = if self.system.simulated { ", simulated" } else { "" };
        writeln!(f, "machine    {node_name} ({os}{made_up})")?;
        write!(f, "{}", Hardware(self.system))?;
        if !self.answers.is_empty() {
            writeln!(f, "\nwhat was read")?;
        }
        for Record { asked, answer } in self.answers {
            writeln!(f, "> {asked}")?;
            for line in answer.trim_end().lines() {
                writeln!(f, "  {line}")?;
            }
        }
        Ok(())
    }
}

/// The part of a report that is the same whatever the machine is called.
pub(crate) struct Hardware<'a>(pub(crate) &'a System);

impl fmt::Display for Hardware<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let System { cpu, ram, accelerators, notes, .. } = self.0;
        write!(f, "processor  {}, {} cores ({} physical), {}", cpu.name, cpu.cores, cpu.cores_physical, cpu.backend)?;
        match cpu.bandwidth {
            Some(bandwidth) => writeln!(f, ", {:.1} GB/s", bandwidth / 1e9)?,
            None => writeln!(f)?,
        }
        writeln!(f, "memory     {}, {} available", ram.total, ram.available)?;
        for one in accelerators {
            writeln!(f, "{:<10} {}", one.backend.as_str(), Line(one))?;
        }
        for note in notes {
            writeln!(f, "note       {note}")?;
        }
        Ok(())
    }
}

struct Line<'a>(&'a Accelerator);

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let one = self.0;
        write!(f, "{}: {}", one.name, one.memory)?;
        if one.unified {
            write!(f, " of the system's memory")?;
        }
        if one.unified && one.reserved > types::ByteCount::ZERO {
            write!(f, ", reserved by firmware")?;
        }
        if let Some(used) = one.used {
            write!(f, ", {used} used")?;
        }
        if let Some(free) = one.free {
            write!(f, ", {free} free")?;
        }
        if let Some(profile) = &one.mig {
            write!(f, "; slice {profile}")?;
        }
        if let Some(capability) = &one.compute_capability {
            write!(f, "; {capability}")?;
        }
        if let Some(id) = one.pci_id {
            write!(f, "; {id}")?;
        }
        if let Some(address) = &one.address {
            write!(f, " at {address}")?;
        }
        if let Some(link) = one.link {
            write!(f, "; PCIe {}.0 x{}", link.generation, link.width)?;
        }
        if let Some(driver) = &one.driver {
            write!(f, "; driver {driver}")?;
        }
        match (one.part, one.bandwidth()) {
            (Some(part), Some(bandwidth)) => write!(f, "; {} with {:.0} GB/s", part.name, bandwidth / 1e9)?,
            _ => write!(f, "; of no part that is known")?,
        }
        write!(f, "; by {}", one.source)
    }
}
