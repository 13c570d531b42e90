//! The machine as it is now: one task looks, everybody else reads what it saw last.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::detect::refresh;
use crate::{Doors, Note, OverrideError, Overrides, System, detect};

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
    /// What the processor reads from memory, bytes/s, if it was measured ([`crate::bandwidth`]).
    pub cpu_bandwidth: Option<f64>,
}

impl Settings {
    /// Of this machine, as it is, at the usual times.
    pub fn here() -> Self {
        Self {
            doors: Doors::here(),
            overrides: Overrides::default(),
            refresh_every: Duration::from_secs(3),
            detect_every: Duration::from_mins(10),
            cpu_bandwidth: None,
        }
    }
}

/// A machine that is looked at again and again. Cheap to clone and to ask.
#[derive(Clone, Debug)]
pub struct Watch {
    system: watch::Receiver<Arc<System>>,
    again: mpsc::Sender<()>,
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
        let mut eyes = Eyes { settings, seen: None, pending: None };
        eyes.look(Look::Everything).await;
        let first = eyes.shown()?;
        let (publish, system) = watch::channel(Arc::new(first));
        let (again, asked) = mpsc::channel(1);
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

    /// Tells of every change.
    pub fn changes(&self) -> watch::Receiver<Arc<System>> {
        self.system.clone()
    }

    /// Asks for everything to be looked at anew, soon.
    pub fn look_again(&self) {
        // Full: it is asked for already. Closed: nobody looks any more.
        let _ = self.again.try_send(());
    }
}

async fn run(
    mut eyes: Eyes,
    publish: watch::Sender<Arc<System>>,
    mut asked: mpsc::Receiver<()>,
    stop: CancellationToken,
) {
    let mut detected = Instant::now();
    let mut ticks = tokio::time::interval(eyes.settings.refresh_every.max(Duration::from_millis(1)));
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    ticks.reset();
    loop {
        // Waiting for a tick, a message or the end loses nothing when another of them comes first.
        let look = tokio::select! {
            () = stop.cancelled() => return,
            Some(()) = asked.recv() => Look::Everything,
            _ = ticks.tick() => {
                let is_due = detected.elapsed() >= eyes.settings.detect_every;
                if is_due { Look::Everything } else { Look::Usage }
            }
        };
        if look == Look::Everything {
            detected = Instant::now();
        }
        tokio::select! {
            // The thread that looks ends by itself; nobody waits for it.
            () = stop.cancelled() => return,
            () = eyes.look(look) => {}
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
    pending: Option<oneshot::Receiver<System>>,
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
                    let _ = sender.send(system);
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

    async fn wait(&mut self, mut answer: oneshot::Receiver<System>) {
        // A detection ends by itself in its time, with all it could learn; a little more lets it win.
        let limit = self.settings.doors.time + Duration::from_secs(1);
        match timeout(limit, &mut answer).await {
            Ok(Ok(system)) => self.seen = Some(system),
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

    fn shown(&self) -> Result<System, OverrideError> {
        let mut system = self.seen.clone().unwrap_or_else(|| unseen(&self.settings.doors));
        system.cpu.bandwidth = self.settings.cpu_bandwidth;
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

    #[tokio::test]
    async fn usage_is_followed() {
        let machine = Machine::named("rx-7900-xtx");
        let (tracker, stop) = (TaskTracker::new(), CancellationToken::new());
        let watch = Watch::start(settings(&machine), &tracker, stop.clone()).await.unwrap();
        let before = watch.system();
        let total = before.accelerators[0].memory;
        machine.write("sys/bus/pci/devices/0000:03:00.0/mem_info_vram_used", "4294967296\n");
        let mut changes = watch.changes();
        let system = changes.wait_for(|system| system.accelerators[0].used == Some(ByteCount::gib(4))).await.unwrap();
        assert_eq!(system.accelerators[0].free, Some(total.saturating_sub(ByteCount::gib(4))));
        assert_eq!(system.records, before.records, "only usage was read");
        drop(system);
        // A card that comes is seen when somebody asks, long before the next look at everything.
        machine.write("sys/bus/pci/devices/0000:09:00.0/vendor", "0x1002\n");
        machine.write("sys/bus/pci/devices/0000:09:00.0/device", "0x73bf\n");
        machine.write("sys/bus/pci/devices/0000:09:00.0/mem_info_vram_total", "17163091968\n");
        watch.look_again();
        changes.wait_for(|system| system.accelerators.len() == 2).await.unwrap();
        stop.cancel();
        tracker.close();
        tracker.wait().await;
        assert_eq!(watch.system().accelerators.len(), 2, "what was seen last stays");
    }

    #[tokio::test]
    async fn overrides_hold_while_usage_changes() {
        let machine = Machine::named("rx-7900-xtx");
        let (tracker, stop) = (TaskTracker::new(), CancellationToken::new());
        let overrides = Overrides { memory: Some("16G".parse().unwrap()), ..Overrides::default() };
        let settings = Settings { overrides, cpu_bandwidth: Some(5e10), ..settings(&machine) };
        let watch = Watch::start(settings, &tracker, stop.clone()).await.unwrap();
        machine.write("sys/bus/pci/devices/0000:03:00.0/mem_info_vram_used", "4294967296\n");
        let mut changes = watch.changes();
        let free = Some(ByteCount::gib(12));
        let system = changes.wait_for(|system| system.accelerators[0].free == free).await.unwrap().clone();
        assert_eq!((system.accelerators[0].memory, system.cpu.bandwidth), (ByteCount::gib(16), Some(5e10)));
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
