//! One request, from its head to the head of an answer: whom it is put to, and what happens when that one cannot answer.
//!
//! ```text
//!   Ask ─▶ meaning of its name ─┬─ one who may answer ──────────────────────────────────────────▶ Reply, or why not
//!                               └─ several: each step in order, in it one replica after the other,
//!                                  until one begins its answer ───────────────────────────────▶ Reply, or the last failure
//! ```

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use api::ErrorType;
use axum::extract::Request;
use axum::response::Response;
use balance::NoChoice;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use keys::Caller;
use protocol::ollama::{KeepAlive, What};
use route::{Chain, Keep, Local, Meaning, Member, Rewrite, Step, Unavailable};

use crate::ask::Ask;
use crate::attempt::Failure;
use crate::endpoint::Endpoint;
use crate::reply::Reply;
use crate::router::Gateway;
use crate::spread::Attempt;
use crate::tally::Tally;
use crate::{ApiError, RequestId, X_REQUEST_ID, body, headers, models};

/// Who answered, where that is not plain from the request.
const X_SNUG_MODEL: HeaderName = HeaderName::from_static("x-snug-model");
/// Who was asked before and could not answer: `a (503), b (model_load_error)`.
const X_SNUG_FALLBACK: HeaderName = HeaderName::from_static("x-snug-fallback");

/// Longest text of [`X_SNUG_FALLBACK`].
const TRAIL_MAX: usize = 1000;

/// Answers a request.
pub(crate) async fn forward(gateway: Arc<Gateway>, endpoint: Endpoint, request: Request) -> Response {
    let id = RequestId::of(request.headers());
    let mut tally = Tally::open(&gateway, endpoint, &id, request.headers());
    let mut clock = Clock::default();
    let mut response = match gateway.answer(endpoint, &id, request, &mut tally, &mut clock).await {
        Ok(reply) => reply.respond(gateway, tally, clock.overhead()),
        Err(error) => {
            tally.refuse(error.status);
            error.into_response_in(endpoint.tongue())
        }
    };
    response.headers_mut().insert(X_REQUEST_ID, id.into_header());
    response
}

/// What we took ourselves, of the time since the body was read.
#[derive(Default)]
pub(crate) struct Clock {
    read: Option<Instant>,
    /// For loads, for a turn, for the answer's head.
    waited: Duration,
}

impl Clock {
    /// Time from `since` until now was not ours.
    pub(crate) fn waited(&mut self, since: Instant) {
        self.waited += since.elapsed();
    }

    fn overhead(&self) -> Duration {
        self.read.map_or(Duration::ZERO, |read| read.elapsed().saturating_sub(self.waited))
    }
}

/// Those who were asked in vain.
#[derive(Default)]
struct Trail {
    told: String,
    /// The last answer that says of a failure; it is as good as any if nobody has a better one.
    reply: Option<Reply>,
    error: Option<ApiError>,
}

impl Gateway {
    async fn answer(
        self: &Arc<Self>,
        endpoint: Endpoint,
        id: &RequestId,
        request: Request,
        tally: &mut Tally,
        clock: &mut Clock,
    ) -> Result<Reply, ApiError> {
        let (head, body) = request.into_parts();
        let caller = self.admit(endpoint, &head.headers, tally)?;
        let limits = self.limits.now();
        let body = if endpoint.is_look() { Bytes::new() } else { body::read(&head.headers, body, &limits).await? };
        clock.read = Some(Instant::now());
        tally.asked(&body, limits.bodies_kept);
        let mut ask = Ask::read(endpoint, &head, &body, id, &caller, &limits)?;
        if ask.name.is_empty() && endpoint.may_leave_out_model() {
            ask.name = self.only_model(&caller)?.into();
        }
        self.check_scope(&caller, &ask.name)?;
        let is_here = |name: &str| self.table.current().by_name.contains_key(name);
        let meaning = self.directory.current().meaning(&ask.name, is_here);
        if let Some(done) = self.keep(&ask, meaning.as_ref()).await? {
            return Ok(done);
        }
        let mut reply = match meaning {
            None => {
                let local = Local { name: ask.name.as_ref().to_owned(), ..Local::default() };
                self.local(&ask, &local, &Rewrite::default(), true, tally, clock)
                    .await
                    .map_err(|failure| *failure.error)?
            }
            Some(Meaning::Chain(chain)) => self.through(&ask, &chain, tally, clock).await?,
            Some(Meaning::Ambiguous { candidates }) => return Err(ambiguous(&ask.name, &candidates)),
            Some(Meaning::Disabled) => return Err(disabled(&ask.name)),
            Some(Meaning::Failed { reason }) => return Err(unusable(&ask.name, &reason)),
        };
        let settling = Instant::now();
        let settled = reply.settle(endpoint.tongue(), &self.pool).await;
        clock.waited(settling);
        settled.map_err(|fault| reply.source.broke(&ask.name, &fault))?;
        Ok(reply)
    }

