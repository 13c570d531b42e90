//! What is answered to a request.

use std::sync::Arc;
use std::time::Duration;

use http_body_util::BodyExt;
use hyper::header::HeaderMap;
use hyper::{Method, Request, Response, StatusCode};
use serde_json::{Value, json};

use super::body::{Any, Break, Part, whole};
use super::content::Stored;
use super::{Asked, Content, Fault, Shared, State};

/// Rows in one page of a tree, unless fewer are asked for; few, so that every test pages.
const PAGE: usize = 3;

type Answer = Response<Any>;

pub(super) fn answer<B>(shared: &Arc<Shared>, at_storage: bool, request: &Request<B>) -> Answer {
    let (method, headers) = (request.method(), request.headers());
    let path = decoded(request.uri().path());
    let query = request.uri().query().unwrap_or_default();
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
    let asked = Asked {
        method: method.to_string(),
        path: request.uri().to_string(),
        range: text("range"),
        at_storage,
        has_token: headers.contains_key("authorization"),
    };
    let has_token = asked.has_token;
    shared.state().asked.push(asked);
    if !matches!(*method, Method::GET | Method::HEAD) {
        return refusal(405, "", "only GET and HEAD are played");
    }
    let asking = Asking { shared, is_head: method == Method::HEAD, headers, has_token };
    let path = path.trim_start_matches('/');
    if at_storage {
        return path.strip_prefix("lfs/").map_or_else(|| refusal(404, "", "no such object"), |file| asking.large(file));
    }
    if path.starts_with("files/") {
        return asking.plain(path);
    }
    if let Some(rest) = path.strip_prefix("api/resolve-cache/models/") {
        return asking.small(rest);
    }
    if let Some(rest) = path.strip_prefix("api/models/") {
        return asking.api(rest, query);
    }
    match path.splitn(5, '/').collect::<Vec<_>>()[..] {
        [owner, name, "resolve", revision, file] => asking.resolve(&format!("{owner}/{name}"), revision, file),
        _ => refusal(404, "", "no such page"),
    }
}

struct Asking<'a> {
    shared: &'a Arc<Shared>,
    is_head: bool,
    headers: &'a HeaderMap,
    has_token: bool,
}

