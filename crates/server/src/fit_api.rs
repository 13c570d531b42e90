//! `/api/v1/*`: the fit API. Handlers only read the question and hand on the answer.

use advisor::{List, Query};
use api::{Concurrency, FitError, FitList, Installed, PlanAnswer, PlanRequest, Runtimes, SystemAnswer};
use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, RawQuery, Request, State};
use axum::response::{IntoResponse, Response};
use http::header::ALLOW;
use http::{HeaderMap, HeaderValue, StatusCode};

use crate::advice::Advice;

/// An error in the fit API's form.
pub(crate) struct Refusal {
    status: StatusCode,
    message: String,
}

impl Refusal {
    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self { status: StatusCode::BAD_REQUEST, message: message.into() }
    }

    pub(crate) fn unavailable(message: impl Into<String>) -> Self {
        Self { status: StatusCode::SERVICE_UNAVAILABLE, message: message.into() }
    }

    pub(crate) fn method_not_allowed(message: impl Into<String>) -> Self {
        Self { status: StatusCode::METHOD_NOT_ALLOWED, message: message.into() }
    }

    pub(crate) fn not_found(message: impl Into<String>) -> Self {
        Self { status: StatusCode::NOT_FOUND, message: message.into() }
    }
}

impl From<advisor::QueryError> for Refusal {
    fn from(error: advisor::QueryError) -> Self {
        Self::bad_request(error.to_string())
    }
}

impl From<advisor::PlanError> for Refusal {
    fn from(error: advisor::PlanError) -> Self {
        match error {
            advisor::PlanError::UnknownModel { .. } => Self::not_found(error.to_string()),
            other => Self::bad_request(other.to_string()),
        }
    }
}

impl From<hardware::OverrideError> for Refusal {
    fn from(error: hardware::OverrideError) -> Self {
        Self::bad_request(error.to_string())
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.status, Json(FitError { error: self.message })).into_response()
    }
}

/// What this machine is: processor, memory, accelerators, and what could not be read.
#[utoipa::path(
    get, path = "/api/v1/system", tag = "fit",
    params(
        ("ram_gb" = Option<f64>, Query, description = "system memory in place of this machine's, GiB"),
        ("vram_gb" = Option<f64>, Query, description = "accelerator memory in place of this machine's, GiB"),
        ("cpu_cores" = Option<u32>, Query, description = "cores in place of this machine's"),
    ),
    responses((status = 200, body = SystemAnswer), (status = 400, body = FitError)),
)]
pub(crate) async fn system(
    State(advice): State<Advice>,
    RawQuery(query): RawQuery,
) -> Result<Json<SystemAnswer>, Refusal> {
    let query = Query::read(List::Models, None, &pairs(query.as_deref()))?;
    Ok(Json(advice.system(&query.terms).await?))
}

/// Every model of the catalogue, with how it fits this machine: the best first, those that do not run last.
#[utoipa::path(
    get, path = "/api/v1/models", tag = "fit",
    params(
        ("limit" = Option<u64>, Query, description = "most rows of the answer; also `n`"),
        ("offset" = Option<u64>, Query, description = "rows left out at the start"),
        ("perfect" = Option<bool>, Query, description = "only those that fit perfectly"),
        ("min_fit" = Option<String>, Query, description = "perfect, good, marginal, too_tight"),
        ("runtime" = Option<String>, Query, description = "any, mlx, llamacpp, vllm"),
        ("use_case" = Option<String>, Query, description = "general, coding, reasoning, chat, multimodal, embedding"),
        ("provider" = Option<String>, Query, description = "a part of the maker's name"),
        ("search" = Option<String>, Query, description = "words that must all be found"),
        ("license" = Option<String>, Query, description = "licences, separated by commas"),
        ("sort" = Option<String>, Query, description = "score, tps, params, mem, ctx, date, use_case"),
        ("include_too_tight" = Option<bool>, Query, description = "whether models that do not run are shown"),
        ("max_context" = Option<u64>, Query, description = "largest context reckoned with, tokens"),
        ("ram_gb" = Option<f64>, Query, description = "system memory in place of this machine's, GiB"),
        ("vram_gb" = Option<f64>, Query, description = "accelerator memory in place of this machine's, GiB"),
        ("cpu_cores" = Option<u32>, Query, description = "cores in place of this machine's"),
    ),
    responses(
        (status = 200, body = FitList),
        (status = 304, description = "the list is the one of `If-None-Match`"),
        (status = 400, body = FitError),
    ),
)]
pub(crate) async fn models(
    State(advice): State<Advice>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    list(&advice, List::Models, None, query.as_deref(), &headers).await
}

/// The five best models that run here. Takes what `/api/v1/models` takes.
#[utoipa::path(
    get, path = "/api/v1/models/top", tag = "fit",
    params(
        ("limit" = Option<u64>, Query, description = "most rows of the answer, 5 unless stated; also `n`"),
        ("min_fit" = Option<String>, Query, description = "perfect, good, marginal, too_tight"),
        ("use_case" = Option<String>, Query, description = "general, coding, reasoning, chat, multimodal, embedding"),
        ("sort" = Option<String>, Query, description = "score, tps, params, mem, ctx, date, use_case"),
        ("include_too_tight" = Option<bool>, Query, description = "whether models that do not run are shown"),
    ),
    responses((status = 200, body = FitList), (status = 304, description = "not changed"), (status = 400, body = FitError)),
)]
pub(crate) async fn top(
    State(advice): State<Advice>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    list(&advice, List::Top, None, query.as_deref(), &headers).await
}