    /// Through the steps of a route, until somebody begins an answer.
    async fn through(
        self: &Arc<Self>,
        ask: &Ask<'_>,
        chain: &Chain,
        tally: &mut Tally,
        clock: &mut Clock,
    ) -> Result<Reply, ApiError> {
        if let [step] = chain.steps.as_slice()
            && let [member] = step.members.as_slice()
        {
            let reply = self.member(ask, member, &chain.rewrite, true, tally, clock).await;
            return reply.map(|reply| named(reply, member)).map_err(|failure| *failure.error);
        }
        let prefix = ask.conversation();
        let mut trail = Trail::default();
        // Those who said that they failed. If somebody else can answer, it was not the request.
        let mut suspects = Vec::new();
        for (number, step) in chain.steps.iter().enumerate() {
            let spread = self.spreads().of(chain, number);
            let mut tried = Vec::new();
            while tried.len() < step.members.len() {
                let standings: Vec<_> = step.members.iter().map(|member| self.standing(member)).collect();
                let choice = spread.choose(&standings, &prefix, &tried);
                // One that is not loaded is loaded for this request where no other can be asked.
                let is_unready = |index: &usize| !standings[*index].load.is_ready && !tried.contains(index);
                let unready = (0..standings.len()).find(is_unready);
                let attempt = match (choice, unready) {
                    (Ok(attempt), _) => attempt,
                    (Err(_), Some(index)) => spread.attempt(index, Instant::now()),
                    (Err(NoChoice::AllOpen { until }), None) => {
                        trail.all_failed_lately(chain, step, &tried, until);
                        break;
                    }
                    (Err(NoChoice::NoneReady), None) => break,
                };
                let member = &step.members[attempt.index];
                tried.push(attempt.index);
                let outcome = match self.member(ask, member, &chain.rewrite, false, tally, clock).await {
                    Ok(mut reply) => {
                        let waiting = Instant::now();
                        let begun = reply.begin(ask.endpoint.tongue(), &self.pool).await;
                        clock.waited(waiting);
                        match begun {
                            Ok(()) => Ok(reply),
                            Err(fault) => Err(Failure::broken(reply.source.broke(&name_of(member), &fault))),
                        }
                    }
                    Err(failure) => Err(failure),
                };
                match outcome {
                    Ok(reply) if speaks_of_failure(reply.status) => {
                        if reply.status.is_server_error() && reply.status != StatusCode::NOT_IMPLEMENTED {
                            suspects.push(attempt);
                        } else {
                            attempt.succeeded();
                        }
                        trail.answered(member, reply);
                    }
                    Ok(reply) => {
                        attempt.succeeded();
                        // Who says that the request is at fault does not say that the others were.
                        if reply.status.is_success() {
                            suspects.into_iter().for_each(Attempt::failed);
                        }
                        return Ok(trail.told_in(named(reply, member)));
                    }
                    Err(Failure { error, is_broken }) => {
                        if is_broken {
                            attempt.failed();
                        }
                        trail.failed(member, *error);
                    }
                }
            }
        }
        trail.end()
    }

