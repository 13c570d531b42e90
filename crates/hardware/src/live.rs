//! The machine as it is now: one task looks, everybody else reads what it saw last.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::cpu::Times;
use crate::detect::refresh;
use crate::{Doors, Note, OverrideError, Overrides, System, bandwidth, detect};

/// Who asks how it is now waits for a look no longer than this, and then gets what was seen last.
const NOW: Duration = Duration::from_millis(500);
/// What was seen so long ago at most is as good as now.
const STILL_NOW: Duration = Duration::from_millis(100);
/// Wishes that wait for a look; looks are quick, and one serves all who wait.
const WISHES_MAX: usize = 16;
/// Over so long at least the use of the processor is taken: the kernel counts in hundredths of a second.
const USE_LEAST: Duration = Duration::from_millis(200);

/// How a [`Watch`] looks.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Through which doors.
    pub doors: Doors,
    /// What a person says against what they tell.
    pub overrides: Overrides,
    /// How often usage is read. 3 s suits people and placement alike.
    pub refresh_every: Duration,
    /// How often everything is looked at anew, for cards that come, go or change their driver. 10 min: it starts programs.
    pub detect_every: Duration,
    /// The folder that remembers how fast the processor reads memory ([`bandwidth::once`]); measured in the background if it
    /// does not. `None`: not to be measured.
    pub bandwidth_folder: Option<PathBuf>,
}

impl Settings {
    /// Of this machine, as it is, at the usual times.
    pub fn here() -> Self {
        Self {
            doors: Doors::here(),
            overrides: Overrides::default(),
            refresh_every: Duration::from_secs(3),
            detect_every: Duration::from_mins(10),
            bandwidth_folder: None,
        }
    }
}

/// A machine that is looked at again and again. Cheap to clone and to ask.
#[derive(Clone, Debug)]
pub struct Watch {
    system: watch::Receiver<Arc<System>>,
    again: mpsc::Sender<Wish>,
}

/// Somebody wants a look.
#[derive(Debug)]
struct Wish {
    look: Look,
    /// Told after it, if somebody waits.
    seen: Option<oneshot::Sender<()>>,
}

impl Watch {
    /// Looks for the first time, and has a task of `tracker` look on until `stop`.
    ///
    /// # Errors
    /// The overrides do not suit this machine.
    pub async fn start(
        settings: Settings,
        tracker: &TaskTracker,
        stop: CancellationToken,
    ) -> Result<Self, OverrideError> {
        let mut eyes =
            Eyes { settings, seen: None, pending: None, cpu_bandwidth: None, cpu_times: None, cpu_busy: None };
        eyes.look(Look::Everything).await;
        let first = eyes.shown()?;
        let (publish, system) = watch::channel(Arc::new(first));
        let (again, asked) = mpsc::channel(WISHES_MAX);
        tracker.spawn(run(eyes, publish, asked, stop));
        Ok(Self { system, again })
    }

    /// One that never changes: a simulated machine.
    pub fn of(system: System) -> Self {
        // Nobody hears either end: what is published stays, what is asked is dropped.
        let (_, system) = watch::channel(Arc::new(system));
        let (again, _) = mpsc::channel(1);
        Self { system, again }
    }

    /// As it was seen last.
    pub fn system(&self) -> Arc<System> {
        self.system.borrow().clone()
    }

    /// Tells of every change; closed once nobody looks any more.
    pub fn changes(&self) -> watch::Receiver<Arc<System>> {
        self.system.clone()
    }

    /// Asks for everything to be looked at anew, soon.
    pub fn look_again(&self) {
        // Full: it is asked for already. Closed: nobody looks any more.
        let _ = self.again.try_send(Wish { look: Look::Everything, seen: None });
    }

    /// As it is now: what is used and free is read again, unless that was done a moment ago or takes too long.
    pub async fn now(&self) -> Arc<System> {
        let looked = async {
            let (seen, looked) = oneshot::channel();
            // Nobody looks any more, or the machine is made up: it is as it was seen last.
            if self.again.send(Wish { look: Look::Usage, seen: Some(seen) }).await.is_ok() {
                let _ = looked.await;
            }
        };
        let _late = timeout(NOW, looked).await;
        self.system()
    }
}