/// Models in whose names, makers and uses all words of `name` are found; slashes may be raw. Takes what
/// `/api/v1/models` takes.
#[utoipa::path(
    get, path = "/api/v1/models/{name}", tag = "fit",
    params(("name" = String, Path, description = "a model's name, or words to search for")),
    responses((status = 200, body = FitList), (status = 304, description = "not changed"), (status = 400, body = FitError)),
)]
pub(crate) async fn named(
    State(advice): State<Advice>,
    Path(name): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    list(&advice, List::Models, Some(name.trim_end_matches('/')), query.as_deref(), &headers).await
}

/// What a model takes here, in every way of running it, and what would make it fit or make it faster.
#[utoipa::path(
    post, path = "/api/v1/plan", tag = "fit", request_body = PlanRequest,
    responses(
        (status = 200, body = PlanAnswer), (status = 400, body = FitError), (status = 404, body = FitError),
        (status = 413, body = FitError), (status = 415, body = FitError),
    ),
)]
pub(crate) async fn plan(
    State(advice): State<Advice>,
    request: Result<Json<PlanRequest>, JsonRejection>,
) -> Result<Json<PlanAnswer>, Refusal> {
    // Of JSON that is not a plan's the contract says 400, not 422.
    let Json(request) = request.map_err(|rejection| Refusal {
        status: match rejection.status() {
            StatusCode::UNPROCESSABLE_ENTITY => StatusCode::BAD_REQUEST,
            other => other,
        },
        message: rejection.body_text(),
    })?;
    Ok(Json(advice.plan(request).await?))
}

/// The same, asked by a query.
#[utoipa::path(
    get, path = "/api/v1/plan", tag = "fit",
    params(
        ("model" = String, Query, description = "the model's id on the hub, or the part of it that names one model"),
        ("context" = Option<u64>, Query, description = "tokens of context"),
        ("quant" = Option<String>, Query, description = "a quantisation"),
        ("kv_quant" = Option<String>, Query, description = "type of the KV cache"),
        ("target_tps" = Option<f64>, Query, description = "speed that is wanted, tok/s"),
        ("slots" = Option<u32>, Query, description = "requests served at once"),
        ("ram_gb" = Option<f64>, Query, description = "system memory in place of this machine's, GiB"),
        ("vram_gb" = Option<f64>, Query, description = "accelerator memory in place of this machine's, GiB"),
        ("cpu_cores" = Option<u32>, Query, description = "cores in place of this machine's"),
    ),
    responses((status = 200, body = PlanAnswer), (status = 400, body = FitError), (status = 404, body = FitError)),
)]
pub(crate) async fn plan_by_query(
    State(advice): State<Advice>,
    RawQuery(query): RawQuery,
) -> Result<Json<PlanAnswer>, Refusal> {
    let request = advisor::plan_request(&pairs(query.as_deref()))?;
    Ok(Json(advice.plan(request).await?))
}

/// How many requests at once fit beside a model's weights, by context.
#[utoipa::path(
    get, path = "/api/v1/concurrency", tag = "fit",
    params(
        ("model" = String, Query, description = "the model's id on the hub, or the part of it that names one model"),
        ("context" = Option<u64>, Query, description = "a context to reckon with besides the ladder's, tokens"),
        ("quant" = Option<String>, Query, description = "a quantisation"),
        ("kv_quant" = Option<String>, Query, description = "type of the KV cache"),
        ("users" = Option<u64>, Query, description = "requests at once that are wanted"),
    ),
    responses((status = 200, body = Concurrency), (status = 400, body = FitError), (status = 404, body = FitError)),
)]
pub(crate) async fn concurrency(
    State(advice): State<Advice>,
    RawQuery(query): RawQuery,
) -> Result<Json<Concurrency>, Refusal> {
    Ok(Json(advice.concurrency(&pairs(query.as_deref())).await?))
}

/// Engines that snug knows to use, and whether they are here.
#[utoipa::path(get, path = "/api/v1/runtimes", tag = "fit", responses((status = 200, body = Runtimes)))]
pub(crate) async fn runtimes(State(advice): State<Advice>) -> Json<Runtimes> {
    Json(advice.runtimes())
}

/// Models that are on this machine.
#[utoipa::path(get, path = "/api/v1/installed", tag = "fit", responses((status = 200, body = Installed)))]
pub(crate) async fn installed(State(advice): State<Advice>) -> Result<Json<Installed>, Refusal> {
    Ok(Json(advice.installed().await?))
}

/// Anything else below `/api/v1/`.
pub(crate) async fn unknown(request: Request) -> Refusal {
    let path = request.uri().path();
    let path = &path[..path.floor_char_boundary(200)];
    Refusal::not_found(format!(
        "there is no route `{} {path}`; see /openapi.json for those there are",
        request.method()
    ))
}

/// Any other method on a path that answers `allow`.
pub(crate) fn method_not_allowed(request: &Request, allow: &'static str) -> Response {
    let message = format!("{} does not answer {}; it answers {allow}", request.uri().path(), request.method());
    let mut response = Refusal::method_not_allowed(message).into_response();
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(allow));
    response
}

async fn list(
    advice: &Advice,
    list: List,
    name: Option<&str>,
    query: Option<&str>,
    headers: &HeaderMap,
) -> Result<Response, Refusal> {
    let query = Query::read(list, name, &pairs(query))?;
    Ok(advice.list(query).await?.answer(headers))
}

/// The parameters of a query; bytes that are no UTF-8 are replaced.
fn pairs(query: Option<&str>) -> Vec<(String, String)> {
    form_urlencoded::parse(query.unwrap_or_default().as_bytes()).into_owned().collect()
}