    /// Puts a request to one who may answer; `alone` if there is nobody else.
    async fn member(
        self: &Arc<Self>,
        ask: &Ask<'_>,
        member: &Member,
        rewrite: &Rewrite,
        alone: bool,
        tally: &mut Tally,
        clock: &mut Clock,
    ) -> Result<Reply, Failure> {
        match member {
            Member::Local(local) => self.local(ask, local, rewrite, alone, tally, clock).await,
            Member::Remote(remote) => self.remote(ask, remote, rewrite, tally, clock).await,
        }
    }

    /// Lets a request in, or says why not.
    fn admit(&self, endpoint: Endpoint, headers: &HeaderMap, tally: &mut Tally) -> Result<Caller, ApiError> {
        let caller = self.keys.check(headers::presented_key(headers))?;
        if !caller.may_use_endpoint(endpoint.label()) {
            return Err(ApiError::endpoint_not_allowed(endpoint.path()));
        }
        let permit = caller.admit(SystemTime::now())?;
        tally.set_caller(caller.clone(), permit);
        Ok(caller)
    }

    /// To whom a key is not for this model, it does not exist.
    fn check_scope(&self, caller: &Caller, name: &str) -> Result<(), ApiError> {
        let is_in_scope = caller.may_use_model(name) || {
            let routes = self.table.current();
            routes.by_name.get(name).is_some_and(|route| caller.may_use_model(&route.listing.id))
        };
        if is_in_scope { Ok(()) } else { Err(models::unknown_to(self, caller, name)) }
    }

    /// Does what an Ollama client says of how long its model is to stay loaded, and answers it if that was all.
    async fn keep(self: &Arc<Self>, ask: &Ask<'_>, meaning: Option<&Meaning>) -> Result<Option<Reply>, ApiError> {
        let Some(wish) = ask.wish()? else { return Ok(None) };
        let name = match meaning {
            Some(Meaning::Chain(chain)) => match chain.steps.iter().flat_map(|step| &step.members).next() {
                Some(Member::Local(local)) => local.name.as_str(),
                // What somebody else runs is there.
                Some(Member::Remote(_)) | None => {
                    return Ok(match wish.what {
                        What::Ask { .. } => None,
                        What::Load { done } | What::Unload { done } => Some(Reply::ours(done, &ask.name)),
                    });
                }
            },
            Some(Meaning::Ambiguous { .. } | Meaning::Disabled | Meaning::Failed { .. }) => return Ok(None),
            None => ask.name.as_ref(),
        };
        let (done, is_to_load) = match wish.what {
            What::Ask { .. } => (None, wish.keep_alive.is_some()),
            What::Load { done } => (Some(done), true),
            What::Unload { done } => (Some(done), false),
        };
        if is_to_load && self.table.current().by_name.contains_key(name) {
            // Held while it is said how long the model stays: it might leave in between. One that is busy stays.
            let _lease = match self.activate.activate(name).await {
                Ok(lease) => Some(lease),
                Err(Unavailable::Busy { .. }) => None,
                // Somebody else may yet answer; who cannot will say so then.
                Err(_) if done.is_none() => return Ok(None),
                Err(unavailable) => return Err(unavailable.into()),
            };
            let keep = wish.keep_alive.map(|keep| match keep {
                KeepAlive::For(limit) => Keep::For(limit),
                KeepAlive::Forever => Keep::Forever,
            });
            if let Some(keep) = keep {
                self.activate.keep(name, keep).await;
            }
        } else if done.is_some() {
            if !self.table.current().by_name.contains_key(name) {
                return Err(models::unknown_to(self, ask.caller, &ask.name));
            }
            self.activate.keep(name, Keep::For(Duration::ZERO)).await;
        }
        Ok(done.map(|done| Reply::ours(done, &ask.name)))
    }

    /// The model that is meant where a request names none.
    fn only_model(&self, caller: &Caller) -> Result<String, ApiError> {
        let routes = self.table.current();
        let in_scope: Vec<_> = routes.listed.iter().filter(|model| caller.may_use_model(&model.id)).collect();
        let loaded: Vec<_> = in_scope.iter().filter(|model| model.state == "Loaded").collect();
        match (loaded.as_slice(), in_scope.as_slice()) {
            ([only], _) => Ok(only.id.clone()),
            (_, [only]) => Ok(only.id.clone()),
            _ => Err(ApiError::missing_model()),
        }
    }
}

