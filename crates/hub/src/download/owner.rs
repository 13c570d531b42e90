//! The task that owns all downloads: takes commands, hands out places, shows what goes on.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;
use types::ByteCount;

use super::failure::Failure;
use super::fetch::Stop;
use super::job::{Job, JobId, JobView, Run, State};
use super::report::{Event, Line, Meter};
use super::room::{self, Place, Room, Short, Writes};
use super::schedule::{After, End, Life, Schedule};
use super::speed::Speed;
use super::task::{Look, Shared, Task, Traces};
use super::{Ended, Refused};

/// How often progress is looked at and shown.
const PERIOD: Duration = Duration::from_millis(250);

/// Jobs that are kept, failed ones with them.
const JOBS_MAX: usize = 1000;

/// Questions of tasks that may wait; a task waits for its answer anyway.
pub(super) const EVENTS: usize = 64;

/// What the owner can be told.
#[derive(Debug)]
pub(super) enum Command {
    Begin { job: Job, looks: Vec<Look>, is_paused: bool, reply: oneshot::Sender<Result<Begun, Refused>> },
    Pause { id: JobId, reply: Reply },
    Resume { id: JobId, reply: Reply },
    Cancel { id: JobId, reply: Reply },
    Places(usize),
}

/// What became of a job that was to begin.
#[derive(Debug)]
pub(super) enum Begun {
    Runs(Run),
    /// One of the same id was cancelled and must be gone first. The job comes back to be looked at anew.
    After {
        gone: oneshot::Receiver<Result<(), Refused>>,
        job: Job,
    },
}

pub(super) type Reply = oneshot::Sender<Result<(), Refused>>;

/// All downloads.
pub(super) struct Owner {
    pub(super) shared: Arc<Shared>,
    pub(super) room: Arc<dyn Room>,
    pub(super) schedule: Schedule,
    pub(super) entries: HashMap<JobId, Entry>,
    pub(super) tasks: JoinSet<Result<Vec<PathBuf>, Stop>>,
    pub(super) task_jobs: HashMap<Id, JobId>,
    pub(super) events: (mpsc::Sender<Event>, mpsc::Receiver<Event>),
    pub(super) views: watch::Sender<Arc<[JobView]>>,
    pub(super) ended: broadcast::Sender<Ended>,
    pub(super) begun: Instant,
    /// Numbers of runs that were given out.
    pub(super) runs: u64,
    pub(super) stop: CancellationToken,
}

/// One job.
pub(super) struct Entry {
    job: Arc<Job>,
    run: Run,
    meters: Arc<[Meter]>,
    /// Where each file is written.
    places: Vec<Place>,
    traces: Traces,
    /// Tells its task to end.
    stop: CancellationToken,
    speed: Speed,
    failure: Option<Arc<Failure>>,
    /// Who waits until it is cancelled and gone.
    cancelling: Vec<Reply>,
}

