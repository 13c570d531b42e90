//! Who may ask, for what, and how much of it.

use std::time::SystemTime;

use keys::{Hash, Key, Keys, Kind, Limits, ModelPattern, Scope, endpoint};
use serde_json::json;
use types::KeyId;

use crate::cast::{Act, Actor, chain, header, local, well};
use crate::support::{House, Setup, error_of, eventually};

const HELLO: &str =
    r#"{"choices":[{"message":{"content":"hello"}}],"usage":{"prompt_tokens":31,"completion_tokens":4}}"#;

/// A permanent key with this text.
pub(crate) fn permanent(text: &str) -> Key {
    key(1, text, |_| {})
}

/// The same with a number, changed.
pub(crate) fn key(number: i64, text: &str, change: impl FnOnce(&mut Key)) -> Key {
    let mut key = Key {
        id: KeyId::new(number),
        hash: Hash::of(text),
        prefix: text.to_owned(),
        label: String::new(),
        owner: String::new(),
        kind: Kind::Permanent,
        created: SystemTime::now(),
        last_used: None,
        scope: Scope::default(),
        limits: Limits::default(),
    };
    change(&mut key);
    key
}

/// A house with these keys, and one model `m` and one `n`.
async fn house_of(keys: impl IntoIterator<Item = Key>, actor: &Actor) -> (House, Keys) {
    let keys = Keys::new(keys);
    let house = House::start(Setup { keys: keys.clone(), ..Setup::default() }).await;
    house.has(&[("m", Some(&actor.target("m"))), ("n", Some(&actor.target("n")))]);
    (house, keys)
}

async fn ask(house: &House, key: &str, path: &str, model: &str) -> reqwest::Response {
    let body = json!({ "model": model, "messages": [{ "role": "user", "content": "x" }] });
    let request = house.client.post(house.url(path)).bearer_auth(key).body(body.to_string());
    request.send().await.unwrap()
}

const CHAT: &str = "/v1/chat/completions";

