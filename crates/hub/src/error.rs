//! Why the hub gave no answer, and what to do about it.

use std::path::PathBuf;
use std::time::Duration;

/// Why the hub gave no answer, or what it says could not be kept.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The user wants nothing to be asked.
    #[error("HF_HUB_OFFLINE is set, so the Hugging Face hub is not asked: unset it to allow that")]
    Offline,
    /// An endpoint that is no address.
    #[error("HF_ENDPOINT is {endpoint:?}: {reason}")]
    Endpoint {
        /// What was given.
        endpoint: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A token that cannot be sent.
    #[error("the Hugging Face token has characters that no token has: check HF_TOKEN")]
    Token,
    /// What cannot be the id of a repository.
    #[error("{id:?} is not the id of a repository: OWNER/NAME is meant")]
    Id {
        /// What was given.
        id: String,
    },
    /// What cannot be the name of a branch, a tag or a commit.
    #[error("{revision:?} is not a revision of a repository: a branch, a tag or a commit is meant")]
    Revision {
        /// What was given.
        revision: String,
    },
    /// A licence must be accepted first.
    #[error("{id} is gated: accept its licence at {page}, then set HF_TOKEN to a token of that account")]
    Gated {
        /// The repository.
        id: String,
        /// Where the licence is.
        page: String,
    },
    /// The hub does not know the token, or the token may not do this.
    #[error("the hub refuses the token ({status}): make a new one at {page} and set HF_TOKEN")]
    Refused {
        /// 401 or 403.
        status: u16,
        /// Where tokens are made.
        page: String,
    },
    /// There is no such thing, or none that this user may see: the hub does not tell these apart.
    #[error("the hub has no {what}, or it is private: check the name, or set HF_TOKEN")]
    NotFound {
        /// The repository or the file in it.
        what: String,
    },
    /// The hub has too much to do, or this user asked too much.
    #[error(
        "the hub is too busy ({status}) after {attempts} tries{}: try again later; with HF_TOKEN set more is allowed",
        wait.map(|wait| format!(", and asks for a wait of {} s", wait.as_secs())).unwrap_or_default()
    )]
    Busy {
        /// 429 or one of 5xx.
        status: u16,
        /// How often it was asked.
        attempts: u32,
        /// How long it wants not to be asked.
        wait: Option<Duration>,
    },
    /// Any other status.
    #[error("the hub answers {status} to {url}{}", if message.is_empty() { String::new() } else { format!(": {message}") })]
    Status {
        /// What was asked for.
        url: String,
        /// The status.
        status: u16,
        /// What it says, shortened.
        message: String,
    },
    /// No connection, or one that broke.
    #[error("cannot reach {host}: check the network, HTTPS_PROXY and HF_ENDPOINT")]
    Unreachable {
        /// Who was asked.
        host: String,
        /// What went wrong.
        source: reqwest::Error,
    },
    /// A redirect that leads nowhere.
    #[error("{url} redirects {problem}")]
    Redirect {
        /// What was asked for.
        url: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// More than such an answer can have.
    #[error("the answer to {url} is longer than {limit} bytes")]
    TooLong {
        /// What was asked for.
        url: String,
        /// What is read.
        limit: usize,
    },
    /// Not the JSON that is documented.
    #[error("the answer to {url} is not what the hub documents: is HF_ENDPOINT a hub?")]
    Form {
        /// What was asked for.
        url: String,
        /// What is wrong, and where.
        source: serde_json::Error,
    },
    /// An answer without what every hub says.
    #[error("the answer to {url} has no {header} that can be used: is HF_ENDPOINT a hub?")]
    Lacks {
        /// What was asked for.
        url: String,
        /// The header.
        header: &'static str,
    },
    /// The HTTP client could not be made, for want of certificates most likely.
    #[error("cannot make a TLS client: are the system's CA certificates installed?")]
    Tls {
        /// What is wrong.
        source: reqwest::Error,
    },
    /// The rows have numbers that cannot be written.
    #[error("the catalogue's rows cannot be written as TOML: {problem}")]
    Rows {
        /// What is wrong.
        problem: String,
    },
    /// The file could not be written.
    #[error("cannot write {}", path.display())]
    Write {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
}