impl Asking<'_> {
    /// `OWNER/NAME`, with `/revision/REV` or `/tree/REV` behind it.
    fn api(&self, path: &str, query: &str) -> Answer {
        let parts: Vec<&str> = path.splitn(5, '/').collect();
        let [owner, name, rest @ ..] = &parts[..] else { return not_found("RepoNotFound") };
        let id = format!("{owner}/{name}");
        let state = self.shared.state();
        if !state.repositories.contains_key(&id) {
            return not_found("RepoNotFound");
        }
        let (kind, revision) = match rest {
            [] => ("revision", "main"),
            [kind, revision, ..] => (*kind, *revision),
            [_] => return refusal(404, "", "no such page"),
        };
        let Some((commit, files)) = state.files(&id, revision) else { return not_found("RevisionNotFound") };
        match kind {
            "revision" => {
                let siblings: Vec<Value> = files
                    .iter()
                    .map(|(path, stored)| {
                        let mut row = json!({"rfilename": path});
                        if query.contains("blobs=true") {
                            row["size"] = json!(stored.content.size());
                            row["blobId"] = json!(stored.oid);
                            if stored.is_large() {
                                row["lfs"] =
                                    json!({"sha256": stored.sha256, "size": stored.content.size(), "pointerSize": 134});
                            }
                        }
                        row
                    })
                    .collect();
                let body = json!({
                    "_id": "0", "id": id, "modelId": id, "sha": commit, "private": false, "gated": false,
                    "disabled": false, "downloads": 1, "likes": 0, "tags": ["gguf"], "siblings": siblings,
                    "createdAt": "2026-01-01T00:00:00.000Z", "lastModified": "2026-01-01T00:00:00.000Z",
                });
                json_answer(&body, "")
            }
            "tree" => {
                let parameter = |name: &str| {
                    query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('=')?.parse::<usize>().ok())
                };
                let (from, limit) = (parameter("cursor").unwrap_or(0), parameter("limit").unwrap_or(PAGE).min(PAGE));
                let rows: Vec<Value> = files
                    .iter()
                    .skip(from)
                    .take(limit)
                    .map(|(path, stored)| {
                        let size = stored.content.size();
                        let mut row = json!({"type": "file", "oid": stored.oid, "size": size, "path": path});
                        if stored.is_large() {
                            row["lfs"] = json!({"oid": stored.sha256, "size": size, "pointerSize": 134});
                        }
                        row
                    })
                    .collect();
                let next = from + limit;
                let link = (next < files.len()).then(|| {
                    let address = self.shared.hub;
                    format!(
                        "<http://{address}/api/models/{id}/tree/{revision}?recursive=true&cursor={next}>; rel=\"next\""
                    )
                });
                json_answer(&Value::from(rows), &link.unwrap_or_default())
            }
            _ => refusal(404, "", "no such page"),
        }
    }

    fn resolve(&self, id: &str, revision: &str, path: &str) -> Answer {
        let file = format!("{id}/{path}");
        let mut state = self.shared.state();
        if !state.repositories.contains_key(id) {
            // As the hub does: who has no token is not told whether it is there.
            return refusal(401, "RepoNotFound", "Repository not found");
        }
        if let Some(answer) = state.refused(&file, self.has_token) {
            return answer;
        }
        let Some((commit, files)) = state.files(id, revision) else { return not_found("RevisionNotFound") };
        let Some(stored) = files.get(path).cloned() else { return not_found("EntryNotFound") };
        if self.is_head {
            state.counts.entry(file.clone()).or_default().heads += 1;
        }
        let encoded = encoded(path);
        let builder = Response::builder().header("x-repo-commit", &commit).header("accept-ranges", "bytes");
        let builder = if stored.is_large() {
            builder
                .status(302)
                .header(
                    "location",
                    format!("http://{}/lfs/{id}/{commit}/{encoded}?Signature=s3cr3t", self.shared.storage),
                )
                .header("etag", format!("\"{}\"", stored.oid))
                .header("x-linked-etag", format!("\"{}\"", stored.sha256))
                .header("x-linked-size", stored.content.size())
        } else {
            builder
                .status(307)
                .header("location", format!("/api/resolve-cache/models/{id}/{commit}/{encoded}"))
                .header("etag", format!("\"{}\"", stored.oid))
        };
        builder.body(whole("")).expect("good headers")
    }

    /// `OWNER/NAME/COMMIT/PATH` of a small file.
    fn small(&self, rest: &str) -> Answer {
        let Some((file, commit, stored)) = self.of_commit(rest) else { return not_found("EntryNotFound") };
        let mut answer = self.bytes(&file, &stored, Some(&format!("\"{}\"", stored.oid)));
        answer.headers_mut().insert("x-repo-commit", commit.parse().expect("a commit"));
        answer
    }

    /// The same of a large one.
    fn large(&self, rest: &str) -> Answer {
        let Some((file, _, stored)) = self.of_commit(rest) else { return refusal(403, "", "expired") };
        if let Some(status) = self.shared.state().storage_refused(&file) {
            return refusal(status, "", "the storage refuses");
        }
        // The storage has names of its own.
        self.bytes(&file, &stored, Some(&format!("\"{}\"", &stored.sha256[..32])))
    }

    fn plain(&self, file: &str) -> Answer {
        let mut state = self.shared.state();
        if let Some(answer) = state.refused(file, self.has_token) {
            return answer;
        }
        if self.is_head {
            state.counts.entry(file.to_owned()).or_default().heads += 1;
        }
        let stored = state.plain.get(file).cloned();
        let no_etag = state.faults(file).any(|fault| matches!(fault, Fault::NoEtag));
        drop(state);
        let Some(stored) = stored else { return refusal(404, "", "no such file") };
        let etag = format!("\"{}\"", &stored.sha256[..32]);
        self.bytes(file, &stored, Some(etag.as_str()).filter(|_| !no_etag))
    }

    fn of_commit(&self, rest: &str) -> Option<(String, String, Arc<Stored>)> {
        let parts: Vec<&str> = rest.splitn(4, '/').collect();
        let [owner, name, commit, path] = parts[..] else { return None };
        let id = format!("{owner}/{name}");
        let state = self.shared.state();
        let stored = state.files(&id, commit)?.1.get(path)?.clone();
        Some((format!("{id}/{path}"), commit.to_owned(), stored))
    }

    /// The bytes of a file, or the range of them that is asked for (RFC 9110, section 14).
    fn bytes(&self, file: &str, stored: &Stored, etag: Option<&str>) -> Answer {
        let mut state = self.shared.state();
        let mut content = stored.content.clone();
        let (mut has_ranges, mut pace) = (true, None);
        for fault in state.faults(file) {
            match fault {
                Fault::Length(size) => content = content.resized(*size),
                Fault::OtherBytes => content = content.other(),
                Fault::NoRanges => has_ranges = false,
                Fault::Slow(bytes) => pace = Some(*bytes),
                _ => {}
            }
        }
        let text = |name: &str| self.headers.get(name).and_then(|value| value.to_str().ok());
        let is_same = text("if-range").is_none_or(|condition| Some(condition) == etag);
        let range =
            text("range").filter(|_| has_ranges && is_same).and_then(|range| parse_range(range, content.size()));
        let (status, start, end) = match range {
            Some(Ok((start, end))) => (206, start, end),
            Some(Err(())) => {
                let builder =
                    Response::builder().status(416).header("content-range", format!("bytes */{}", content.size()));
                return builder.body(whole("")).expect("good headers");
            }
            None => (200, 0, content.size()),
        };
        let mut builder = Response::builder().status(status).header("content-length", end - start);
        if status == 206 {
            builder = builder.header("content-range", format!("bytes {start}-{}/{}", end - 1, content.size()));
        }
        if has_ranges {
            builder = builder.header("accept-ranges", "bytes");
        }
        if let Some(etag) = etag {
            builder = builder.header("etag", etag);
        }
        if self.is_head {
            return builder.body(whole("")).expect("good headers");
        }
        let breaks = state.breaks(file, start, end);
        state.counts.entry(file.to_owned()).or_default().gets += 1;
        drop(state);
        builder.body(self.part(file, content, start, end, breaks, pace)).expect("good headers")
    }

    fn part(&self, file: &str, content: Content, start: u64, end: u64, breaks: Break, pace: Option<u64>) -> Any {
        let part = Part {
            shared: self.shared.clone(),
            file: file.to_owned(),
            content,
            position: start,
            end,
            breaks,
            pace,
            pause: Box::pin(tokio::time::sleep(Duration::ZERO)),
            is_cutting: false,
        };
        part.boxed()
    }
}