impl Owner {
    /// Runs until it is told to stop. Tasks then write down what they have and end.
    pub(super) async fn run(mut self, mut commands: mpsc::Receiver<Command>) {
        let mut ticks = tokio::time::interval(PERIOD);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            // Each of these may be dropped half-way without loss.
            tokio::select! {
                biased;
                () = self.stop.cancelled() => break,
                Some(command) = commands.recv() => self.obey(command),
                Some(event) = self.events.1.recv() => if !self.hear(event) { continue },
                Some(ended) = self.tasks.join_next_with_id() => self.task_ended(ended),
                _ = ticks.tick(), if !self.tasks.is_empty() => self.look(),
            }
            self.start_due();
            self.show();
        }
        commands.close();
        // Tasks that ask something get no answer any more, and end: with this go questions that wait.
        (self.events.0, self.events.1) = mpsc::channel(1);
        while self.tasks.join_next().await.is_some() {}
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Begin { job, looks, is_paused, reply } => {
                // Who asked may have left.
                let _ = reply.send(self.begin(job, looks, is_paused));
            }
            Command::Pause { id, reply } => {
                let paused = self.schedule.pause(&id).ok_or(Refused::Unknown);
                if paused == Ok(true) {
                    self.stop_task(&id);
                }
                if let Some(entry) = self.entries.get_mut(&id) {
                    entry.speed.forget();
                }
                answer(reply, paused.map(drop));
            }
            Command::Resume { id, reply } => answer(reply, self.resume(&id)),
            Command::Cancel { id, reply } => match self.schedule.cancel(&id) {
                None => answer(reply, Err(Refused::Unknown)),
                Some(true) => {
                    self.stop_task(&id);
                    if let Some(entry) = self.entries.get_mut(&id) {
                        entry.cancelling.push(reply);
                    }
                }
                Some(false) => {
                    if let Some(mut entry) = self.entries.remove(&id) {
                        entry.cancelling.push(reply);
                        entry.clean();
                    }
                }
            },
            Command::Places(places) => self.schedule.set_places(places),
        }
    }

    fn begin(&mut self, job: Job, looks: Vec<Look>, is_paused: bool) -> Result<Begun, Refused> {
        if self.schedule.life(&job.id) == Some(Life::Leaving)
            && let Some(entry) = self.entries.get_mut(&job.id)
        {
            let (reply, gone) = oneshot::channel();
            entry.cancelling.push(reply);
            return Ok(Begun::After { gone, job });
        }
        let is_anew = matches!(self.schedule.life(&job.id), None | Some(Life::Failed));
        if !is_anew {
            return Err(Refused::AlreadyRunning);
        }
        if self.schedule.len() >= JOBS_MAX {
            return Err(Refused::Full(JOBS_MAX));
        }
        let meters: Arc<[Meter]> = looks.iter().map(|look| Meter::new(look.size, look.written)).collect();
        let places: Vec<Place> = looks.into_iter().map(|look| look.place).collect();
        if !is_paused {
            self.may_ask(&job, &meters)?;
            self.fits(&job.id, &writes(&places, &meters), &self.reserved(|id| *id != job.id))?;
        }
        self.runs += 1;
        let run = Run(self.runs);
        self.schedule.begin(&job.id, is_paused);
        let entry = Entry {
            traces: Traces::of(&self.shared.cache, &job),
            run,
            meters,
            places,
            stop: CancellationToken::new(),
            speed: Speed::default(),
            failure: None,
            cancelling: vec![],
            job: Arc::new(job),
        };
        tracing::info!(job = %entry.job.id, files = entry.job.files.len(), "a download is begun");
        self.entries.insert(entry.job.id.clone(), entry);
        Ok(Begun::Runs(run))
    }

    /// Whether the hub may be asked, where that must be.
    fn may_ask(&self, job: &Job, meters: &[Meter]) -> Result<(), Refused> {
        let is_here = |meter: &Meter| meter.size().is_some() && meter.missing() == 0;
        let must_ask =
            || job.files.iter().zip(meters).any(|(wish, meter)| self.shared.is_of_hub(wish) && !is_here(meter));
        if self.shared.client.is_offline() && must_ask() { Err(Refused::Offline) } else { Ok(()) }
    }

    fn resume(&mut self, id: &JobId) -> Result<(), Refused> {
        let is_paused = self.schedule.life(id) == Some(Life::Paused);
        if let Some(entry) = self.entries.get(id).filter(|_| is_paused) {
            self.may_ask(&entry.job, &entry.meters)?;
            self.fits(id, &entry.writes(), &self.reserved(|other| other != id))?;
        }
        self.schedule.resume(id).ok_or(Refused::Unknown)
    }

    /// What jobs of which `which` holds will still write.
    fn reserved(&self, which: impl Fn(&JobId) -> bool) -> Vec<Writes<'_>> {
        let jobs = self.schedule.reserving().filter(|id| which(id));
        jobs.filter_map(|id| self.entries.get(id)).flat_map(Entry::writes).collect()
    }

    fn fits(&self, id: &JobId, wanted: &[Writes<'_>], reserved: &[Writes<'_>]) -> Result<(), Refused> {
        room::fits(&*self.room, wanted, reserved).map_err(|Short { available, required, limit }| {
            tracing::info!(job = %id, %required, %available, "no room for a download");
            Refused::NoRoom { available, required, limit }
        })
    }

    /// Hears a task; `true` if that changes what is shown.
    fn hear(&mut self, event: Event) -> bool {
        match event {
            Event::Verifies { id, verifies } => {
                self.schedule.verifies(&id, verifies);
                true
            }
            Event::MayGoOn { id, reply } => {
                let Some(entry) = self.entries.get(&id) else { return false };
                // Who came first has what is there; the later one is told.
                let before: Vec<&JobId> = self.schedule.reserving().take_while(|other| **other != id).collect();
                let reserved = self.reserved(|other| before.contains(&other));
                let may = self.fits(&id, &entry.writes(), &reserved).map_err(|refused| match refused {
                    Refused::NoRoom { available, required, limit } => Failure::NoRoom { available, required, limit },
                    other => Failure::Invalid(other.to_string()),
                });
                // A task that was stopped meanwhile does not wait.
                let _ = reply.send(may);
                false
            }
        }
    }

    fn stop_task(&mut self, id: &JobId) {
        if let Some(entry) = self.entries.get(id) {
            entry.stop.cancel();
        }
    }

    fn start_due(&mut self) {
        for id in self.schedule.due() {
            let Some(entry) = self.entries.get_mut(&id) else { continue };
            entry.stop = self.stop.child_token();
            entry.speed.forget();
            let task = Task {
                shared: self.shared.clone(),
                job: entry.job.clone(),
                meters: entry.meters.clone(),
                traces: entry.traces.clone(),
                line: Line { id: id.clone(), events: self.events.0.clone() },
                stop: entry.stop.clone(),
            };
            let handle = self.tasks.spawn(task.run());
            self.task_jobs.insert(handle.id(), id);
        }
    }

    fn task_ended(&mut self, ended: Result<(Id, Result<Vec<PathBuf>, Stop>), JoinError>) {
        let (task, outcome) = match ended {
            Ok((task, outcome)) => (task, outcome),
            Err(error) => {
                (error.id(), Err(Stop::Failed(Failure::Invalid(format!("the download's task died: {error}")))))
            }
        };
        let Some(id) = self.task_jobs.remove(&task) else { return };
        let end = match &outcome {
            Ok(_) => End::Done,
            Err(Stop::Told) => End::Stopped,
            Err(Stop::Failed(_)) => End::Failed,
        };
        match (self.schedule.ended(&id, end), outcome) {
            (After::Done, Ok(files)) => {
                tracing::info!(job = %id, "a download is done");
                if let Some(Entry { run, .. }) = self.entries.remove(&id) {
                    self.tell(Ended::Finished { id, run, files });
                }
            }
            (After::Failed, outcome) => {
                let failure = match outcome {
                    Err(Stop::Failed(failure)) => failure,
                    _ => Failure::Invalid("the download was stopped".to_owned()),
                };
                tracing::warn!(job = %id, "a download failed: {failure}");
                let failure = Arc::new(failure);
                if let Some(entry) = self.entries.get_mut(&id) {
                    entry.failure = Some(failure.clone());
                    let run = entry.run;
                    self.tell(Ended::Failed { id, run, failure });
                }
            }
            (After::Gone, _) => {
                if let Some(entry) = self.entries.remove(&id) {
                    entry.clean();
                }
            }
            (After::Waits | After::Done, _) => {}
        }
    }

    fn tell(&self, ended: Ended) {
        // Nobody may be listening.
        let _ = self.ended.send(ended);
    }

    /// Looks how far those are that run.
    fn look(&mut self) {
        let now = self.begun.elapsed();
        for (id, entry) in &mut self.entries {
            if self.schedule.life(id) == Some(Life::Running) {
                entry.speed.look(now, entry.meters.iter().map(Meter::done).sum());
            }
        }
    }

    fn show(&self) {
        let views: Arc<[JobView]> =
            self.schedule.jobs().filter_map(|(id, life)| Some(self.entries.get(id)?.view(life))).collect();
        self.views.send_if_modified(|shown| {
            let is_same = shown.len() == views.len() && shown.iter().zip(views.iter()).all(|(a, b)| a.is_same(b));
            *shown = views;
            !is_same
        });
    }
}

