//! Section 5: the error object, on each kind of failure; and the CORS headers of section 1.

use serde_json::{Value, json};
use testkit::{Method, gguf};

use crate::catalogue_of_routes::ROUTES;
use crate::stage::fake;
use crate::table::{Request, Table, error, get, row};

/// A route's path for this model and variant.
fn path(route: &str, model: &str, variant: &str) -> String {
    route.replace("{name}", model).replace("{variant}", variant)
}

#[tokio::test]
async fn chapter_5() {
    let stage = fake().model("tiny-Q4_K_M.gguf", &gguf::ChatModel::default().file());
    let snug = stage.start().await;
    let mut table = Table::of(&snug);

    for unknown in [
        "/api/nowhere",
        "/api/models/tiny/nowhere",
        "/api/storage/nowhere",
        "/api/stats/nowhere",
        "/nowhere",
        "/v1/nowhere",
        "/api",
    ] {
        for method in [Method::GET, Method::POST, Method::PUT, Method::DELETE, Method::PATCH] {
            let statement = format!("a {method} of an unknown route");
            let shape = error("<not_found_error|invalid_request_error>");
            table.row(row("5", statement, Request::new(method, unknown), [404, 405], shape)).await;
        }
    }

    // Known paths, asked by methods that they do not have.
    for method in ["GET", "POST", "PUT", "DELETE", "PATCH"] {
        for (_, route) in ROUTES {
            if ROUTES.contains(&(method, route)) || route == "/metrics" || is_also(method, route) {
                continue;
            }
            let request = Request::new(method.parse().unwrap(), path(route, "tiny", "Q4_K_M"));
            let shape = error("<not_found_error|invalid_request_error>");
            table.row(row("5", "a method that the route does not have", request, [404, 405], shape)).await;
        }
    }
    let answer = snug.send(Method::PATCH, "/api/storage/limit", &[], "").await;
    table.holds(
        "5",
        "a wrong method is told which would be right",
        answer.status != 405 || answer.header("allow").contains("PUT"),
        format!("{answer:?}"),
    );

    // Names that mean nothing, everywhere.
    for name in [
        "unknown",
        "org/unknown",
        "org%2Funknown",
        "%00",
        "..%2F..%2Fetc%2Fpasswd",
        "%F0%9F%A6%80",
        "a%20b",
        "x".repeat(2000).as_str(),
    ] {
        for (method, route) in ROUTES {
            if !route.contains("{name}") {
                continue;
            }
            let request = Request::new(method.parse().unwrap(), path(route, name, "Q4_K_M"));
            let statement = format!("an unknown name: {method} {route}");
            let statuses = if route.ends_with("/load") { [400, 400] } else { [400, 404] };
            table.row(row("5", statement, request, statuses, error("<not_found_error|invalid_request_error>"))).await;
        }
    }

    // Bodies that are wrong, wherever one is read.
    for (method, route) in [
        ("POST", "/v1/chat/completions"),
        ("POST", "/v1/embeddings"),
        ("POST", "/api/models/config"),
        ("PUT", "/api/models/config"),
        ("PUT", "/api/storage/limit"),
        ("POST", "/api/storage/limit"),
        ("PUT", "/api/storage/cleanup/config"),
    ] {
        for body in
            ["", "{", "nothing", "[]", "null", "\"text\"", "{\"model\": {}}\u{0}", "\u{feff}{}", &"[".repeat(100_000)]
        {
            let request = Request::new(method.parse().unwrap(), route).body("application/json", body);
            let statement = format!("{method} {route} with {}", &body[..body.len().min(20)]);
            table.row(row("5", statement, request, [400, 413], error("invalid_request_error"))).await;
        }
    }
    let still = snug.get("/api/models").await;
    table.holds("5", "after all of that it goes on", still.status == 200, format!("{still:?}"));
    table.done();
}