impl State {
    /// The commit that a revision is, and its files.
    fn files(&self, id: &str, revision: &str) -> Option<(String, &std::collections::BTreeMap<String, Arc<Stored>>)> {
        let commits = &self.repositories.get(id)?.commits;
        let found = match revision {
            "main" => commits.last(),
            commit => commits.iter().find(|(own, _)| own == commit),
        };
        found.map(|(commit, files)| (commit.clone(), files))
    }

    fn faults(&self, file: &str) -> impl Iterator<Item = &Fault> {
        self.faults.get(file).into_iter().flatten()
    }

    fn refused(&mut self, file: &str, has_token: bool) -> Option<Answer> {
        for fault in self.faults.get_mut(file).into_iter().flatten() {
            match fault {
                Fault::Gated if !has_token => {
                    return Some(refusal(401, "GatedRepo", "Access to it is restricted"));
                }
                Fault::Refused { status, code, retry_after, times } if *times > 0 => {
                    *times -= u32::from(*times < u32::MAX);
                    let mut answer = refusal(*status, code, "as the test wishes");
                    if let Some(seconds) = retry_after {
                        answer.headers_mut().insert("retry-after", (*seconds).into());
                    }
                    return Some(answer);
                }
                _ => {}
            }
        }
        None
    }

    fn storage_refused(&mut self, file: &str) -> Option<u16> {
        self.faults.get_mut(file).into_iter().flatten().find_map(|fault| match fault {
            Fault::StorageRefused { status, times } if *times > 0 => {
                *times -= u32::from(*times < u32::MAX);
                Some(*status)
            }
            _ => None,
        })
    }

    /// How an answer of these bytes breaks. A fault that lies behind its end waits for another one.
    fn breaks(&mut self, file: &str, start: u64, end: u64) -> Break {
        for fault in self.faults.get_mut(file).into_iter().flatten() {
            let (after, times, is_stall) = match fault {
                Fault::Stall { after, times } => (*after, times, true),
                Fault::Cut { after, times } => (*after, times, false),
                _ => continue,
            };
            let at = start.saturating_add(after);
            if *times > 0 && at < end {
                *times -= u32::from(*times < u32::MAX);
                return if is_stall { Break::Stall(at) } else { Break::Cut(at) };
            }
        }
        Break::Never
    }
}

/// `bytes=a-b`, `bytes=a-` or `bytes=-n` of so many bytes: start and end, `Err` if it lies outside; `None` if it is not
/// to be heeded.
fn parse_range(range: &str, size: u64) -> Option<Result<(u64, u64), ()>> {
    let (from, to) = range.strip_prefix("bytes=")?.split_once('-')?;
    if from.is_empty() {
        let last: u64 = to.parse().ok()?;
        return Some(if last == 0 || size == 0 { Err(()) } else { Ok((size.saturating_sub(last), size)) });
    }
    let from: u64 = from.parse().ok()?;
    let to: u64 = if to.is_empty() { u64::MAX } else { to.parse().ok()? };
    if to < from {
        return None;
    }
    Some(if from >= size { Err(()) } else { Ok((from, to.saturating_add(1).min(size))) })
}

fn refusal(status: u16, code: &str, message: &str) -> Answer {
    let mut builder = Response::builder().status(StatusCode::from_u16(status).expect("a status"));
    if !code.is_empty() {
        builder = builder.header("x-error-code", code).header("x-error-message", message);
    }
    let body = json!({"error": message}).to_string();
    builder.header("content-type", "application/json").body(whole(body)).expect("good headers")
}

fn not_found(code: &str) -> Answer {
    refusal(404, code, "not found")
}

fn json_answer(body: &Value, link: &str) -> Answer {
    let mut builder = Response::builder().header("content-type", "application/json");
    if !link.is_empty() {
        builder = builder.header("link", link);
    }
    builder.body(whole(body.to_string())).expect("good headers")
}

fn decoded(path: &str) -> String {
    let mut bytes = vec![];
    let mut rest = path.as_bytes();
    while let [first, tail @ ..] = rest {
        let hex = (*first == b'%').then(|| tail.get(..2)).flatten().and_then(|hex| std::str::from_utf8(hex).ok());
        match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            None => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn encoded(path: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte);
    path.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}
