//! One request put to one who may answer: an engine of this machine, a provider, the mock.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use api::ErrorType;
use balance::Load;
use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{HeaderValue, Method, StatusCode, Uri};
use http_body_util::Full;
use route::{Dialect, Lease, Listing, Local, Member, NotServed, QueueBounds, Remote, Rewrite, Target, Unavailable};
use types::{InstanceId, Provider};

use crate::ask::Ask;
use crate::endpoint::Endpoint;
use crate::forward::Clock;
use crate::patience::Patience;
use crate::pool::SendError;
use crate::remote::{CallError, Place};
use crate::reply::Reply;
use crate::router::Gateway;
use crate::source::Source;
use crate::speaks::{Form, Speaks, forms};
use crate::spread::Standing;
use crate::tally::Tally;
use crate::usage_chunk::WithoutUsage;
use crate::{ApiError, RequestId, X_REQUEST_ID, headers, mock, models};

/// How long to wait before asking one again that has too much to do or has just died.
pub(crate) const RETRY_AFTER: Duration = Duration::from_secs(1);

/// A target may close while it is waited for; so often a request asks for its model before it gives up.
const LEASE_TRIES: usize = 8;

/// A dead engine's target is closed within milliseconds of its death; so long is waited for that at most.
const DEATH_SEEN_WITHIN: Duration = Duration::from_secs(1);

/// Why one gave no answer. Another may do better.
pub(crate) struct Failure {
    pub(crate) error: Box<ApiError>,
    /// Whether it is out of order. Otherwise it has too much to do, or this is not among the things it can do.
    pub(crate) is_broken: bool,
}

impl Failure {
    /// It is out of order.
    pub(crate) fn broken(error: ApiError) -> Self {
        Self { error: Box::new(error), is_broken: true }
    }

    /// It is in order, and yet this is to be asked elsewhere.
    pub(crate) fn elsewhere(error: ApiError) -> Self {
        Self { error: Box::new(error), is_broken: false }
    }

    /// The engine did not answer.
    pub(crate) fn unanswered(error: &SendError, target: &Target, id: &RequestId) -> Self {
        Self::broken(unanswered(error, target, id).about_engine(target))
    }
}

impl Gateway {
    /// Puts a request to the engine of a model of this machine; `alone` if nobody else could answer.
    pub(crate) async fn local(
        self: &Arc<Self>,
        ask: &Ask<'_>,
        local: &Local,
        rewrite: &Rewrite,
        alone: bool,
        tally: &mut Tally,
        clock: &mut Clock,
    ) -> Result<Reply, Failure> {
        let (listing, provider, target) = {
            let routes = self.table.current();
            let route = routes
                .by_name
                .get(&local.name)
                .ok_or_else(|| Failure::elsewhere(models::unknown_to(self, ask.caller, &local.name)))?;
            (Arc::clone(&route.listing), route.provider, route.target.clone())
        };
        tally.set_model(&listing.id);
        match provider {
            Provider::Llama => {}
            Provider::Mock => return self.mock(ask, &listing, rewrite),
            provider => return Err(Failure::elsewhere(not_configured(&listing.id, provider))),
        }
        let waiting = Instant::now();
        let mut lease = self.lease(ask, local, target, tally).await?;
        clock.waited(waiting);

        let forms = if ask.is_better_converted() { &[Form::AsOpenAi][..] } else { forms(ask.endpoint, Speaks::Engine) };
        // Said by it just now. It is believed once it has answered the same in another form: the request itself may have
        // been what it cannot use.
        let mut is_new_to_it = false;
        for (number, form) in forms.iter().enumerate() {
            let is_last = number + 1 == forms.len();
            if !is_last && self.natives().lacks(lease.target().instance(), ask.endpoint) {
                continue;
            }
            let rewrites = [rewrite, &local.rewrite];
            let prepared = ask.prepare(*form, Speaks::Engine, &rewrites, None).map_err(Failure::elsewhere)?;
            if *form == Form::AsPrompt {
                let instance = lease.target().instance().clone();
                let counting = Instant::now();
                let counted = self.counted(ask, &prepared.body, local, lease).await;
                clock.waited(counting);
                if is_new_to_it && counted.as_ref().is_ok_and(|reply| reply.status.is_success()) {
                    self.natives().note(&instance, ask.endpoint);
                }
                return counted;
            }
            let sending = Instant::now();
            let mut sent = self.send(ask, prepared.endpoint, &prepared.body, &lease, local).await;
            if alone
                && let Err(SendError::Connect { .. } | SendError::Broken { .. }) = sent
                && is_gone(lease.target()).await
            {
                // The engine has died and nothing of an answer was seen: the request waits for its next start like any
                // other. Once: should it be this request that kills engines, the loop is cut here.
                drop(lease);
                lease = self.lease(ask, local, None, tally).await?;
                sent = self.send(ask, prepared.endpoint, &prepared.body, &lease, local).await;
            }
            clock.waited(sending);
            let (response, connection) = sent.map_err(|error| Failure::unanswered(&error, lease.target(), ask.id))?;
            if !is_last && does_not_know(response.status()) {
                is_new_to_it = true;
                continue;
            }
            if is_new_to_it && response.status().is_success() {
                self.natives().note(lease.target().instance(), ask.endpoint);
            }
            return Ok(Reply::of_engine(response, connection, lease, prepared.answer));
        }
        Err(Failure::elsewhere(not_offered(ask.endpoint, &listing.id)))
    }

