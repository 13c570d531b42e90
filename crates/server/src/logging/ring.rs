//! The last lines of the log, kept in memory for `/api/logs`.
//!
//! Bounded in lines and in the length of each. Who follows the log has no queue of its own: it reads on in the ring, and
//! what was forgotten before it came is counted.

use std::collections::VecDeque;
use std::fmt::{self, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use api::LogLevel;
use jiff::Timestamp;
use tokio::sync::watch;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

/// How many lines are kept.
pub(crate) const LINES_MAX: usize = 1000;
/// A message is cut at so many bytes: together at most 4 MiB.
const MESSAGE_MAX: usize = 4096;

/// One line.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Line {
    pub(crate) at: Timestamp,
    pub(crate) level: LogLevel,
    pub(crate) target: String,
    pub(crate) message: String,
}

/// The last lines. Cheap to clone; all clones are one ring.
#[derive(Clone)]
pub(crate) struct Ring(Arc<Shared>);

struct Shared {
    kept: Mutex<Kept>,
    /// How many lines there ever were, for those who wait for more.
    count: watch::Sender<u64>,
}

#[derive(Default)]
struct Kept {
    lines: VecDeque<Arc<Line>>,
    /// How many lines there ever were: the number of the next.
    count: u64,
}

impl Kept {
    /// The number of the oldest line that is kept.
    fn oldest(&self) -> u64 {
        self.count - self.lines.len() as u64
    }
}

impl Ring {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Shared { kept: Mutex::default(), count: watch::Sender::new(0) }))
    }

    /// Adds a line; the oldest makes room.
    pub(crate) fn push(&self, line: Line) {
        let count = {
            let mut kept = self.kept();
            if kept.lines.len() == LINES_MAX {
                kept.lines.pop_front();
            }
            kept.lines.push_back(Arc::new(line));
            kept.count += 1;
            kept.count
        };
        // Others may be ahead of us by now; the count only grows.
        self.0.count.send_if_modified(|told| std::mem::replace(told, (*told).max(count)) < count);
    }

    /// The last `count` lines of at least this level, the oldest first.
    pub(crate) fn last(&self, count: usize, least: Option<LogLevel>) -> Vec<Arc<Line>> {
        last(&self.kept(), count, least)
    }

    /// The same, and what comes after them.
    pub(crate) fn follow(&self, count: usize, least: Option<LogLevel>) -> (Vec<Arc<Line>>, Follower) {
        let kept = self.kept();
        let follower = Follower { ring: self.clone(), least, next: kept.count, told: self.0.count.subscribe() };
        (last(&kept, count, least), follower)
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn last(kept: &Kept, count: usize, least: Option<LogLevel>) -> Vec<Arc<Line>> {
    let newest_first = kept.lines.iter().rev().filter(|line| Some(line.level) >= least);
    let mut lines: Vec<Arc<Line>> = newest_first.take(count).cloned().collect();
    lines.reverse();
    lines
}

/// Somebody who follows the log.
pub(crate) struct Follower {
    ring: Ring,
    least: Option<LogLevel>,
    /// The number of the line to read next.
    next: u64,
    told: watch::Receiver<u64>,
}

/// What came since one looked last.
#[derive(Debug, PartialEq)]
pub(crate) struct News {
    /// Lines of any level that were forgotten before.
    pub(crate) missed: u64,
    /// Those that were not, of the level that is wanted.
    pub(crate) lines: Vec<Arc<Line>>,
}

impl Follower {
    /// Waits until there is something. Nothing is lost when it is cancelled.
    pub(crate) async fn news(&mut self) -> News {
        loop {
            let news = self.read();
            if news.missed > 0 || !news.lines.is_empty() {
                return news;
            }
            if self.told.changed().await.is_err() {
                // The sender lives in the ring that we hold.
                std::future::pending::<()>().await;
            }
        }
    }

    fn read(&mut self) -> News {
        // Seen first: what comes after the look at the ring is told again.
        self.told.mark_unchanged();
        let kept = self.ring.kept();
        let missed = kept.oldest().saturating_sub(self.next);
        let unread = usize::try_from(kept.count - self.next.max(kept.oldest())).unwrap_or(LINES_MAX);
        let lines = kept.lines.iter().skip(kept.lines.len() - unread);
        let lines = lines.filter(|line| Some(line.level) >= self.least).cloned().collect();
        self.next = kept.count;
        News { missed, lines }
    }
}

/// Puts what `tracing` is told into the ring.
pub(super) struct RingLayer(pub(super) Ring);

impl<S: Subscriber> Layer<S> for RingLayer {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut text = Text::default();
        event.record(&mut text);
        let Text { message, fields, target } = text;
        let metadata = event.metadata();
        self.0.push(Line {
            at: Timestamp::now(),
            level: level(*metadata.level()),
            target: target.map_or_else(|| metadata.target().to_owned(), |target| target.text),
            message: message.then(fields),
        });
    }
}

/// A panic, as the log shows it.
pub(super) fn panicked(info: &std::panic::PanicHookInfo<'_>) -> Line {
    let mut message = Cut::default();
    // A `Cut` takes everything.
    let _written = write!(message, "{info}");
    Line { at: Timestamp::now(), level: LogLevel::Critical, target: "panic".to_owned(), message: message.text }
}

