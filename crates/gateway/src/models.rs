//! `/v1/models` and `/v1/models/{id}`, out of the route table.

use std::sync::Arc;

use api::{Model, ModelList};
use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Query, Request, State};
use axum::response::{IntoResponse, Response};
use route::Unavailable;

use crate::error::shortened;
use crate::router::Gateway;
use crate::{ApiError, RequestId, X_REQUEST_ID};

/// Most names told to someone who asked for one that does not exist.
const NAMES_TOLD: usize = 10;

/// All models, or with `?state=loaded` those that are loaded.
pub(crate) async fn list(State(gateway): State<Arc<Gateway>>, request: Request) -> Response {
    let list = only_loaded(&request).map(|only_loaded| {
        let routes = gateway.table.current();
        let wanted = routes.listed.iter().filter(|model| !only_loaded || model.state == "Loaded");
        ModelList { object: "list".to_owned(), data: wanted.map(|model| Model::clone(model)).collect() }
    });
    answer(&request, list)
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
    let routes = gateway.table.current();
    let route = routes.by_name.get(&name).or_else(|| routes.by_name.get(name.strip_suffix('/')?));
    answer(&request, route.map(|route| Model::clone(&route.listing)).ok_or_else(|| unknown(&gateway, &name)))
}

/// No model has this name; these do.
pub(crate) fn unknown(gateway: &Gateway, name: &str) -> ApiError {
    let routes = gateway.table.current();
    let known = routes.listed.iter().take(NAMES_TOLD).map(|model| model.id.clone()).collect();
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