    /// Puts a request to a provider.
    pub(crate) async fn remote(
        self: &Arc<Self>,
        ask: &Ask<'_>,
        remote: &Remote,
        rewrite: &Rewrite,
        tally: &mut Tally,
        clock: &mut Clock,
    ) -> Result<Reply, Failure> {
        let provider = &remote.provider;
        let id = format!("{}/{}", provider.name, remote.model);
        tally.set_model(&remote.label);
        let count = self.spreads().in_flight(&provider.name);
        let place =
            Place::take(remote, &count).ok_or_else(|| Failure::elsewhere(too_many(&id, provider.in_flight_max)))?;
        let speaks = match provider.dialect {
            Dialect::OpenAi => Speaks::OpenAi,
            Dialect::Anthropic => Speaks::Anthropic,
        };
        let forms = forms(ask.endpoint, speaks);
        // Models of one provider differ in what they know.
        let instance = InstanceId::new(format!("{}/{}", provider.base, remote.model));
        let mut is_new_to_it = false;
        for (number, form) in forms.iter().enumerate() {
            let is_last = number + 1 == forms.len();
            if !is_last && self.natives().lacks(&instance, ask.endpoint) {
                continue;
            }
            let prepared = ask.prepare(*form, speaks, &[rewrite], Some(&remote.model)).map_err(Failure::elsewhere)?;
            let sending = Instant::now();
            let path = prepared.endpoint.path();
            let sent = self.providers.send(provider, path, prepared.body, &ask.head.headers, ask.id).await;
            clock.waited(sending);
            let response = sent.map_err(|error| Failure::broken(uncalled(&error, ask.id)))?;
            if !is_last && does_not_know(response.status()) {
                is_new_to_it = true;
                continue;
            }
            if response.status().is_redirection() {
                return Err(Failure::broken(elsewhere(&provider.name, response.status())));
            }
            if is_new_to_it && response.status().is_success() {
                self.natives().note(&instance, ask.endpoint);
            }
            let (head, body) = response.into_parts();
            let source = Source::Remote { body, patience: Patience::new(provider.idle_timeout), place };
            let headers = headers::of_provider(&head.headers);
            let mut reply = Reply::new(head.status, headers, source, prepared.answer);
            if prepared.asks_for_usage && reply.is_stream {
                reply.answer = Some(Box::new(WithoutUsage::default()));
            }
            return Ok(reply);
        }
        Err(Failure::elsewhere(not_offered(ask.endpoint, &id)))
    }

    fn mock(&self, ask: &Ask<'_>, listing: &Listing, rewrite: &Rewrite) -> Result<Reply, Failure> {
        let Some(form) = forms(ask.endpoint, Speaks::Mock).first() else {
            return Err(Failure::elsewhere(not_offered(ask.endpoint, &listing.id)));
        };
        let prepared = ask.prepare(*form, Speaks::Mock, &[rewrite], None).map_err(Failure::elsewhere)?;
        mock::answer(prepared, listing, &ask.name).map_err(Failure::elsewhere)
    }