async fn run(
    mut eyes: Eyes,
    publish: watch::Sender<Arc<System>>,
    mut asked: mpsc::Receiver<Wish>,
    stop: CancellationToken,
) {
    let mut measured = eyes.measure();
    let mut detected = Instant::now();
    let mut looked = detected;
    let mut ticks = tokio::time::interval(eyes.settings.refresh_every.max(Duration::from_millis(1)));
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    ticks.reset();
    loop {
        let mut waiting = vec![];
        // Waiting for a tick, a message or the end loses nothing when another of them comes first.
        let look = tokio::select! {
            () = stop.cancelled() => return,
            Some(first) = asked.recv() => {
                let mut looks = vec![first.look];
                waiting.extend(first.seen);
                while let Ok(wish) = asked.try_recv() {
                    looks.push(wish.look);
                    waiting.extend(wish.seen);
                }
                let is_new = looked.elapsed() <= STILL_NOW;
                let everything = looks.contains(&Look::Everything).then_some(Look::Everything);
                everything.or((!is_new).then_some(Look::Usage))
            }
            bandwidth = ended(&mut measured) => {
                (measured, eyes.cpu_bandwidth) = (None, bandwidth);
                None
            }
            _ = ticks.tick() => {
                let is_due = detected.elapsed() >= eyes.settings.detect_every;
                Some(if is_due { Look::Everything } else { Look::Usage })
            }
        };
        if look == Some(Look::Everything) {
            detected = Instant::now();
        }
        if let Some(look) = look {
            tokio::select! {
                // The thread that looks ends by itself; nobody waits for it.
                () = stop.cancelled() => return,
                () = eyes.look(look) => {}
            }
            looked = Instant::now();
        }
        match eyes.shown() {
            Ok(system) => {
                publish.send_if_modified(|shown| {
                    let is_new = **shown != system;
                    if is_new {
                        *shown = Arc::new(system);
                    }
                    is_new
                });
            }
            // The machine changed so that they cannot be any more: what they made of it before stays.
            Err(error) => tracing::warn!(%error, "the hardware changed and the overrides do not suit it any more"),
        }
        for seen in waiting {
            // Who asked may have gone.
            let _ = seen.send(());
        }
    }
}

