//! One file's bytes, in order, whatever the network does.
//!
//! ```text
//!  pieces ─▶ task: ask, read, ask again ─┐
//!         ─▶ task: …                     ├─ in order ─▶ partial file
//!         ─▶ task: …                     ┘
//! ```
//!
//! Each task brings one range and mends what breaks. What only the whole can mend comes here: a file that has become
//! another one, or a server that knows no ranges after all, is begun anew.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use reqwest::header::{
    ACCEPT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, ETAG, HeaderMap, HeaderValue, IF_RANGE, LAST_MODIFIED, RANGE,
};
use reqwest::{Method, Response, StatusCode, Url};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::digest::Expected;
use super::failure::Failure;
use super::partial::Partial;
use super::pieces::{Piece, Pieces};
use super::report::Report;
use crate::client::plain_etag;
use crate::request::{Asking, Lost, Start, asked_wait, is_passing, same_origin, shown};
use crate::tries::Tries;

/// How often a file is begun anew before it is given up.
const ANEW_MAX: u32 = 4;

/// Chunks of a piece that may wait for their turn; the bytes of a short piece are bound by its length.
const CHUNKS_OF_SHORT: usize = 4096;

/// The same of a long piece, whose chunks are up to half a MiB each.
const CHUNKS_OF_LONG: usize = 32;

/// Where a file's bytes come from.
#[derive(Debug)]
pub(super) struct Origin {
    asking: Asking,
    url: Url,
    /// What a person calls the file.
    name: String,
    /// Its repository, for what the hub's refusals mean.
    repository: Option<String>,
    /// What it must be long, if that is known.
    length: Option<u64>,
    found: Mutex<Found>,
}

/// What answers have told.
#[derive(Clone, Debug, Default)]
struct Found {
    /// Where redirects led: the storage's address, good for some time.
    at: Option<Start>,
    /// What tells this version of the file from others: a strong `ETag`, else `Last-Modified`.
    validator: Option<HeaderValue>,
    /// How long it is.
    total: Option<u64>,
}

/// What the first answer tells.
#[derive(Clone, Debug)]
pub(super) struct Opening {
    /// How long the file is; `None` if that is told only by its end.
    pub(super) total: Option<u64>,
    /// What tells this version of the file from others.
    pub(super) validator: Option<String>,
    /// Its hash, if the hub's redirect told it.
    pub(super) expected: Option<Expected>,
    /// Whether it is a range, where one was asked for; else all comes, from the beginning.
    is_range: bool,
}

/// Why a file has not come.
#[derive(Debug)]
pub(super) enum Stop {
    /// Somebody wants it so.
    Told,
    Failed(Failure),
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

/// What a task brings.
enum Brought {
    Opened(Opening),
    Bytes(Bytes),
    End,
    /// It is another file now, or it broke and there are no ranges: all that is here is worth nothing.
    Anew(Option<Failure>),
    Failed(Failure),
}

/// A try that came to nothing.
enum Trouble {
    Final(Failure),
    /// Worth another try, after this wait if the server asks for one.
    Passing(Failure, Option<Duration>),
    Anew,
}

/// A response with bytes to read.
struct Answer {
    response: Response,
    host: String,
    /// Where its bytes begin in the file.
    start: u64,
    opening: Opening,
}

impl Origin {
    pub(super) fn new(asking: Asking, url: Url, name: String) -> Self {
        Self { asking, url, name, repository: None, length: None, found: Mutex::default() }
    }

    /// The same, of a repository, with the length that it must have.
    pub(super) fn of_repository(self, repository: &str, length: u64) -> Self {
        Self { repository: Some(repository.to_owned()), length: Some(length), ..self }
    }

    /// The same; bytes that are here already are of the version that `validator` names.
    pub(super) fn of_version(self, validator: Option<&str>) -> Self {
        let validator = validator.and_then(|text| HeaderValue::from_str(text).ok());
        self.found().validator = validator;
        self
    }

