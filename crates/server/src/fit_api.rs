//! `/api/v1/*`: the fit API. Handlers only read the question and hand on the answer.

use advisor::{List, Query};
use api::{Concurrency, FitError, FitList, Installed, PlanAnswer, PlanRequest, Runtimes, SystemAnswer};
use axum::Json;
use axum::extract::rejection::{JsonRejection, PathRejection};
use axum::extract::{Path, RawQuery, Request, State};
use axum::response::{IntoResponse, Response};
use gateway::ApiError;
use http::header::ALLOW;
use http::{HeaderMap, HeaderValue, StatusCode};

use crate::advice::Advice;
use crate::fit_parameters::{ListParameters, MachineParameters, ModelParameters, PlanParameters, UsersParameter};

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

impl From<Refusal> for ApiError {
    /// What is refused elsewhere for a reason that the fit API has as well: the machine is not known.
    fn from(refusal: Refusal) -> Self {
        Self { status: refusal.status, ..Self::unavailable("hardware_unknown", refusal.message) }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.status, Json(FitError { error: self.message })).into_response()
    }
}

/// What this machine is: processor, memory, accelerators, and what could not be read.
#[utoipa::path(
    get, path = "/api/v1/system", tag = "fit", params(MachineParameters),
    responses(
        (status = 200, body = SystemAnswer), (status = 400, body = FitError),
        (status = 503, description = "the machine cannot be looked at, or the server stops", body = FitError),
    ),
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
    get, path = "/api/v1/models", tag = "fit", params(ListParameters, MachineParameters),
    responses(
        (status = 200, body = FitList),
        (status = 304, description = "the list is the one of `If-None-Match`"),
        (status = 400, body = FitError),
        (status = 503, description = "the machine cannot be looked at, or the server stops", body = FitError),
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
    get, path = "/api/v1/models/top", tag = "fit", params(ListParameters, MachineParameters),
    responses(
        (status = 200, body = FitList),
        (status = 304, description = "the list is the one of `If-None-Match`"),
        (status = 400, body = FitError),
        (status = 503, description = "the machine cannot be looked at, or the server stops", body = FitError),
    ),
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
    params(
        ("name" = String, Path, description = "a model's name, or words to search for", min_length = 1),
        ListParameters, MachineParameters,
    ),
    responses(
        (status = 200, body = FitList),
        (status = 304, description = "the list is the one of `If-None-Match`"),
        (status = 400, body = FitError),
        (status = 503, description = "the machine cannot be looked at, or the server stops", body = FitError),
    ),
)]
pub(crate) async fn named(
    State(advice): State<Advice>,
    name: Result<Path<String>, PathRejection>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let Path(name) = name.map_err(|_| Refusal::bad_request("the name in the path is not valid UTF-8"))?;
    list(&advice, List::Models, Some(name.trim_end_matches('/')), query.as_deref(), &headers).await
}

/// What a model takes here, in every way of running it, and what would make it fit or make it faster.
#[utoipa::path(
    post, path = "/api/v1/plan", tag = "fit", request_body = PlanRequest,
    responses(
        (status = 200, body = PlanAnswer), (status = 400, body = FitError), (status = 404, body = FitError),
        (status = 413, body = FitError), (status = 415, body = FitError), (status = 503, body = FitError),
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
    get, path = "/api/v1/plan", tag = "fit", params(ModelParameters, PlanParameters, MachineParameters),
    responses(
        (status = 200, body = PlanAnswer), (status = 400, body = FitError), (status = 404, body = FitError),
        (status = 503, body = FitError),
    ),
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
    get, path = "/api/v1/concurrency", tag = "fit", params(ModelParameters, UsersParameter, MachineParameters),
    responses(
        (status = 200, body = Concurrency), (status = 400, body = FitError), (status = 404, body = FitError),
        (status = 503, body = FitError),
    ),
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
#[utoipa::path(
    get, path = "/api/v1/installed", tag = "fit",
    responses((status = 200, body = Installed), (status = 503, body = FitError)),
)]
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