impl Entry {
    fn view(&self, life: Life) -> JobView {
        let sizes = self.meters.iter().map(Meter::size);
        let total: Option<u64> = sizes.sum();
        let done: u64 = self.meters.iter().map(Meter::done).sum();
        let state = match life {
            Life::Queued { .. } => State::Queued,
            Life::Running => State::Running,
            Life::Verifying => State::Verifying,
            Life::Paused | Life::Leaving => State::Paused,
            // The reason is set where the life is.
            Life::Failed => self.failure.clone().map_or(State::Paused, State::Failed),
        };
        let runs = life == Life::Running;
        JobView {
            id: self.job.id.clone(),
            state,
            bytes_done: ByteCount::bytes(total.map_or(done, |total| done.min(total))),
            bytes_total: total.map(ByteCount::bytes),
            bytes_per_second: if runs { self.speed.bytes_per_second() } else { 0 },
            eta: total.filter(|_| runs).and_then(|total| self.speed.time_for(total.saturating_sub(done))),
        }
    }

    fn writes(&self) -> Vec<Writes<'_>> {
        writes(&self.places, &self.meters)
    }

    /// Removes what a cancelled job has left, then tells who waits for that.
    fn clean(self) {
        self.traces.remove();
        for reply in self.cancelling {
            answer(reply, Ok(()));
        }
    }
}

/// What is still to be written, and where.
fn writes<'a>(places: &'a [Place], meters: &[Meter]) -> Vec<Writes<'a>> {
    let mut writes: Vec<Writes<'a>> = vec![];
    for (place, meter) in places.iter().zip(meters) {
        let missing = ByteCount::bytes(meter.missing());
        match writes.iter_mut().find(|(other, _)| *other == place) {
            Some((_, bytes)) => *bytes += missing,
            None => writes.push((place, missing)),
        }
    }
    writes
}

fn answer(reply: Reply, answer: Result<(), Refused>) {
    // Who asked may have left.
    let _ = reply.send(answer);
}
