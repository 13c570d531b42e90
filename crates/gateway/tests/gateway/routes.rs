//! What a name means: aliases, chains of fallbacks, rewrites, names that must not be used.

use std::sync::Arc;

use route::{Meaning, Rewrite, Unavailable};

use crate::cast::{Act, Actor, chain, chain_with, header, impatient, local, nowhere, stream, target_at, well};
use crate::support::{Answering, House, Setup, error_of};

const HELLO: &str = r#"{"choices":[{"message":{"content":"hello"}}],"usage":{"prompt_tokens":3}}"#;
const FAILURE: &str = r#"{"error":{"message":"no","code":"x"}}"#;

/// A house in which `both` means `a`, else `b`.
async fn house_of(a: &Actor, b: &Actor) -> House {
    let house = House::start(Setup::default()).await;
    house.has(&[("a", Some(&a.target("a"))), ("b", Some(&b.target("b")))]);
    house.means([chain("both", &[&[impatient("a")], &[impatient("b")]])]);
    house
}

#[tokio::test]
async fn an_alias_is_answered_by_what_it_means() {
    let a = Actor::always(well(HELLO)).await;
    let house = House::start(Setup::default()).await;
    house.has(&[("a", Some(&a.target("a")))]);
    house.means([chain("fast", &[&[local("a")]])]);
    let response = house.ask("fast").await;
    assert_eq!((response.status().as_u16(), header(&response, "x-snug-model")), (200, "a"));
    assert_eq!(header(&response, "x-snug-fallback"), "");
    assert_eq!(response.text().await.unwrap(), HELLO);
    assert_eq!(a.last().json()["model"], "fast", "byte for byte");
    let listed: serde_json::Value =
        house.client.get(house.url("/v1/models")).send().await.unwrap().json().await.unwrap();
    let ids: Vec<_> = listed["data"].as_array().unwrap().iter().map(|row| row["id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["a", "fast"]);
}

#[tokio::test]
async fn the_next_answers_where_one_cannot() {
    for (act, told) in [
        (Act::Answer(500, FAILURE.to_owned()), "a (500)"),
        (Act::Answer(503, FAILURE.to_owned()), "a (503)"),
        (Act::Answer(429, FAILURE.to_owned()), "a (429)"),
        (Act::Answer(401, String::new()), "a (401)"),
        (Act::Answer(404, FAILURE.to_owned()), "a (404)"),
        (Act::Die, "a (deployment_unreachable)"),
        (Act::DieAfterHead, "a (deployment_unreachable)"),
        (Act::BreakOff(vec![]), "a (deployment_unreachable)"),
        (Act::Hang, "a (timeout)"),
        (Act::HangAfterHead, "a (timeout)"),
    ] {
        let (a, b) = (Actor::always(act.clone()).await, Actor::always(well(HELLO)).await);
        let house = house_of(&a, &b).await;
        let response = house.ask("both").await;
        let told_of =
            (response.status().as_u16(), header(&response, "x-snug-model"), header(&response, "x-snug-fallback"));
        assert_eq!(told_of, (200, "b", told), "{act:?}");
        assert_eq!(response.text().await.unwrap(), HELLO, "{act:?}");
        assert_eq!(a.last().body, b.last().body);
        house.await_metric("snug_requests_total{model=\"b\",endpoint=\"chat_completions\",status=\"2xx\"} 1").await;
        house.await_metric("snug_requests_in_flight{model=\"a\"} 0").await;
    }
}

#[tokio::test]
async fn the_next_answers_where_nobody_listens_or_the_model_is_not_there() {
    let b = Actor::always(well(HELLO)).await;
    let house = House::start(Setup::default()).await;
    let refusing = target_at(nowhere(), "refusing", 4);
    house.has(&[("refusing", Some(&refusing)), ("unloaded", None), ("b", Some(&b.target("b")))]);
    for (first, told) in [
        ("refusing", "refusing (deployment_unreachable)"),
        ("unloaded", "unloaded (shutting_down)"),
        ("unknown", "unknown (model_not_found)"),
    ] {
        house.means([chain("both", &[&[local(first)], &[local("b")]])]);
        let response = house.ask("both").await;
        assert_eq!((response.status().as_u16(), header(&response, "x-snug-fallback")), (200, told));
    }
    assert_eq!(refusing.load().in_flight, 0);
}

#[tokio::test]
async fn what_is_wrong_with_the_request_is_wrong_everywhere() {
    for status in [400, 413, 422] {
        let (a, b) = (Actor::always(Act::Answer(status, FAILURE.to_owned())).await, Actor::always(well(HELLO)).await);
        let house = house_of(&a, &b).await;
        let response = house.ask("both").await;
        assert_eq!((response.status().as_u16(), header(&response, "x-snug-model")), (status, "a"));
        assert_eq!((response.text().await.unwrap().as_str(), b.count()), (FAILURE, 0));
    }
}

#[tokio::test]
async fn a_stream_that_has_begun_is_not_asked_for_again() {
    let begun = "data: {\"choices\":[]}\n\n";
    let a = Actor::always(Act::BreakOff(vec![begun.to_owned()])).await;
    let b = Actor::always(stream(&[begun])).await;
    let house = house_of(&a, &b).await;
    let text = house.ask("both").await.text().await.unwrap();
    assert!(text.starts_with(begun) && text.contains("engine_failed"), "{text}");
    assert_eq!(b.count(), 0);
}

#[tokio::test]
async fn the_last_failure_is_passed_on() {
    let a = Actor::always(Act::Answer(503, FAILURE.to_owned())).await;
    let last = r#"{"error":{"message":"too many","code":"slow_down"}}"#;
    let b = Actor::always(Act::AnswerWith(429, "Retry-After: 7\r\n", last.to_owned())).await;
    let house = house_of(&a, &b).await;
    let response = house.ask("both").await;
    assert_eq!((response.status().as_u16(), header(&response, "retry-after")), (429, "7"));
    assert_eq!((header(&response, "x-snug-model"), header(&response, "x-snug-fallback")), ("b", "a (503), b (429)"));
    assert_eq!(response.text().await.unwrap(), last);

    let house = house_of(&a, &Actor::always(Act::Hang).await).await;
    let (status, error) = error_of(house.ask("both").await).await;
    assert_eq!((status, error["code"].as_str()), (504, Some("timeout")));
    assert_eq!(error["details"]["tried"], "a (503), b (timeout)");
}

/// Whoever failed and is free must not stand in the way of the next one's load.
#[tokio::test]
async fn who_failed_is_left_before_the_next_is_loaded() {
    let (a, b) = (Actor::always(Act::Answer(500, FAILURE.to_owned())).await, Actor::always(well(HELLO)).await);
    let (of_a, of_b) = (a.target("a"), b.target("b"));
    let in_the_way = Arc::clone(&of_a);
    let load = move |name: &str| {
        assert_eq!((name, in_the_way.load().in_flight), ("b", 0));
        Ok(of_b.lease().unwrap())
    };
    let house = House::start(Setup { activate: Arc::new(Answering(load)), ..Setup::default() }).await;
    house.has(&[("a", Some(&of_a)), ("b", None)]);
    house.means([chain("both", &[&[local("a")], &[local("b")]])]);
    assert_eq!(house.ask("both").await.status(), 200);
}

#[tokio::test]
async fn who_has_failed_lately_is_left_alone() {
    let house = House::start(Setup::default()).await;
    let targets = ["a", "b"].map(|name| target_at(nowhere(), name, 4));
    house.has(&[("a", Some(&targets[0])), ("b", Some(&targets[1]))]);
    house.means([chain("both", &[&[local("a"), local("b")]])]);
    for _ in 0..50 {
        let response = house.ask("both").await;
        let seconds: u64 = header(&response, "retry-after").parse().unwrap();
        assert!((1..=30).contains(&seconds));
        let (status, error) = error_of(response).await;
        assert_eq!((status, error["code"].as_str()), (503, Some("deployment_unreachable")));
        if error["details"]["tried"] == "a (failed lately), b (failed lately)" {
            assert!(error["message"].as_str().unwrap().contains("`both`"), "{error}");
            return;
        }
    }
    panic!("both are asked on and on");
}

/// What requests bring upon themselves must not shut out others.
#[tokio::test]
async fn bad_requests_shut_nobody_out() {
    for status in [500, 501, 404, 429, 401] {
        let answer = move |request: &crate::support::Received| {
            if request.body.contains("bad") { Act::Answer(status, FAILURE.to_owned()) } else { well(HELLO) }
        };
        let (a, b) = (Actor::plays(answer).await, Actor::plays(answer).await);
        let house = House::start(Setup::default()).await;
        house.has(&[("a", Some(&a.target("a"))), ("b", Some(&b.target("b")))]);
        house.means([chain("both", &[&[local("a"), local("b")]])]);
        for _ in 0..20 {
            let response = house.post("/v1/completions", r#"{"model":"both","prompt":"bad"}"#).await;
            assert_eq!(response.status().as_u16(), status);
        }
        assert_eq!((a.count(), b.count()), (20, 20), "{status}");
        assert_eq!(house.ask("both").await.status(), 200, "{status}");
    }
}

#[tokio::test]
async fn one_that_is_not_loaded_is_loaded_where_the_others_fail() {
    let b = Actor::always(well(HELLO)).await;
    let of_b = b.target("b");
    let load = move |name: &str| if name == "b" { Ok(of_b.lease().unwrap()) } else { Err(Unavailable::Stopping) };
    let house = House::start(Setup { activate: Arc::new(Answering(load)), ..Setup::default() }).await;
    let refusing = target_at(nowhere(), "a", 4);
    house.has(&[("a", Some(&refusing)), ("b", None)]);
    house.means([chain("both", &[&[local("a"), local("b")]])]);
    for _ in 0..8 {
        let response = house.ask("both").await;
        assert_eq!((response.status().as_u16(), header(&response, "x-snug-model")), (200, "b"));
    }
}

#[tokio::test]
async fn what_a_route_says_is_put_in_where_the_request_does_not() {
    let a = Actor::always(well("{}")).await;
    let house = House::start(Setup::default()).await;
    house.has(&[("a", Some(&a.target("a")))]);
    let fields =
        |fields: &[(&str, &str)]| fields.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
    let of_route = Rewrite {
        system: Some("Be brief.".to_owned()),
        defaults: fields(&[("temperature", "0.2"), ("stop", r#"["x"]"#)]),
        ..Rewrite::default()
    };
    let kwargs = r#"{"enable_thinking":false}"#;
    let mut member = route::Local { name: "a".to_owned(), ..route::Local::default() };
    member.rewrite.chat_defaults = fields(&[("chat_template_kwargs", kwargs)]);
    house.means([chain_with("tuned", &[&[route::Member::Local(member)]], of_route)]);
    for (path, sent, expected) in [
        (
            "/v1/chat/completions",
            r#"{"model":"tuned","messages":[{"role":"user","content":"x"}]}"#,
            r#"{"temperature":0.2,"stop":["x"],"chat_template_kwargs":{"enable_thinking":false},"model":"tuned","messages":[{"role":"system","content":"Be brief."},{"role":"user","content":"x"}]}"#,
        ),
        (
            "/v1/chat/completions",
            r#"{"model":"tuned", "temperature":1,"stop":null,"chat_template_kwargs":{},"messages":[{"role":"developer"}]}"#,
            r#"{"model":"tuned", "temperature":1,"stop":null,"chat_template_kwargs":{},"messages":[{"role":"developer"}]}"#,
        ),
        (
            "/v1/completions",
            r#"{"model":"tuned","prompt":"x","stop":"y"}"#,
            r#"{"temperature":0.2,"model":"tuned","prompt":"x","stop":"y"}"#,
        ),
        ("/v1/embeddings", r#"{"model":"tuned","input":"x"}"#, r#"{"model":"tuned","input":"x"}"#),
    ] {
        house.post(path, sent).await;
        assert_eq!(a.last().body, expected, "{path}");
    }
    // What is put into another dialect gets it too.
    house.post("/api/chat", r#"{"model":"tuned","stream":false,"messages":[{"role":"user","content":"x"}]}"#).await;
    let asked = a.last().json();
    assert_eq!(
        (asked["temperature"].as_f64(), asked["messages"][0]["content"].as_str()),
        (Some(0.2), Some("Be brief."))
    );
    assert_eq!(asked["chat_template_kwargs"].to_string(), kwargs);
}

#[tokio::test]
async fn names_that_must_not_be_used_say_why() {
    let house = House::start(Setup::default()).await;
    house.has(&[]);
    let candidates = vec!["m@fast".to_owned(), "m@slow".to_owned()];
    for (meaning, status, code, words) in [
        (Meaning::Ambiguous { candidates }, 409, "model_ambiguous", "m@fast, m@slow"),
        (Meaning::Disabled, 503, "model_disabled", "enabled: false"),
        (Meaning::Failed { reason: "no such file".to_owned() }, 503, "model_load_error", "no such file"),
    ] {
        house.means([("m".to_owned(), meaning)]);
        let (found, error) = error_of(house.ask("m").await).await;
        assert_eq!((found, error["code"].as_str(), error["param"].as_str()), (status, Some(code), Some("model")));
        assert!(error["message"].as_str().unwrap().contains(words), "{error}");
        if status == 409 {
            assert_eq!(error["details"]["candidates"], serde_json::json!(["m@fast", "m@slow"]));
        }
    }
}

#[tokio::test]
async fn a_model_has_its_own_patience() {
    for act in [Act::Hang, Act::HangAfterHead] {
        let (a, is_stream) = (Actor::always(act.clone()).await, matches!(act, Act::HangAfterHead));
        let house = House::start(Setup::default()).await;
        let target = a.target("a");
        house.has(&[("a", Some(&target))]);
        house.means([chain("slow", &[&[impatient("a")]])]);
        let response = house.ask("slow").await;
        if is_stream {
            assert!(response.text().await.unwrap().contains("\"code\":\"timeout\""));
            continue;
        }
        assert_eq!(response.status(), 504);
        let body: serde_json::Value = response.json().await.unwrap();
        assert_eq!(body["error"]["code"], "timeout");
        let debug = &body["slm_server_debug"];
        assert_eq!((&debug["model_id"], &debug["backend_port"]), (&"a".into(), &a.address.port().into()));
        assert!(debug["suggestion"].is_string());
    }
}