/// What may be answered beside what the document says: lists, and the end of a download.
fn is_also(method: &str, route: &str) -> bool {
    const BESIDE: [(&str, &str); 4] = [
        ("GET", "/api/models/config"),
        ("GET", "/api/storage/limit"),
        ("DELETE", "/api/models/{name}/download"),
        ("PUT", "/api/models/{name}/download"),
    ];
    BESIDE.contains(&(method, route))
}

#[tokio::test]
async fn answers_may_be_read_from_any_page() {
    let stage = fake().model("tiny-Q4_K_M.gguf", &gguf::ChatModel::default().file());
    let snug = stage.start().await;
    let origin = [("origin", "http://page.example")];
    let mut table = Table::of(&snug);
    for (_, route) in ROUTES.iter().filter(|(method, _)| *method == "GET") {
        let answer = snug.send(Method::GET, &path(route, "tiny", "Q4_K_M"), &origin, "").await;
        let allowed = answer.header("access-control-allow-origin");
        let readable = allowed == "*" || allowed == origin[0].1;
        table.holds(
            "1",
            &format!("GET {route} carries permissive CORS headers"),
            readable,
            format!("{} {allowed:?}", answer.status),
        );
    }
    // The log is not for pages elsewhere; why, they may read.
    for (path, status) in [("/api/nowhere", 404), ("/v1/models/unknown", 404), ("/api/logs", 401)] {
        let answer = snug.send(Method::GET, path, &origin, "").await;
        let readable = !answer.header("access-control-allow-origin").is_empty() && answer.status == status;
        table.holds("1", "refusals carry them too", readable, format!("{path}: {answer:?}"));
    }
    let chat = json!({ "model": "tiny", "messages": [{ "role": "user", "content": "Hello!" }] }).to_string();
    let headers = [origin[0], ("content-type", "application/json")];
    let answer = snug.send(Method::POST, "/v1/chat/completions", &headers, &chat).await;
    let readable = answer.status == 200 && !answer.header("access-control-allow-origin").is_empty();
    table.holds("1", "inference carries them", readable, format!("{answer:?}"));

    for (method, route) in [("GET", "/api/models"), ("POST", "/v1/chat/completions")] {
        let headers = [
            origin[0],
            ("access-control-request-method", method),
            ("access-control-request-headers", "content-type,authorization"),
        ];
        let answer = snug.send(Method::OPTIONS, route, &headers, "").await;
        let methods = answer.header("access-control-allow-methods").to_uppercase();
        let fields = answer.header("access-control-allow-headers").to_lowercase();
        let allowed = [200, 204].contains(&answer.status)
            && !answer.header("access-control-allow-origin").is_empty()
            && (methods.contains(method) || methods == "*")
            && (fields.contains("content-type") || fields == "*");
        table.holds("1", &format!("a browser may ask {method} {route}"), allowed, format!("{answer:?}"));
    }

    // Pages elsewhere may read, but not manage.
    let before = snug.get("/api/storage").await.json()["storage_limit_bytes"].clone();
    let answer = snug.send(Method::PUT, "/api/storage/limit", &headers, "{\"limit_bytes\": 1}").await;
    let refused = answer.status == 401 || answer.status == 403;
    table.holds("design 5", "a foreign page may not manage", refused, format!("{answer:?}"));
    table
        .row(row("design 5", "and changed nothing", get("/api/storage"), 200, json!({ "storage_limit_bytes": before })))
        .await;
    for (method, route) in ROUTES.iter().filter(|(method, route)| *method != "GET" && route.starts_with("/api/")) {
        let answer = snug.send(method.parse().unwrap(), &path(route, "tiny", "Q4_K_M"), &headers, "{}").await;
        let refused = answer.status == 401 || answer.status == 403;
        table.holds("design 5", &format!("a foreign page may not {method} {route}"), refused, format!("{answer:?}"));
        table.has_shape(
            "5",
            "and is told so by the error object",
            &error("<authentication_error|permission_error|invalid_request_error>"),
            &serde_json::from_str::<Value>(&answer.text).unwrap_or_default(),
        );
    }
    table.done();
}