#[tokio::test]
async fn the_doors_are_open_until_there_is_a_permanent_key() {
    let actor = Actor::always(well(HELLO)).await;
    let (house, keys) = house_of([], &actor).await;
    assert_eq!(house.ask("m").await.status(), 200);
    assert_eq!(ask(&house, "anything", CHAT, "m").await.status(), 200);
    keys.put(permanent("right"));
    let (status, error) = error_of(house.ask("m").await).await;
    assert_eq!((status, error["code"].as_str()), (401, Some("missing_api_key")));
    assert_eq!(error["type"], "authentication_error");
    let (status, error) = error_of(ask(&house, "wrong", CHAT, "m").await).await;
    assert_eq!((status, error["code"].as_str()), (401, Some("invalid_api_key")));
    let models = house.client.get(house.url("/v1/models"));
    assert_eq!(models.try_clone().unwrap().send().await.unwrap().status(), 401);
    assert_eq!(models.bearer_auth("right").send().await.unwrap().status(), 200);
    assert_eq!(ask(&house, "right", CHAT, "m").await.status(), 200);
    let by_header = house.client.post(house.url(CHAT)).header("x-api-key", "right").body(r#"{"model":"m"}"#);
    assert_eq!(by_header.send().await.unwrap().status(), 200);
    for asked in actor.asked() {
        assert_eq!((asked.header("authorization"), asked.header("x-api-key")), (None, None));
    }
    keys.remove(&[KeyId::new(1)]);
    assert_eq!(house.ask("m").await.status(), 200);
}

#[tokio::test]
async fn a_key_is_for_what_its_scope_says() {
    let actor = Actor::always(well(HELLO)).await;
    let of = |models: &[&str]| Some(models.iter().map(|text| ModelPattern::parse(text).unwrap()).collect());
    let narrow = key(1, "narrow", |key| key.scope.models = of(&["m"]));
    let alias = key(2, "alias", |key| key.scope.models = of(&["fa*"]));
    let chat = key(3, "chat", |key| key.scope.endpoints = Some(vec![endpoint("chat_completions").unwrap()]));
    let (house, _) = house_of([narrow, alias, chat], &actor).await;
    house.means([chain("fast", &[&[local("m")]])]);
    for (key, path, model, expected) in [
        ("narrow", CHAT, "m", 200),
        ("narrow", CHAT, "n", 404),
        ("narrow", CHAT, "fast", 404),
        ("narrow", CHAT, "nope", 404),
        ("narrow", "/v1/messages", "n", 404),
        ("narrow", "/api/chat", "n", 404),
        ("alias", CHAT, "fast", 200),
        ("alias", CHAT, "m", 404),
        ("chat", CHAT, "n", 200),
        ("chat", "/v1/completions", "n", 403),
        ("chat", "/v1/messages", "n", 403),
        ("chat", "/api/chat", "n", 403),
        ("chat", "/tokenize", "n", 403),
    ] {
        let response = ask(&house, key, path, model).await;
        assert_eq!(response.status(), expected, "{key} {path} {model}");
        let text = response.text().await.unwrap();
        if expected == 404 {
            let others: &[&str] = if key == "narrow" { &["n", "fast"] } else { &["m", "n"] };
            assert!(!others.iter().any(|other| text.contains(&format!("these do: {other}"))), "{text}");
            assert!(text.contains(if key == "narrow" { "these do: m" } else { "these do: fast" }), "{text}");
        }
    }
    let (status, error) = error_of(ask(&house, "chat", "/v1/completions", "n").await).await;
    assert_eq!((status, error["code"].as_str()), (403, Some("endpoint_not_allowed")));
    for (key, expected) in [("narrow", &["m"][..]), ("alias", &["fast"])] {
        let request = house.client.get(house.url("/v1/models")).bearer_auth(key);
        let listed: serde_json::Value = request.send().await.unwrap().json().await.unwrap();
        let ids: Vec<_> = listed["data"].as_array().unwrap().iter().map(|row| row["id"].as_str().unwrap()).collect();
        assert_eq!(ids, expected);
        for id in ["m", "n", "fast"] {
            let request = house.client.get(house.url(&format!("/v1/models/{id}"))).bearer_auth(key);
            let expected = if expected.contains(&id) { 200 } else { 404 };
            assert_eq!(request.send().await.unwrap().status(), expected, "{key} {id}");
        }
    }
    assert_eq!(house.client.get(house.url("/v1/models")).bearer_auth("chat").send().await.unwrap().status(), 403);
}

#[tokio::test]
async fn of_several_models_the_one_in_scope_is_meant_where_none_is_named() {
    let actor = Actor::always(well("{}")).await;
    let narrow = key(1, "narrow", |key| key.scope.models = Some(vec![ModelPattern::parse("n").unwrap()]));
    let (house, _) = house_of([narrow], &actor).await;
    let request = house.client.post(house.url("/tokenize")).bearer_auth("narrow").body("{}");
    assert_eq!(request.send().await.unwrap().status(), 200);
}

#[tokio::test]
async fn a_key_has_its_requests_of_a_minute() {
    let actor = Actor::always(well(HELLO)).await;
    let limited = key(1, "limited", |key| key.limits.requests_per_minute = Some(2));
    let (house, _) = house_of([limited, key(2, "other", |_| {})], &actor).await;
    for _ in 0..2 {
        assert_eq!(ask(&house, "limited", CHAT, "m").await.status(), 200);
    }
    let response = ask(&house, "limited", CHAT, "m").await;
    assert!((1..=61).contains(&header(&response, "retry-after").parse::<u64>().unwrap()));
    let (status, error) = error_of(response).await;
    assert_eq!((status, error["code"].as_str()), (429, Some("rate_limit_exceeded")));
    assert_eq!(error["details"]["limit"], "requests_per_minute");
    assert_eq!(ask(&house, "other", CHAT, "m").await.status(), 200);
    assert_eq!(actor.count(), 3);
}

#[tokio::test]
async fn a_key_has_its_tokens_of_a_minute() {
    let actor = Actor::always(well(HELLO)).await;
    for (path, request) in [
        (CHAT, json!({ "model": "m" })),
        ("/api/chat", json!({ "model": "m", "stream": false, "messages": [{ "role": "user", "content": "x" }] })),
    ] {
        let limited = key(1, "limited", |key| key.limits.tokens_per_minute = Some(36));
        let (house, _) = house_of([limited], &actor).await;
        let ask = || house.client.post(house.url(path)).bearer_auth("limited").body(request.to_string()).send();
        // 35 tokens each: after the first there is one left, after the second none.
        for expected in [200, 200, 429] {
            let response = ask().await.unwrap();
            assert_eq!(response.status(), expected, "{path}");
            response.bytes().await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_key_has_so_many_requests_at_once() {
    let actor = Actor::always(Act::HangAfterHead).await;
    let limited = key(1, "limited", |key| key.limits.max_in_flight = Some(1));
    let (house, keys) = house_of([limited], &actor).await;
    let first = ask(&house, "limited", CHAT, "m").await;
    let (status, error) = error_of(ask(&house, "limited", CHAT, "m").await).await;
    assert_eq!((status, error["details"]["limit"].as_str()), (429, Some("max_in_flight")));
    assert_eq!(actor.count(), 1);
    drop(first);
    let is_free = || keys.check(Some("limited")).unwrap().admit(SystemTime::now()).is_ok();
    eventually("its place comes back when its client leaves", is_free).await;
    assert_eq!(ask(&house, "limited", CHAT, "m").await.status(), 200);
}