    /// What one who may answer has to do.
    pub(crate) fn standing(&self, member: &Member) -> Standing {
        match member {
            Member::Local(local) => {
                let routes = self.table.current();
                let target = routes.by_name.get(&local.name).and_then(|route| route.target.clone());
                let used = target.as_ref().map(|target| target.load());
                let load = Load {
                    is_ready: target.as_ref().is_some_and(|target| !target.is_closed()),
                    in_flight: used.map_or(0, |used| used.in_flight),
                    waiting: used.map_or(0, |used| u64::try_from(used.waiting).unwrap_or(u64::MAX)),
                    capacity: target.as_ref().map_or(0, |target| target.limit()),
                };
                Standing { load, target }
            }
            Member::Remote(remote) => {
                let load = Load {
                    is_ready: true,
                    in_flight: self.spreads().in_flight(&remote.provider.name).load(Ordering::Relaxed),
                    waiting: 0,
                    capacity: remote.provider.in_flight_max,
                };
                Standing { load, target: None }
            }
        }
    }

    /// A lease on an engine of a model, on `target` if it gives one: at once, in turn, or once it is loaded.
    async fn lease(
        &self,
        ask: &Ask<'_>,
        local: &Local,
        mut target: Option<Arc<Target>>,
        tally: &Tally,
    ) -> Result<Lease, Failure> {
        if let Some(lease) = target.as_ref().and_then(Target::lease) {
            return Ok(lease);
        }
        let _waiting = tally.wait();
        for _ in 0..LEASE_TRIES {
            match target.take().filter(|target| !target.is_closed()) {
                Some(busy) => match self.in_turn(ask, &busy).await? {
                    Some(lease) => return Ok(lease),
                    // It has closed meanwhile: the model is asked for anew.
                    None => continue,
                },
                None => match self.activate.activate(&local.name).await {
                    Ok(lease) => return Ok(lease),
                    Err(Unavailable::Busy { target: busy }) => target = Some(busy),
                    Err(unavailable) => return Err(Failure::elsewhere(unavailable.into())),
                },
            }
        }
        let message = format!("{} comes and goes; try again in a while", local.name);
        Err(Failure::elsewhere(ApiError::unavailable("model_loading", message).with_retry_after(RETRY_AFTER)))
    }

    /// A lease on a target whose places are all taken, when it is this caller's turn; `None` if the target closes first.
    async fn in_turn(&self, ask: &Ask<'_>, busy: &Arc<Target>) -> Result<Option<Lease>, Failure> {
        let bounds = match ask.caller.key_id() {
            Some(_) => ask.limits.queue,
            // All who come without a key are one caller.
            None => QueueBounds { per_caller_max: ask.limits.queue.waiting_max, ..ask.limits.queue },
        };
        let turn = busy.wait(ask.caller.fair_id(), &bounds);
        let Ok(served) = tokio::time::timeout(ask.limits.queue_wait, turn).await else {
            let waited = ask.limits.queue_wait.as_secs_f64();
            let message = format!("{} had no place free for {waited} s", busy.model());
            let error = ApiError::unavailable("queue_timeout", message).with_retry_after(RETRY_AFTER);
            return Err(Failure::elsewhere(error));
        };
        match served {
            Ok(lease) => Ok(Some(lease)),
            Err(NotServed::Closed) => Ok(None),
            Err(full @ (NotServed::Full { waiting, limit } | NotServed::CallerFull { waiting, limit })) => {
                let in_flight = busy.load().in_flight;
                let message = format!("{} is answering {in_flight} requests, and {full}", busy.model());
                let error =
                    ApiError::new(StatusCode::TOO_MANY_REQUESTS, ErrorType::RateLimitError, "queue_full", message)
                        .with_details(serde_json::json!({ "in_flight": in_flight, "waiting": waiting, "limit": limit }))
                        .with_retry_after(RETRY_AFTER);
                Err(Failure::elsewhere(error))
            }
        }
    }

    pub(crate) async fn send(
        &self,
        ask: &Ask<'_>,
        endpoint: Endpoint,
        body: &Bytes,
        lease: &Lease,
        local: &Local,
    ) -> Result<(http::Response<hyper::body::Incoming>, Box<crate::pool::Connection>), SendError> {
        let uri = target_uri(endpoint, &ask.head.uri);
        let request = |host: &HeaderValue| {
            let mut request = http::Request::new(Full::new(body.clone()));
            *request.method_mut() = if endpoint.is_look() { Method::GET } else { Method::POST };
            *request.uri_mut() = uri.clone();
            let mut headers = headers::towards_engine(&ask.head.headers);
            headers.insert(http::header::HOST, host.clone());
            headers.insert(X_REQUEST_ID, ask.id.clone().into_header());
            *request.headers_mut() = headers;
            request
        };
        let idle_timeout = local.idle_timeout.unwrap_or(ask.limits.engine_idle_timeout);
        self.pool.send(lease.target().address(), Instant::now(), idle_timeout, &request).await
    }
}