    fn found(&self) -> std::sync::MutexGuard<'_, Found> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks for the bytes from `start` to `end`. `is_first`: whether any version of the file will do.
    async fn ask(&self, start: u64, end: Option<u64>, is_first: bool) -> Result<Answer, Trouble> {
        let found = self.found().clone();
        let mut headers = HeaderMap::from_iter([(ACCEPT_ENCODING, HeaderValue::from_static("identity"))]);
        if start > 0 || end.is_some() {
            let last = end.map(|end| (end - 1).to_string()).unwrap_or_default();
            let range = HeaderValue::try_from(format!("bytes={start}-{last}")).expect("digits are a header's value");
            headers.insert(RANGE, range);
            if let Some(validator) = &found.validator {
                headers.insert(IF_RANGE, validator.clone());
            }
        }
        let was_led = found.at.is_some();
        let from = found.at.clone().unwrap_or_else(|| self.asking.start(self.url.clone()));
        let reached = self.asking.follow(&Method::GET, from, &headers, true).await.map_err(|lost| match lost {
            Lost::Unreachable(url, error) => {
                // The storage that redirects led to may be another one next time.
                self.found().at = None;
                Trouble::Passing(Failure::broken(host(&url), &error), None)
            }
            Lost::Astray(error) => Trouble::Final(Failure::Hub(error)),
        })?;
        let (response, at) = (reached.response, reached.from);
        let status = response.status();
        if !matches!(status, StatusCode::OK | StatusCode::PARTIAL_CONTENT | StatusCode::RANGE_NOT_SATISFIABLE) {
            self.found().at = None;
            return Err(self.refused(&response, &at, was_led));
        }
        let opening = self.opening(&response, &reached.announced, status, start)?;
        // A file of a commit is always the same; its storages may each have a name of their own for it.
        let validator = validator(response.headers()).filter(|_| self.repository.is_none());
        let mut known = self.found();
        let is_same = (known.total.is_none() || known.total == opening.total)
            && (known.validator.is_none() || validator.is_none() || known.validator == validator);
        if if opening.is_range { !is_same } else { !is_first } {
            return Err(Trouble::Anew);
        }
        if at.url != self.url {
            known.at = Some(at.clone());
        }
        if is_first {
            known.total = opening.total;
            known.validator = validator.or(known.validator.take());
        }
        drop(known);
        let start = if opening.is_range { start } else { 0 };
        Ok(Answer { host: host(&at.url), response, start, opening })
    }

    /// What the head of an answer says, if it is the one that was asked for.
    fn opening(
        &self,
        response: &Response,
        announced: &HeaderMap,
        status: StatusCode,
        start: u64,
    ) -> Result<Opening, Trouble> {
        let headers = response.headers();
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let range = text(CONTENT_RANGE.as_str()).and_then(parse_content_range);
        let (total, is_range) = match (status, range) {
            (StatusCode::PARTIAL_CONTENT, Some((Some(first), Some(total)))) if first == start => (Some(total), true),
            // All that there is is here already.
            (StatusCode::RANGE_NOT_SATISFIABLE, Some((None, Some(total)))) if total == start => (Some(total), true),
            // A range that is not the one that was asked for, or that does not say of what.
            (StatusCode::PARTIAL_CONTENT | StatusCode::RANGE_NOT_SATISFIABLE, _) => return Err(Trouble::Anew),
            _ => (text(CONTENT_LENGTH.as_str()).and_then(|length| length.parse().ok()), false),
        };
        if let (Some(expected), Some(is)) = (self.length, total)
            && is != expected
        {
            let failure = Failure::Length { file: self.name.clone(), is, expected };
            return Err(Trouble::Passing(failure, None));
        }
        let linked = announced.get("x-linked-etag").or_else(|| headers.get("x-linked-etag"));
        let linked = linked.filter(|_| self.is_at_hub()).and_then(|value| value.to_str().ok()).map(plain_etag);
        let expected = linked.filter(|etag| etag.len() == 64).and_then(|etag| Expected::of_etag(etag, 0));
        let validator = validator(headers).and_then(|value| value.to_str().map(str::to_owned).ok());
        Ok(Opening { total, validator, expected, is_range })
    }

    fn is_at_hub(&self) -> bool {
        same_origin(&self.url, &self.asking.endpoint)
    }

