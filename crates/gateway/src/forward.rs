//! One request, from its body to the head of the engine's answer.

use std::sync::Arc;
use std::time::{Duration, Instant};

use api::ErrorType;
use axum::extract::Request;
use axum::response::{IntoResponse as _, Response};
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::uri::PathAndQuery;
use http::{HeaderName, HeaderValue, Method, StatusCode, Uri};
use http_body_util::Full;
use hyper::body::Incoming;
use route::{Lease, Listing, Target, Unavailable};
use types::Provider;

use crate::metrics::{Endpoint, Outcome, Tally};
use crate::pool::{Connection, SendError};
use crate::relay::Relay;
use crate::router::Gateway;
use crate::{ApiError, RequestId, X_REQUEST_ID, body, headers, mock, models, routing};

const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");

const EVENT_STREAM: &[u8] = b"text/event-stream";

/// How long to wait before asking an engine again that has too much to do or has just died.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// A dead engine's target is closed within milliseconds of its death; so long is waited for that at most.
const DEATH_SEEN_WITHIN: Duration = Duration::from_secs(1);

/// Answers a request with what the engine of its model says.
pub(crate) async fn forward(gateway: Arc<Gateway>, endpoint: Endpoint, request: Request) -> Response {
    let id = RequestId::of(request.headers());
    let mut tally = Tally::open(&gateway.metrics, endpoint);
    let mut response = match gateway.ask(endpoint, &id, request, &mut tally).await {
        Ok(Answered::Engine(answer)) => answer.relay(gateway, tally),
        Ok(Answered::Mock(answer)) => answer.respond(gateway, tally),
        Err(error) => {
            tally.close(Outcome::from(error.status), Instant::now());
            error.into_response()
        }
    };
    response.headers_mut().insert(X_REQUEST_ID, id.into_header());
    response
}

/// Whose answer it is.
enum Answered {
    Engine(Answer),
    Mock(Box<mock::Answer>),
}

/// Who is to answer.
enum Answerer {
    /// An engine of this machine: the ready one, if there is one.
    Engine(Option<Arc<Target>>),
    Mock(Arc<Listing>),
}

/// The head of an engine's answer, and what its body will come through.
struct Answer {
    response: http::Response<Incoming>,
    connection: Box<Connection>,
    lease: Lease,
    /// What we took before the engine got the request.
    before: Duration,
    /// When the head had come.
    begun: Instant,
}

impl Gateway {
    async fn ask(
        &self,
        endpoint: Endpoint,
        id: &RequestId,
        request: Request,
        tally: &mut Tally,
    ) -> Result<Answered, ApiError> {
        let (head, body) = request.into_parts();
        let body = body::read(&head.headers, body, &self.limits).await?;
        let read = Instant::now();
        let name = routing::model_name(&body)?;
        let target = match self.answerer(&name, tally)? {
            Answerer::Engine(target) => target,
            Answerer::Mock(listing) => {
                return mock::Answer::to(endpoint, &listing, &name, &body).map(Box::new).map(Answered::Mock);
            }
        };
        let (mut lease, waited) = self.lease(&name, target, tally).await?;

        let uri = target_uri(endpoint, &head.uri);
        let request = |host: &HeaderValue| {
            let mut request = http::Request::new(Full::new(body.clone()));
            *request.method_mut() = Method::POST;
            *request.uri_mut() = uri.clone();
            let mut headers = headers::towards_engine(&head.headers);
            headers.insert(http::header::HOST, host.clone());
            headers.insert(X_REQUEST_ID, id.clone().into_header());
            *request.headers_mut() = headers;
            request
        };
        let sending = Instant::now();
        let before = sending.duration_since(read).saturating_sub(waited);
        let mut sent = self.pool.send(lease.target().address(), sending, &request).await;
        if let Err(SendError::Connect { .. } | SendError::Broken { .. }) = sent
            && is_gone(lease.target()).await
        {
            // The engine has died and nothing of an answer was seen: the request waits for its next start like any
            // other. Once: should it be this request that kills engines, the loop is cut here.
            drop(lease);
            (lease, _) = self.lease(&name, None, tally).await?;
            sent = self.pool.send(lease.target().address(), Instant::now(), &request).await;
        }
        let (response, connection) = sent.map_err(|error| unanswered(&error, lease.target(), id))?;
        Ok(Answered::Engine(Answer { response, connection, lease, before, begun: Instant::now() }))
    }

    /// Who answers for the model with this name.
    fn answerer(&self, name: &str, tally: &mut Tally) -> Result<Answerer, ApiError> {
        let routes = self.table.current();
        let route = routes.by_name.get(name).ok_or_else(|| models::unknown(self, name))?;
        tally.set_model(&route.listing.id);
        match route.provider {
            Provider::Llama => Ok(Answerer::Engine(route.target.clone())),
            Provider::Mock => Ok(Answerer::Mock(Arc::clone(&route.listing))),
            provider => Err(not_called_yet(&route.listing.id, provider)),
        }
    }

    /// A lease on an engine of the model with this name, on `target` if it gives one, and how long it was waited for.
    async fn lease(
        &self,
        name: &str,
        target: Option<Arc<Target>>,
        tally: &Tally,
    ) -> Result<(Lease, Duration), ApiError> {
        if let Some(target) = target {
            if let Some(lease) = target.lease() {
                return Ok((lease, Duration::ZERO));
            }
            if !target.is_closed() {
                return Err(Unavailable::Busy { target }.into());
            }
        }
        let _waiting = tally.wait();
        let begun = Instant::now();
        let lease = self.activate.activate(name).await?;
        Ok((lease, begun.elapsed()))
    }
}

impl Answer {
    /// The answer for the client, whose body comes as the engine sends it.
    fn relay(self, gateway: Arc<Gateway>, tally: Tally) -> Response {
        let (head, body) = self.response.into_parts();
        let mut headers = headers::towards_client(&head.headers);
        let is_event_stream = headers
            .get(CONTENT_TYPE)
            .and_then(|kind| kind.as_bytes().get(..EVENT_STREAM.len()))
            .is_some_and(|kind| kind.eq_ignore_ascii_case(EVENT_STREAM));
        if is_event_stream {
            // Room for an error event after what the engine announced.
            headers.remove(CONTENT_LENGTH);
        }
        let metrics = gateway.metrics.clone();
        let relay = Relay::new(gateway, body, self.connection, self.lease, tally, head.status, is_event_stream);
        let mut response = Response::new(axum::body::Body::new(relay));
        *response.status_mut() = head.status;
        let overhead = self.before + self.begun.elapsed();
        metrics.overhead(overhead);
        headers.append(SERVER_TIMING, timing(overhead));
        *response.headers_mut() = headers;
        response
    }
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

fn timing(overhead: Duration) -> HeaderValue {
    let micros = overhead.as_micros();
    let text = format!("snug;dur={}.{:03}", micros / 1000, micros % 1000);
    HeaderValue::try_from(text).expect("letters, digits and punctuation")
}

fn not_called_yet(model: &str, provider: Provider) -> ApiError {
    let message = format!(
        "{model} is configured for the provider {provider}, and calls to it are not built in yet; models of the providers \
         llama and mock answer"
    );
    ApiError::unavailable("provider_unavailable", message)
        .with_param("model")
        .with_details(serde_json::json!({ "model": model, "provider": provider.as_str() }))
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
