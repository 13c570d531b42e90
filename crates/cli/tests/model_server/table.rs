//! A row: where the document says it, what it says, what is asked and what is to be answered.

use std::fmt::Write as _;

use serde_json::{Value, json};
use testkit::{Answer, LONG, Method, Snug, eventually};

use crate::shape::{differences, short};

/// One statement of the document.
pub(crate) struct Row {
    section: &'static str,
    statement: String,
    request: Request,
    statuses: Vec<u16>,
    shape: Value,
}

/// The row for a statement of `section`: `request` is answered with `status` and a body of this [`shape`](crate::shape).
pub(crate) fn row(
    section: &'static str,
    statement: impl Into<String>,
    request: Request,
    status: impl Into<Statuses>,
    shape: Value,
) -> Row {
    Row { section, statement: statement.into(), request, statuses: status.into().0, shape }
}

/// The status that must be answered, or those of which one must be.
pub(crate) struct Statuses(Vec<u16>);

impl From<u16> for Statuses {
    fn from(status: u16) -> Self {
        Self(vec![status])
    }
}

impl<const N: usize> From<[u16; N]> for Statuses {
    fn from(statuses: [u16; N]) -> Self {
        Self(statuses.to_vec())
    }
}

/// What is asked.
#[derive(Clone)]
pub(crate) struct Request {
    method: Method,
    path: String,
    headers: Vec<(String, String)>,
    body: String,
}

impl Request {
    pub(crate) fn new(method: Method, path: impl Into<String>) -> Self {
        Self { method, path: path.into(), headers: vec![], body: String::new() }
    }

    /// With this body.
    pub(crate) fn json(self, body: Value) -> Self {
        self.body("application/json", &body.to_string())
    }

    /// With this body, JSON or not.
    pub(crate) fn body(mut self, content_type: &str, body: &str) -> Self {
        body.clone_into(&mut self.body);
        self.header("content-type", content_type)
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) async fn send(&self, snug: &Snug<'_>) -> Answer {
        let headers: Vec<(&str, &str)> = self.headers.iter().map(|(name, value)| (&**name, &**value)).collect();
        snug.send(self.method.clone(), &self.path, &headers, &self.body).await
    }
}

pub(crate) fn get(path: impl Into<String>) -> Request {
    Request::new(Method::GET, path)
}

pub(crate) fn post(path: impl Into<String>) -> Request {
    Request::new(Method::POST, path)
}

pub(crate) fn put(path: impl Into<String>) -> Request {
    Request::new(Method::PUT, path)
}

pub(crate) fn delete(path: impl Into<String>) -> Request {
    Request::new(Method::DELETE, path)
}

/// The error object of section 5 with this type.
pub(crate) fn error(kind: &str) -> Value {
    json!({ "error": { "message": "<text>", "type": kind, "param": "<any>", "code": "<any>" } })
}

/// Rows asked of one snug, in their order. Each is asked whatever became of those before; [`Self::done`] tells all.
#[must_use = "what did not hold is told by `done`"]
pub(crate) struct Table<'a> {
    snug: &'a Snug<'a>,
    checked: usize,
    failures: Vec<String>,
}

impl<'a> Table<'a> {
    pub(crate) fn of(snug: &'a Snug<'a>) -> Self {
        Self { snug, checked: 0, failures: vec![] }
    }

    /// Checks rows one after the other.
    pub(crate) async fn rows(&mut self, rows: impl IntoIterator<Item = Row>) {
        for row in rows {
            self.row(row).await;
        }
    }

    /// Checks a row. The answer's body, or null where it was no JSON.
    pub(crate) async fn row(&mut self, row: Row) -> Value {
        let answer = row.request.send(self.snug).await;
        let wrong = row.wrong(&answer);
        self.note(&row, &answer, wrong);
        serde_json::from_str(&answer.text).unwrap_or_default()
    }

    /// Asks until the row holds, for what takes a while; after [`LONG`] it does not hold.
    pub(crate) async fn eventually(&mut self, row: Row) -> Value {
        let mut last = row.request.send(self.snug).await;
        let asking = eventually("the row holds", async || {
            last = row.request.send(self.snug).await;
            row.wrong(&last).is_empty().then_some(())
        });
        // Shorter than the wait's own end, which would hide the other rows.
        let _held_or_not = tokio::time::timeout(LONG / 6, asking).await;
        let wrong = row.wrong(&last);
        self.note(&row, &last, wrong);
        serde_json::from_str(&last.text).unwrap_or_default()
    }

    /// Checks a statement that is not about one answer.
    pub(crate) fn holds(&mut self, section: &str, statement: &str, holds: bool, found: impl std::fmt::Display) {
        self.checked += 1;
        if !holds {
            self.failures.push(format!("{section}  {statement}\n    found {found}"));
        }
    }

    /// Checks a value against a shape.
    pub(crate) fn has_shape(&mut self, section: &str, statement: &str, shape: &Value, found: &Value) {
        let wrong = differences(shape, found);
        self.holds(section, statement, wrong.is_empty(), wrong.join("\n    "));
    }

    /// Tells what did not hold.
    pub(crate) fn done(self) {
        let (failed, checked) = (self.failures.len(), self.checked);
        assert!(failed == 0, "{failed} of {checked} statements do not hold:\n\n{}\n", self.failures.join("\n\n"));
    }

    fn note(&mut self, row: &Row, answer: &Answer, wrong: Vec<String>) {
        self.checked += 1;
        if wrong.is_empty() {
            return;
        }
        let Row { section, statement, request, .. } = row;
        let mut text = format!("{section}  {statement}\n    {} {}", request.method, request.path);
        if !request.body.is_empty() {
            let _never_fails = write!(text, "  {}", request.body);
        }
        for line in wrong {
            let _never_fails = write!(text, "\n    {line}");
        }
        let body: String = answer.text.chars().take(600).collect();
        let _never_fails = write!(text, "\n    answered {}: {body}", answer.status);
        self.failures.push(text);
    }
}

impl Row {
    /// What is wrong with an answer: what the row says, and what is said of all answers.
    fn wrong(&self, answer: &Answer) -> Vec<String> {
        let mut wrong = vec![];
        if !self.statuses.contains(&answer.status) {
            wrong.push(format!("the status is {}, should be {:?}", answer.status, self.statuses));
        }
        if answer.text.is_empty() && self.shape.is_null() {
            return wrong;
        }
        if !answer.header("content-type").starts_with("application/json") {
            wrong.push(format!("the content type is `{}`", answer.header("content-type")));
        }
        let body = match serde_json::from_str(&answer.text) {
            Ok(body) => body,
            Err(error) => {
                wrong.push(format!("the body is no JSON ({error}): {}", short(&Value::from(&*answer.text))));
                return wrong;
            }
        };
        if answer.status >= 400 {
            wrong.extend(differences(&error(ERROR_TYPES), &body));
        }
        if !self.shape.is_null() {
            wrong.extend(differences(&self.shape, &body));
        }
        wrong.dedup();
        wrong
    }
}

/// The document's error types, and those that its answers have beside them.
const ERROR_TYPES: &str = "<invalid_request_error|not_found_error|server_error|insufficient_storage|authentication_error|permission_error|rate_limit_error>";