    fn refused(&self, response: &Response, at: &Start, was_led: bool) -> Trouble {
        let (status, headers) = (response.status(), response.headers());
        let plain = Failure::Status { url: shown(&at.url), status: status.as_u16() };
        if is_passing(status) {
            let busy = Failure::Busy { host: host(&at.url), status: status.as_u16(), attempts: 1 };
            return Trouble::Passing(busy, asked_wait(headers));
        }
        if was_led {
            // The address that redirects led to was good for some time only.
            return Trouble::Passing(plain, Some(Duration::ZERO));
        }
        let is_hub = same_origin(&at.url, &self.asking.endpoint);
        match &self.repository {
            Some(repository) if is_hub => {
                Trouble::Final(Failure::Hub(self.asking.refusal(status, headers, &at.url, repository)))
            }
            _ => Trouble::Final(plain),
        }
    }
}

/// Fetches what `partial` lacks. Returns when all is written, but not yet checked nor safe from a power cut.
pub(super) async fn fetch(
    origin: Arc<Origin>,
    partial: &mut Partial,
    ranges: usize,
    report: &mut Report<'_>,
    stop: &CancellationToken,
) -> Result<(), Stop> {
    let mut anew = 0;
    let mut pieces = Pieces::new(partial.length(), origin.length);
    loop {
        let passed = pass(&origin, pieces, partial, ranges, report, stop).await;
        // Whatever ended it: what has come is kept.
        let flushed = partial.flush().await;
        let Pass::Anew(cause) = passed? else { break flushed? };
        anew += 1;
        if anew > ANEW_MAX {
            return Err(cause.unwrap_or(Failure::Changing { file: origin.name.clone() }).into());
        }
        tracing::info!(file = origin.name, "the file is begun anew: it has changed, or its server knows no ranges");
        partial.clear().await?;
        *origin.found() = Found::default();
        pieces = if anew == 1 { Pieces::new(0, origin.length) } else { Pieces::whole() };
    }
    let (is, expected) = (partial.length(), origin.length.or(origin.found().total));
    match expected {
        Some(expected) if is != expected => Err(Failure::Length { file: origin.name.clone(), is, expected }.into()),
        _ => Ok(()),
    }
}

/// How far a pass over the pieces came.
enum Pass {
    All,
    /// The file must be begun anew, because of this if it was not another file.
    Anew(Option<Failure>),
}

/// Goes on until all is there, or until it is clear that the file must be begun anew.
async fn pass(
    origin: &Arc<Origin>,
    mut pieces: Pieces,
    partial: &mut Partial,
    ranges: usize,
    report: &mut Report<'_>,
    stop: &CancellationToken,
) -> Result<Pass, Stop> {
    // Tasks end with this function.
    let mut tasks = JoinSet::new();
    let mut queue: VecDeque<mpsc::Receiver<Brought>> = VecDeque::new();
    let ahead = Arc::new(AtomicU64::new(0));
    loop {
        while queue.len() < ranges.max(1) {
            let Some(piece) = pieces.next() else { break };
            let (sender, receiver) = mpsc::channel(if piece.is_short() { CHUNKS_OF_SHORT } else { CHUNKS_OF_LONG });
            tasks.spawn(bring(origin.clone(), piece, sender, ahead.clone()));
            queue.push_back(receiver);
        }
        let Some(front) = queue.front_mut() else { return Ok(Pass::All) };
        let brought = match front.try_recv() {
            Ok(brought) => Some(brought),
            Err(_) => {
                // Nothing to do but to wait: what has come is better kept first.
                partial.flush().await?;
                tokio::select! {
                    biased;
                    () = stop.cancelled() => None,
                    brought = front.recv() => {
                        Some(brought.unwrap_or_else(|| Brought::Failed(Failure::ended_early(&host(&origin.url)))))
                    }
                }
            }
        };
        if stop.is_cancelled() {
            return Err(Stop::Told);
        }
        match brought {
            Some(Brought::Opened(opening)) => {
                if !opening.is_range {
                    partial.clear().await?;
                }
                if let Some(expected) = &opening.expected {
                    partial.expect_if_unknown(expected);
                }
                report.opened(&opening).await?;
                pieces.opened(opening.total.filter(|_| opening.is_range));
            }
            Some(Brought::Bytes(bytes)) => {
                let ahead = ahead.fetch_sub(bytes.len() as u64, Ordering::Relaxed) - bytes.len() as u64;
                partial.append(bytes).await?;
                report.came(partial.length(), ahead).await?;
            }
            Some(Brought::End) => {
                queue.pop_front();
            }
            Some(Brought::Anew(cause)) => return Ok(Pass::Anew(cause)),
            Some(Brought::Failed(failure)) => return Err(failure.into()),
            None => {}
        }
    }
}

/// Brings one piece: asks for it, and again for what is missing when the answer breaks.
async fn bring(origin: Arc<Origin>, piece: Piece, to: mpsc::Sender<Brought>, ahead: Arc<AtomicU64>) {
    let mut tries = Tries::new(origin.asking.retries);
    let (mut position, mut end) = (piece.start, piece.end);
    let (mut has_begun, mut cause) = (false, None);
    loop {
        let trouble = match origin.ask(position, end, piece.is_first && !has_begun).await {
            Ok(answer) => {
                if piece.is_first && !has_begun {
                    position = answer.start;
                    // All of it, or no more than there is.
                    let total = answer.opening.total;
                    end = if answer.opening.is_range { end.or(total).min(total.or(end)) } else { total };
                    if to.send(Brought::Opened(answer.opening.clone())).await.is_err() {
                        return;
                    }
                }
                let begun_at = position;
                let read = read(&origin, answer, &mut position, end, &to, &ahead).await;
                has_begun |= position > begun_at;
                tries.came(position - begun_at);
                match read {
                    Ok(()) => {
                        let _received = to.send(Brought::End).await;
                        return;
                    }
                    Err(trouble) => trouble,
                }
            }
            Err(trouble) => trouble,
        };
        let last = match trouble {
            Trouble::Anew => Brought::Anew(cause),
            Trouble::Final(failure) => Brought::Failed(failure),
            Trouble::Passing(failure, asked) => match tries.failed(asked) {
                Ok(pause) => {
                    tracing::debug!(
                        file = origin.name,
                        position,
                        wait_ms = pause.as_millis(),
                        "tried again: {failure}"
                    );
                    tokio::time::sleep(pause).await;
                    cause = Some(failure);
                    continue;
                }
                Err(attempts) => Brought::Failed(failure.after(attempts)),
            },
        };
        let _received = to.send(last).await;
        return;
    }
}

/// Reads an answer's body up to `end`.
async fn read(
    origin: &Origin,
    answer: Answer,
    position: &mut u64,
    end: Option<u64>,
    to: &mpsc::Sender<Brought>,
    ahead: &AtomicU64,
) -> Result<(), Trouble> {
    if end.is_some_and(|end| *position >= end) {
        return Ok(());
    }
    let mut chunks = answer.response.bytes_stream();
    while let Some(chunk) = chunks.next().await {
        let mut chunk = chunk.map_err(|error| Trouble::Passing(Failure::broken(answer.host.clone(), &error), None))?;
        if let Some(end) = end {
            // More than was asked for is no part of this piece.
            chunk.truncate(usize::try_from(end - *position).unwrap_or(usize::MAX));
        }
        *position += chunk.len() as u64;
        ahead.fetch_add(chunk.len() as u64, Ordering::Relaxed);
        if to.send(Brought::Bytes(chunk)).await.is_err() || end == Some(*position) {
            return Ok(());
        }
    }
    match end {
        Some(expected) => {
            let failure = Failure::Length { file: origin.name.clone(), is: *position, expected };
            Err(Trouble::Passing(failure, None))
        }
        None => Ok(()),
    }
}

/// `bytes 0-99/1000`, `bytes 0-99/*` or `bytes */1000`: the first byte and the whole length, where told.
fn parse_content_range(text: &str) -> Option<(Option<u64>, Option<u64>)> {
    let (range, total) = text.trim().strip_prefix("bytes ")?.split_once('/')?;
    let first = range.split_once('-').and_then(|(first, _)| first.trim().parse().ok());
    Some((first, total.trim().parse().ok()))
}

/// A weak `ETag` may stay when bytes change (RFC 9110, section 13.1.5).
fn validator(headers: &HeaderMap) -> Option<HeaderValue> {
    let strong = headers.get(ETAG).filter(|etag| !etag.as_bytes().starts_with(b"W/"));
    strong.or_else(|| headers.get(LAST_MODIFIED)).cloned()
}

fn host(url: &Url) -> String {
    url.host_str().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_ranges_are_read() {
        assert_eq!(parse_content_range("bytes 0-99/1000"), Some((Some(0), Some(1000))));
        assert_eq!(parse_content_range("bytes 5-9/*"), Some((Some(5), None)));
        assert_eq!(parse_content_range("bytes */7"), Some((None, Some(7))));
        assert_eq!(parse_content_range("pages 1-2/3"), None);
    }
}