fn level(level: Level) -> LogLevel {
    match level {
        Level::TRACE => LogLevel::Trace,
        Level::DEBUG => LogLevel::Debug,
        Level::INFO => LogLevel::Info,
        Level::WARN => LogLevel::Warning,
        Level::ERROR => LogLevel::Error,
    }
}

/// The message of an event, and its values in words: `port=8787 error="no such file"`.
#[derive(Default)]
struct Text {
    message: Cut,
    fields: Cut,
    /// Libraries that log by way of the crate `log` name their part in a field.
    target: Option<Cut>,
}

impl Visit for Text {
    fn record_str(&mut self, field: &Field, value: &str) {
        if value.is_empty() || value.contains(|c: char| c.is_whitespace() || c == '"' || c == '=') {
            self.record_debug(field, &value);
        } else {
            self.record_debug(field, &format_args!("{value}"));
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // A `Cut` takes everything.
        let _written = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            "log.target" => write!(self.target.insert(Cut::default()), "{value:?}"),
            name if name.starts_with("log.") => Ok(()),
            name => write!(self.fields, " {name}={value:?}"),
        };
    }
}

/// Text up to a length; what is beyond it shows as `…`.
#[derive(Default)]
struct Cut {
    text: String,
    is_full: bool,
}

impl Cut {
    /// With the other behind it.
    fn then(mut self, other: Self) -> String {
        let other = if self.text.is_empty() { other.text.trim_start() } else { &other.text };
        let _written = self.write_str(other);
        self.text
    }
}

impl Write for Cut {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if self.is_full {
            return Ok(());
        }
        let room = MESSAGE_MAX.saturating_sub(self.text.len());
        if text.len() <= room {
            self.text.push_str(text);
        } else {
            self.text.push_str(&text[..text.floor_char_boundary(room)]);
            self.text.push('…');
            self.is_full = true;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    fn line(number: usize) -> Line {
        let level = if number.is_multiple_of(10) { LogLevel::Error } else { LogLevel::Info };
        Line { at: Timestamp::UNIX_EPOCH, level, target: "test".to_owned(), message: number.to_string() }
    }

    fn numbers(lines: &[Arc<Line>]) -> Vec<usize> {
        lines.iter().map(|line| line.message.parse().unwrap()).collect()
    }

    #[test]
    fn it_filters_first_and_then_takes_the_last() {
        let ring = Ring::new();
        assert!(ring.last(10, None).is_empty());
        (0..2500).for_each(|number| ring.push(line(number)));
        assert_eq!(numbers(&ring.last(3, None)), [2497, 2498, 2499]);
        assert_eq!(numbers(&ring.last(5000, None)), (1500..2500).collect::<Vec<_>>());
        assert_eq!(numbers(&ring.last(3, Some(LogLevel::Warning))), [2470, 2480, 2490]);
        assert!(ring.last(3, Some(LogLevel::Critical)).is_empty());
    }

    #[tokio::test]
    async fn who_is_slow_loses_the_oldest_and_is_told_how_many() {
        let ring = Ring::new();
        (0..5).for_each(|number| ring.push(line(number)));
        let (first, mut follower) = ring.follow(2, None);
        let (_, mut picky) = ring.follow(0, Some(LogLevel::Error));
        assert_eq!(numbers(&first), [3, 4]);

        ring.push(line(5));
        let news = follower.news().await;
        assert_eq!((news.missed, numbers(&news.lines)), (0, vec![5]));

        (6..2006).for_each(|number| ring.push(line(number)));
        let news = follower.news().await;
        assert_eq!((news.missed, numbers(&news.lines)), (1000, (1006..2006).collect()));
        let news = picky.news().await;
        assert_eq!((news.missed, news.lines.len(), numbers(&news.lines)[0]), (1001, 100, 1010));

        // It sleeps until there is a line for it.
        let later = ring.clone();
        let (news, ()) = tokio::join!(picky.news(), async move {
            later.push(line(2007));
            tokio::task::yield_now().await;
            later.push(line(2010));
        });
        assert_eq!((news.missed, numbers(&news.lines)), (0, vec![2010]));
    }

    #[test]
    fn events_become_readable_lines() {
        let ring = Ring::new();
        let subscriber = tracing_subscriber::registry().with(RingLayer(ring.clone()));
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(port = 8787, name = "a b", plain = "x", empty = "", "listening on {}", "here");
            tracing::error!(target: "node::owner", error = %"it \"broke\"", kind = ?Some(1));
            tracing::debug!("{}", "ü".repeat(3000));
        });
        let lines = ring.last(10, None);
        let shown: Vec<_> = lines.iter().map(|line| (line.level.as_str(), line.message.as_str())).collect();
        assert_eq!(shown[0], ("info", r#"listening on here port=8787 name="a b" plain=x empty="""#));
        assert_eq!(shown[1], ("error", r#"error=it "broke" kind=Some(1)"#));
        assert_eq!(lines[1].target, "node::owner");
        assert_eq!((shown[2].1.len(), shown[2].1.ends_with("ü…")), (4096 + '…'.len_utf8(), true));
    }
}