/// Whether an answer says that there is no such route. 404 and 422 are the router contract's words for it.
pub(crate) fn does_not_know(status: StatusCode) -> bool {
    matches!(status.as_u16(), 404 | 405 | 422 | 501)
}

/// Whether whoever looks after the engine has seen that it is dead, or sees it in a moment.
async fn is_gone(target: &Target) -> bool {
    tokio::time::timeout(DEATH_SEEN_WITHIN, target.closed()).await.is_ok()
}

/// The engine's path is ours without a slash at the end; the query goes along.
fn target_uri(endpoint: Endpoint, uri: &Uri) -> Uri {
    match uri.path_and_query() {
        Some(path_and_query) if uri.path() == endpoint.path() => Uri::from(path_and_query.clone()),
        _ => {
            let query = uri.query().map(|query| format!("{}?{query}", endpoint.path()));
            let path_and_query = query.and_then(|text| PathAndQuery::try_from(text).ok());
            Uri::from(path_and_query.unwrap_or_else(|| PathAndQuery::from_static(endpoint.path())))
        }
    }
}

fn not_configured(model: &str, provider: Provider) -> ApiError {
    let message = format!(
        "{model} is configured for the provider {provider}, and how that is called is not known: give its model config an \
         `api_key`, and an `api_base` if it is not at its usual place"
    );
    ApiError::unavailable("provider_unavailable", message)
        .with_param("model")
        .with_details(serde_json::json!({ "model": model, "provider": provider.as_str() }))
}

pub(crate) fn not_offered(endpoint: Endpoint, model: &str) -> ApiError {
    let message = format!("who runs {model} does not offer {}", endpoint.path());
    ApiError::bad_request("endpoint_not_offered", message).with_param("model")
}

fn too_many(model: &str, limit: u64) -> ApiError {
    let message = format!("{model} is answering {limit} requests already, which is its limit");
    ApiError::new(StatusCode::TOO_MANY_REQUESTS, ErrorType::RateLimitError, "queue_full", message)
        .with_details(serde_json::json!({ "in_flight": limit, "limit": limit }))
        .with_retry_after(RETRY_AFTER)
}

fn unanswered(error: &SendError, target: &Target, id: &RequestId) -> ApiError {
    let model = target.model();
    tracing::warn!(
        request.id = id.as_str(),
        engine.id = %target.instance(),
        %model,
        error = error as &dyn std::error::Error,
        "the engine did not answer"
    );
    match error {
        SendError::Silent { waited, .. } => {
            let message = format!("the engine of {model} said nothing for {} s", waited.as_secs_f64());
            ApiError::new(StatusCode::GATEWAY_TIMEOUT, ErrorType::ServerError, "timeout", message)
        }
        SendError::Connect { .. } | SendError::Broken { .. } => {
            let message =
                format!("the engine of {model} went away before it answered; nothing was sent, it is safe to retry");
            ApiError::unavailable("deployment_unreachable", message).with_retry_after(RETRY_AFTER)
        }
    }
}

fn elsewhere(provider: &str, status: StatusCode) -> ApiError {
    let message = format!("{provider} sends us elsewhere ({status}), and keys go to nobody else: mend its `base_url`");
    ApiError::new(StatusCode::BAD_GATEWAY, ErrorType::ServerError, "provider_unavailable", message)
}

fn uncalled(error: &CallError, id: &RequestId) -> ApiError {
    tracing::warn!(request.id = id.as_str(), error = error as &dyn std::error::Error, "a provider did not answer");
    let (status, code) = match error {
        CallError::Silent { .. } => (StatusCode::GATEWAY_TIMEOUT, "timeout"),
        CallError::Unreachable { .. } | CallError::Unusable { .. } => (StatusCode::BAD_GATEWAY, "provider_unavailable"),
    };
    ApiError::new(status, ErrorType::ServerError, code, error.to_string()).with_retry_after(RETRY_AFTER)
}