/// What a measurement came to; never, if there is none.
async fn ended(measured: &mut Option<oneshot::Receiver<Option<f64>>>) -> Option<f64> {
    match measured {
        Some(measured) => measured.await.ok().flatten(),
        None => std::future::pending().await,
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Look {
    Everything,
    Usage,
}

/// Looks on threads of its own, one at a time: a driver may hang for ever, and a runtime waits for its threads.
struct Eyes {
    settings: Settings,
    seen: Option<System>,
    /// A look that has not ended in its time.
    pending: Option<oneshot::Receiver<(System, Option<Times>)>>,
    cpu_bandwidth: Option<f64>,
    /// What the kernel said of the cores' work, and when.
    cpu_times: Option<(Times, Instant)>,
    cpu_busy: Option<f64>,
}

impl Eyes {
    async fn look(&mut self, look: Look) {
        let answer = match self.pending.take() {
            Some(pending) => pending,
            None => {
                let (sender, answer) = oneshot::channel();
                let (doors, seen) = (self.settings.doors.clone(), self.seen.clone());
                let thread = std::thread::Builder::new().name("hardware".to_owned());
                let work = move || {
                    let system = match seen {
                        Some(seen) if look == Look::Usage => refresh(&doors, &seen),
                        _ => detect(&doors),
                    };
                    // If nobody waits any more, snug is ending.
                    let _ = sender.send((system, Times::read(doors.os, &doors.root)));
                };
                if let Err(error) = thread.spawn(work) {
                    tracing::warn!(%error, "cannot look at the hardware");
                    return;
                }
                answer
            }
        };
        self.wait(answer).await;
    }

    async fn wait(&mut self, mut answer: oneshot::Receiver<(System, Option<Times>)>) {
        // A detection ends by itself in its time, with all it could learn; a little more lets it win.
        let limit = self.settings.doors.time + Duration::from_secs(1);
        match timeout(limit, &mut answer).await {
            Ok(Ok((system, times))) => {
                self.seen = Some(system);
                self.worked(times);
            }
            // It panicked, which the log has: what was seen before stays.
            Ok(Err(_)) => {}
            Err(_) => {
                let note = Note::new(
                    "usage",
                    format!("what is used and free was not told within {limit:?}, and is old"),
                    "a driver may hang: look at `dmesg`",
                );
                let seen = self.seen.get_or_insert_with(|| unseen(&self.settings.doors));
                if !seen.notes.contains(&note) {
                    seen.notes.push(note);
                }
                self.pending = Some(answer);
            }
        }
    }

    /// How busy the processor was since the look before.
    fn worked(&mut self, times: Option<Times>) {
        let now = Instant::now();
        match (times, self.cpu_times) {
            (Some(times), Some((before, at))) if now - at >= USE_LEAST => {
                self.cpu_busy = times.share_since(before);
                self.cpu_times = Some((times, now));
            }
            (Some(times), None) => self.cpu_times = Some((times, now)),
            _ => {}
        }
    }

    /// Begins to measure how fast the processor reads memory, or to read what it was.
    fn measure(&self) -> Option<oneshot::Receiver<Option<f64>>> {
        let folder = self.settings.bandwidth_folder.clone()?;
        let (cpu, ram) = self.seen.as_ref().map(|seen| (seen.cpu.clone(), seen.ram))?;
        let (sender, measured) = oneshot::channel();
        let thread = std::thread::Builder::new().name("memory-bandwidth".to_owned());
        // If nobody waits any more, snug is ending; without a thread it stays unknown.
        thread.spawn(move || sender.send(bandwidth::once(&folder, &cpu, ram))).ok()?;
        Some(measured)
    }

    fn shown(&self) -> Result<System, OverrideError> {
        let mut system = self.seen.clone().unwrap_or_else(|| unseen(&self.settings.doors));
        system.cpu.bandwidth = self.cpu_bandwidth;
        system.cpu.busy = self.cpu_busy;
        self.settings.overrides.apply(&system)
    }
}

/// What can be said of a machine that could not be looked at.
fn unseen(doors: &Doors) -> System {
    System {
        node_name: crate::node_name(),
        os: doors.os.as_str().to_owned(),
        cpu: crate::Cpu {
            name: "unknown".to_owned(),
            backend: types::Backend::of_this_cpu(),
            cores: 1,
            cores_physical: 1,
            bandwidth: None,
            busy: None,
        },
        ram: crate::Ram::default(),
        accelerators: vec![],
        notes: vec![Note::new("hardware", "nothing answered in time", "look at `dmesg`, and start snug again")],
        simulated: false,
        records: [].into(),
    }
}

#[cfg(test)]
mod tests {
    use types::ByteCount;

    use super::*;
    use crate::machines::Machine;

    fn settings(machine: &Machine) -> Settings {
        let refresh_every = Duration::from_millis(5);
        Settings { doors: machine.doors.clone(), refresh_every, ..Settings::here() }
    }

    /// The machine once it is so; a minute is for ever.
    async fn seen(changes: &mut watch::Receiver<Arc<System>>, is_so: impl Fn(&System) -> bool) -> Arc<System> {
        let wait = changes.wait_for(|system| is_so(system));
        timeout(Duration::from_mins(1), wait).await.expect("seen within a minute").unwrap().clone()
    }

    #[tokio::test]
    async fn usage_is_followed() {
        let machine = Machine::named("rx-7900-xtx");
        let (tracker, stop) = (TaskTracker::new(), CancellationToken::new());
        let watch = Watch::start(settings(&machine), &tracker, stop.clone()).await.unwrap();
        let before = watch.system();
        let total = before.accelerators[0].memory;
        machine.write("sys/bus/pci/devices/0000:03:00.0/mem_info_vram_used", "4294967296\n");
        let mut changes = watch.changes();
        let system = seen(&mut changes, |system| system.accelerators[0].used == Some(ByteCount::gib(4))).await;
        assert_eq!(system.accelerators[0].free, Some(total.saturating_sub(ByteCount::gib(4))));
        assert_eq!(system.records, before.records, "only usage was read");
        // A card that comes is seen when somebody asks, long before the next look at everything.
        machine.write("sys/bus/pci/devices/0000:09:00.0/vendor", "0x1002\n");
        machine.write("sys/bus/pci/devices/0000:09:00.0/device", "0x73bf\n");
        machine.write("sys/bus/pci/devices/0000:09:00.0/mem_info_vram_total", "17163091968\n");
        watch.look_again();
        seen(&mut changes, |system| system.accelerators.len() == 2).await;
        stop.cancel();
        tracker.close();
        tracker.wait().await;
        assert_eq!(watch.system().accelerators.len(), 2, "what was seen last stays");
    }

    #[tokio::test]
    async fn who_asks_for_now_does_not_wait_for_the_next_look() {
        let machine = Machine::named("rx-7900-xtx");
        machine.write("proc/stat", "cpu  100 0 0 900 0 0 0 0 0 0\n");
        let (tracker, stop) = (TaskTracker::new(), CancellationToken::new());
        let refresh_every = Duration::from_hours(1);
        let settings = Settings { refresh_every, ..settings(&machine) };
        let watch = Watch::start(settings, &tracker, stop.clone()).await.unwrap();
        assert_eq!(watch.system().cpu.busy, None);
        machine.write("sys/bus/pci/devices/0000:03:00.0/mem_info_vram_used", "4294967296\n");
        machine.write("sys/bus/pci/devices/0000:03:00.0/gpu_busy_percent", "35\n");
        machine.write("proc/stat", "cpu  400 0 0 1000 0 0 0 0 0 0\n");
        let is_so = |system: &System| {
            let one = &system.accelerators[0];
            one.used == Some(ByteCount::gib(4)) && one.busy == Some(0.35) && system.cpu.busy == Some(0.75)
        };
        let asking = async {
            // What was seen a moment ago is not looked at again.
            while !is_so(&*watch.now().await) {
                tokio::task::yield_now().await;
            }
        };
        timeout(Duration::from_mins(1), asking).await.expect("seen within a minute");
        stop.cancel();
        tracker.close();
        tracker.wait().await;
        assert!(is_so(&*watch.now().await), "as it was seen last");
        assert_eq!(*Watch::of(System::clone(&watch.system())).now().await, *watch.system());
    }

    #[tokio::test]
    async fn overrides_hold_while_usage_changes() {
        let machine = Machine::named("rx-7900-xtx");
        let (tracker, stop) = (TaskTracker::new(), CancellationToken::new());
        let overrides = Overrides { memory: Some("16G".parse().unwrap()), ..Overrides::default() };
        machine.write("memory-bandwidth.json", "{\"AMD Ryzen 7 7700 8-Core Processor, 16 cores\": 5e10}");
        let bandwidth_folder = Some(machine.doors.root.clone());
        let settings = Settings { overrides, bandwidth_folder, ..settings(&machine) };
        let watch = Watch::start(settings, &tracker, stop.clone()).await.unwrap();
        machine.write("sys/bus/pci/devices/0000:03:00.0/mem_info_vram_used", "4294967296\n");
        let mut changes = watch.changes();
        let free = Some(ByteCount::gib(12));
        let is_so = |system: &System| system.accelerators[0].free == free && system.cpu.bandwidth == Some(5e10);
        let system = seen(&mut changes, is_so).await;
        assert_eq!(system.accelerators[0].memory, ByteCount::gib(16));
        stop.cancel();
    }

    #[tokio::test]
    async fn overrides_that_cannot_be_are_refused_at_the_start() {
        let machine = Machine::named("nothing");
        let overrides = Overrides { cpu_cores: Some(0), ..Overrides::default() };
        let settings = Settings { overrides, ..settings(&machine) };
        let refused = Watch::start(settings, &TaskTracker::new(), CancellationToken::new()).await;
        assert_eq!(refused.err(), Some(OverrideError::Zero("cores")));
    }
}
