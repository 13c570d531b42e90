//! `/v1/models` and `/v1/models/{id}`, out of the route table and the directory.

use std::collections::HashSet;
use std::sync::Arc;

use api::{Model, ModelList};
use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Query, Request, State};
use axum::response::{IntoResponse, Response};
use keys::Caller;
use route::{Listed, Routes, Unavailable};

use crate::error::shortened;
use crate::router::Gateway;
use crate::{ApiError, RequestId, X_REQUEST_ID, headers};

/// Most names told to someone who asked for one that does not exist.
const NAMES_TOLD: usize = 10;

/// All models, or with `?state=loaded` those that are loaded.
pub(crate) async fn list(State(gateway): State<Arc<Gateway>>, request: Request) -> Response {
    let list = || {
        let caller = admitted(&gateway, &request)?;
        let only_loaded = only_loaded(&request)?;
        let mut data = rows(&gateway);
        data.retain(|model| (!only_loaded || model.state == "Loaded") && caller.may_use_model(&model.id));
        Ok(ModelList { object: "list".to_owned(), data })
    };
    answer(&request, list())
}

/// Who asks, if that one may ask for models.
fn admitted(gateway: &Gateway, request: &Request) -> Result<Caller, ApiError> {
    let caller = gateway.keys.check(headers::presented_key(request.headers()))?;
    if caller.may_use_endpoint("models") { Ok(caller) } else { Err(ApiError::endpoint_not_allowed("/v1/models")) }
}

/// The models of this machine and what the configuration adds, sorted by id.
fn rows(gateway: &Gateway) -> Vec<Model> {
    let (routes, names) = (gateway.table.current(), gateway.directory.current());
    let added: HashSet<&str> = names.listed.iter().map(|added| added.listing.id.as_str()).collect();
    let behind: HashSet<&str> =
        names.listed.iter().filter(|added| added.stands_for_it).filter_map(|added| added.model.as_deref()).collect();
    let own = routes.listed.iter().filter(|row| !added.contains(row.id.as_str()) && !behind.contains(row.id.as_str()));
    let mut rows: Vec<Model> = own.map(|row| Model::clone(row)).collect();
    rows.extend(names.listed.iter().map(|added| row(&routes, added)));
    rows.sort_by(|one, other| one.id.cmp(&other.id));
    rows
}

/// A row that the configuration adds, with the state of the model behind it.
fn row(routes: &Routes, added: &Listed) -> Model {
    let mut row = Model::clone(&added.listing);
    if let Some(behind) = added.model.as_ref().and_then(|name| routes.by_name.get(name)) {
        row.state.clone_from(&behind.listing.state);
        row.variants.clone_from(&behind.listing.variants);
        row.port = row.port.or(behind.listing.port);
        row.context_length = row.context_length.or(behind.listing.context_length);
        row.created = row.created.max(behind.listing.created);
        row.supports_function_calling |= behind.listing.supports_function_calling;
    }
    row
}

/// One model, by any of its names.
pub(crate) async fn one(
    State(gateway): State<Arc<Gateway>>,
    name: Result<Path<String>, PathRejection>,
    request: Request,
) -> Response {
    let Ok(Path(name)) = name else {
        let error = ApiError::bad_request("invalid_path", "the model's name in the path is not valid UTF-8");
        return answer(&request, Err::<Model, _>(error));
    };
    let (routes, names) = (gateway.table.current(), gateway.directory.current());
    let find = |name: &str| {
        let added = names.listed.iter().find(|added| added.listing.id == name).map(|added| row(&routes, added));
        added.or_else(|| routes.by_name.get(name).map(|route| Model::clone(&route.listing)))
    };
    let found = admitted(&gateway, &request).and_then(|caller| {
        let found = find(&name).or_else(|| find(name.strip_suffix('/')?));
        let in_scope = found.filter(|model| caller.may_use_model(&model.id));
        in_scope.ok_or_else(|| unknown_to(&gateway, &caller, &name))
    });
    answer(&request, found)
}

/// No model that this caller may use has this name; these do.
pub(crate) fn unknown_to(gateway: &Gateway, caller: &Caller, name: &str) -> ApiError {
    let in_scope = rows(gateway).into_iter().map(|model| model.id).filter(|id| caller.may_use_model(id));
    let known = in_scope.take(NAMES_TOLD).collect();
    Unavailable::NotFound { name: shortened(name).to_owned(), known }.into()
}

fn answer(request: &Request, body: Result<impl serde::Serialize, ApiError>) -> Response {
    ([(X_REQUEST_ID, RequestId::of(request.headers()).into_header())], body.map(Json)).into_response()
}

/// Whether the query says `state=loaded`; anything else it says is refused.
fn only_loaded(request: &Request) -> Result<bool, ApiError> {
    let Query(pairs) = Query::<Vec<(String, String)>>::try_from_uri(request.uri()).map_err(|_| {
        ApiError::bad_request("invalid_query", "the query cannot be read; the only one known is `state=loaded`")
    })?;
    let mut only_loaded = false;
    for (key, value) in pairs {
        match (key.as_str(), value.as_str()) {
            ("state", "loaded") => only_loaded = true,
            ("state", other) => {
                let message = format!("`state={}` is not known; allowed is `state=loaded`", shortened(other));
                return Err(ApiError::bad_request("invalid_query", message).with_param("state"));
            }
            (other, _) => {
                let message = format!("the query parameter `{}` is not known; allowed is `state`", shortened(other));
                return Err(ApiError::bad_request("invalid_query", message));
            }
        }
    }
    Ok(only_loaded)
}
