//! `/api/logs`: the last lines of our own log, and those that come.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::time::Duration;

use api::{LogLevel, LogLine, LogsMissed};
use axum::Json;
use axum::extract::{RawQuery, State};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream::Stream;
use gateway::ApiError;
use http::HeaderMap;
use http::header::ACCEPT;
use tokio_util::sync::CancellationToken;

use crate::logging::{Follower, LINES_MAX, Line, News, Ring};

/// How many lines are shown unless asked otherwise.
const COUNT: usize = 200;
/// How often a client that follows is shown that we live.
const KEEP_ALIVE: Duration = Duration::from_secs(10);

/// What the route answers from.
#[derive(Clone)]
pub(crate) struct Logs {
    pub(crate) ring: Ring,
    /// Cancelled when snug is to end: a log that is followed has no end of its own.
    pub(crate) stopping: CancellationToken,
}

/// `GET /api/logs`; asked for with `Accept: text/event-stream`, goes on with lines as they come.
pub(crate) async fn logs(
    State(logs): State<Logs>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let Wish { count, level } = Wish::read(query.as_deref().unwrap_or_default())?;
    let follows = headers.get(ACCEPT).is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"));
    if follows {
        let (lines, follower) = logs.ring.follow(count, level);
        let events = Sse::new(events(News { missed: 0, lines }, follower, logs.stopping));
        return Ok(events.keep_alive(KeepAlive::new().interval(KEEP_ALIVE)).into_response());
    }
    let lines = logs.ring.last(count, level).iter().map(|line| wire(line)).collect();
    Ok(Json(api::Logs { logs: lines }).into_response())
}

/// Which lines are wanted.
#[derive(Debug, PartialEq)]
struct Wish {
    count: usize,
    /// The least level; none for all.
    level: Option<LogLevel>,
}

impl Wish {
    fn read(query: &str) -> Result<Self, ApiError> {
        let mut wish = Self { count: COUNT, level: None };
        let refuse = |message: String, param| Err(ApiError::bad_request("invalid_request", message).with_param(param));
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            match &*name {
                // As large as the API's description says a number may be.
                "count" => match value.parse::<i64>() {
                    Ok(count) if count > 0 => wish.count = usize::try_from(count).unwrap_or(LINES_MAX).min(LINES_MAX),
                    _ => return refuse(format!("`count` must be 1 to {LINES_MAX}, is `{value}`"), "count"),
                },
                "level" if value.is_empty() => wish.level = None,
                "level" => match level(&value) {
                    Some(level) => wish.level = Some(level),
                    None => {
                        let all = LogLevel::ALL.map(LogLevel::as_str).join(", ");
                        return refuse(format!("`level` must be one of {all}; is `{value}`"), "level");
                    }
                },
                other => {
                    let message = format!("`{other}` is no parameter of the log; these are: count, level");
                    return Err(ApiError::bad_request("invalid_request", message));
                }
            }
        }
        Ok(wish)
    }
}

fn level(word: &str) -> Option<LogLevel> {
    let word = if word == "warn" { LogLevel::Warning.as_str() } else { word };
    LogLevel::ALL.into_iter().find(|level| level.as_str() == word)
}

/// Lines as they come, until snug is to end.
fn events(
    first: News,
    follower: Follower,
    stopping: CancellationToken,
) -> impl Stream<Item = Result<Event, Infallible>> {
    let unsent = sent_as(first);
    futures_util::stream::unfold((unsent, follower, stopping), async |(mut unsent, mut follower, stopping)| {
        while unsent.is_empty() {
            // News that are not taken here are there the next time. What was said before the end is told before it.
            tokio::select! {
                biased;
                news = follower.news() => unsent = sent_as(news),
                () = stopping.cancelled() => return None,
            }
        }
        let event = unsent.pop_front()?;
        Some((Ok(event), (unsent, follower, stopping)))
    })
}

/// Each line an event; before them what was missed.
fn sent_as(news: News) -> VecDeque<Event> {
    let missed = (news.missed > 0).then(|| json(Event::default().event("missed"), &LogsMissed { missed: news.missed }));
    missed.into_iter().chain(news.lines.iter().map(|line| json(Event::default(), &wire(line)))).collect()
}

fn json(event: Event, data: &impl serde::Serialize) -> Event {
    event.json_data(data).expect("lines are plain data")
}

fn wire(line: &Line) -> LogLine {
    LogLine {
        timestamp: line.at.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string(),
        epoch_ms: line.at.as_millisecond(),
        level: line.level,
        message: line.message.clone(),
        target: line.target.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(query: &str, count: usize, level: Option<LogLevel>) {
        assert_eq!(Wish::read(query).unwrap(), Wish { count, level }, "{query}");
    }

    fn check_refused(query: &str, expected: &str) {
        assert_eq!(Wish::read(query).unwrap_err().message, expected, "{query}");
    }

    #[test]
    fn queries() {
        check("", 200, None);
        check("count=1&level=", 1, None);
        check("count=1000&level=warning", 1000, Some(LogLevel::Warning));
        check("level=warn&count=99999999", 1000, Some(LogLevel::Warning));
        check("level=critical", 200, Some(LogLevel::Critical));
        for count in ["0", "-1", "x", "", "1.5", "99999999999999999999"] {
            check_refused(&format!("count={count}"), &format!("`count` must be 1 to 1000, is `{count}`"));
        }
        let levels = "trace, debug, info, warning, error, critical";
        check_refused("level=Loud", &format!("`level` must be one of {levels}; is `Loud`"));
        check_refused("lines=3", "`lines` is no parameter of the log; these are: count, level");
    }

    #[test]
    fn times_have_milliseconds() {
        let at = "2025-01-15T14:30:05.1239Z".parse().unwrap();
        let line = Line { at, level: LogLevel::Info, target: String::new(), message: String::new() };
        let line = wire(&line);
        assert_eq!((line.timestamp.as_str(), line.epoch_ms), ("2025-01-15T14:30:05.123Z", 1_736_951_405_123));
    }
}