impl Trail {
    fn tell(&mut self, member: &Member, what: &str) {
        if self.told.len() < TRAIL_MAX {
            let gap = if self.told.is_empty() { "" } else { ", " };
            self.told.push_str(&format!("{gap}{} ({what})", name_of(member)));
        }
    }

    fn answered(&mut self, member: &Member, reply: Reply) {
        self.tell(member, reply.status.as_str());
        self.reply = Some(named(reply, member));
        self.error = None;
    }

    fn failed(&mut self, member: &Member, error: ApiError) {
        self.tell(member, error.code);
        self.error = Some(error);
        self.reply = None;
    }

    /// Those of a step who were not tried have failed lately.
    fn all_failed_lately(&mut self, chain: &Chain, step: &Step, tried: &[usize], until: Instant) {
        for (index, member) in step.members.iter().enumerate() {
            if !tried.contains(&index) {
                self.tell(member, "failed lately");
            }
        }
        if self.reply.is_some() || self.error.is_some() {
            return;
        }
        let wait = until.saturating_duration_since(Instant::now());
        let message = format!("all who answer for `{}` have failed lately and are left alone for a moment", chain.id);
        self.error = Some(ApiError::unavailable("deployment_unreachable", message).with_retry_after(wait));
    }

    /// An answer, with those who were asked before in its head.
    fn told_in(self, mut reply: Reply) -> Reply {
        let ascii: String = self.told.chars().filter(|c| (' '..='~').contains(c)).collect();
        if let Ok(value) = HeaderValue::try_from(ascii)
            && !self.told.is_empty()
        {
            reply.headers.insert(X_SNUG_FALLBACK, value);
        }
        reply
    }

    /// Nobody answered.
    fn end(mut self) -> Result<Reply, ApiError> {
        if let Some(reply) = self.reply.take() {
            return Ok(self.told_in(reply));
        }
        let nobody = || ApiError::unavailable("deployment_unreachable", "nobody can answer for this model now");
        let error = self.error.take().unwrap_or_else(nobody);
        let mut details = error.details.as_deref().cloned().unwrap_or_else(|| serde_json::json!({}));
        details["tried"] = self.told.into();
        Err(error.with_details(details))
    }
}

/// Whether another may do better: whoever says so is broken, too busy, or does not let us in.
fn speaks_of_failure(status: StatusCode) -> bool {
    status.is_server_error() || matches!(status.as_u16(), 401 | 402 | 403 | 404 | 408 | 429)
}

/// An answer, with the name of who gave it.
fn named(mut reply: Reply, member: &Member) -> Reply {
    if let Ok(name) = HeaderValue::try_from(name_of(member)) {
        reply.headers.insert(X_SNUG_MODEL, name);
    }
    reply
}

fn name_of(member: &Member) -> String {
    match member {
        Member::Local(local) => local.name.clone(),
        Member::Remote(remote) => format!("{}/{}", remote.provider.name, remote.model),
    }
}

fn ambiguous(name: &str, candidates: &[String]) -> ApiError {
    let message = format!(
        "several models are called `{name}`: {}; ask for one of them, or declare them replicas",
        candidates.join(", ")
    );
    ApiError::new(StatusCode::CONFLICT, ErrorType::InvalidRequestError, "model_ambiguous", message)
        .with_param("model")
        .with_details(serde_json::json!({ "candidates": candidates }))
}

fn disabled(name: &str) -> ApiError {
    let message = format!("`{name}` is switched off in models.yaml (`enabled: false`)");
    ApiError::unavailable("model_disabled", message).with_param("model")
}

fn unusable(name: &str, reason: &str) -> ApiError {
    ApiError::unavailable("model_load_error", format!("`{name}` cannot be used: {reason}")).with_param("model")
}
