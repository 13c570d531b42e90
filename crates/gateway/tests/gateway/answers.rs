//! What goes through when all is well.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::{Notify, mpsc};

use crate::support::{CHAT, House, Loading, MODEL, Received, Setup, engine, eventually, target};

/// An engine that hands each request to the test and answers `{}`.
async fn listening() -> (std::net::SocketAddr, mpsc::UnboundedReceiver<Received>) {
    let (sender, received) = mpsc::unbounded_channel();
    let address = engine(move |mut peer, _| {
        let sender = sender.clone();
        async move {
            while let Some(request) = peer.request().await {
                sender.send(request).unwrap();
                peer.answer("{}").await;
            }
        }
    });
    (address.await, received)
}

#[tokio::test]
async fn the_request_arrives_byte_for_byte() {
    let (address, mut received) = listening().await;
    let house = House::before(address).await;
    for path in ["/v1/chat/completions", "/v1/completions", "/v1/embeddings"] {
        let sent = format!("{path}?a=%20b&c");
        let response = house.post(&sent, CHAT).await;
        assert_eq!(response.status(), 200, "{path}");
        assert_eq!(response.text().await.unwrap(), "{}");
        let request = received.recv().await.unwrap();
        assert_eq!(request.head.lines().next().unwrap(), format!("POST {sent} HTTP/1.1"));
        assert_eq!(request.body, CHAT);
        assert_eq!(request.header("host"), Some(address.to_string().as_str()));
        assert_eq!(request.header("content-length"), Some(CHAT.len().to_string().as_str()));
    }
}

#[tokio::test]
async fn a_body_in_many_pieces_arrives_whole() {
    let (address, mut received) = listening().await;
    let house = House::before(address).await;
    let filler = "x".repeat(300_000);
    let body = format!(r#"{{"filler":"{filler}","model":"{MODEL}"}}"#);
    // Chunked, as clients send what they generate.
    let mut client = tokio::net::TcpStream::connect(house.address).await.unwrap();
    client
        .write_all(b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n")
        .await
        .unwrap();
    for piece in body.as_bytes().chunks(7000) {
        client.write_all(format!("{:x}\r\n", piece.len()).as_bytes()).await.unwrap();
        client.write_all(piece).await.unwrap();
        client.write_all(b"\r\n").await.unwrap();
    }
    client.write_all(b"0\r\n\r\n").await.unwrap();
    assert_eq!(received.recv().await.unwrap().body, body);
}

#[tokio::test]
async fn a_slash_at_the_end_does_not_reach_the_engine() {
    let (address, mut received) = listening().await;
    let house = House::before(address).await;
    for (sent, line) in [
        ("/v1/chat/completions/", "POST /v1/chat/completions HTTP/1.1"),
        ("/v1/completions/?x=1", "POST /v1/completions?x=1 HTTP/1.1"),
    ] {
        assert_eq!(house.post(sent, CHAT).await.status(), 200);
        assert_eq!(received.recv().await.unwrap().head.lines().next(), Some(line));
    }
}

#[tokio::test]
async fn headers_of_one_connection_and_our_keys_stay_here() {
    let (address, mut received) = listening().await;
    let house = House::before(address).await;
    let response = house
        .client
        .post(house.url("/v1/chat/completions"))
        .header("connection", "x-private")
        .header("x-private", "1")
        .header("te", "trailers")
        .header("authorization", "Bearer secret")
        .header("x-api-key", "secret")
        .header("cookie", "a=secret")
        .header("anthropic-version", "1")
        .header("traceparent", "00-1-2-01")
        .body(CHAT)
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), 200);
    let request = received.recv().await.unwrap();
    for name in ["connection", "x-private", "te", "authorization", "x-api-key", "cookie"] {
        assert_eq!(request.header(name), None, "{name} in {}", request.head);
    }
    assert_eq!(request.header("anthropic-version"), Some("1"));
    assert_eq!(request.header("traceparent"), Some("00-1-2-01"));
    assert!(!request.head.contains("secret"));
}

#[tokio::test]
async fn the_answer_comes_back_byte_for_byte() {
    const BODY: &str = "{ \"choices\" : [ ],\r\n \"caf\u{e9}\":1.50 }\n";
    let address = engine(|mut peer, _| async move {
        peer.request().await.unwrap();
        let length = BODY.len();
        peer.write(&format!(
            "HTTP/1.1 418 Odd\r\nServer: llama.cpp\r\nAccess-Control-Allow-Origin: *\r\nKeep-Alive: timeout=5, max=100\r\n\
             Content-Type: application/json; charset=utf-8\r\nX-Engine: yes\r\nContent-Length: {length}\r\n\r\n{BODY}"
        ))
        .await;
        peer.closed().await;
    });
    let house = House::before(address.await).await;
    let response = house.chat().await;
    assert_eq!(response.status(), 418);
    let headers = response.headers();
    assert_eq!(headers["content-type"], "application/json; charset=utf-8");
    assert_eq!(headers["x-engine"], "yes");
    assert_eq!(headers["content-length"], BODY.len().to_string().as_str());
    for name in ["server", "access-control-allow-origin", "keep-alive"] {
        assert!(!headers.contains_key(name), "{name}");
    }
    assert!(headers["server-timing"].to_str().unwrap().starts_with("snug;dur="));
    assert_eq!(response.text().await.unwrap(), BODY);
}

#[tokio::test]
async fn each_chunk_arrives_before_the_next_is_sent() {
    let seen = Arc::new(Notify::new());
    let told = Arc::clone(&seen);
    let address = engine(move |mut peer, _| {
        let seen = Arc::clone(&told);
        async move {
            peer.request().await.unwrap();
            peer.begin_stream().await;
            for number in 0..5 {
                peer.chunk(&format!("data: {{\"n\":{number}}}\n\n")).await;
                seen.notified().await;
            }
            peer.chunk("data: [DONE]\n\n").await;
            peer.end_stream().await;
        }
    });
    let house = House::before(address.await).await;
    let mut response = house.chat().await;
    for number in 0..5 {
        let chunk = response.chunk().await.unwrap().unwrap();
        assert_eq!(chunk, format!("data: {{\"n\":{number}}}\n\n"));
        seen.notify_one();
    }
    assert_eq!(response.chunk().await.unwrap().unwrap(), "data: [DONE]\n\n");
    assert_eq!(response.chunk().await.unwrap(), None);
}

#[tokio::test]
async fn connections_to_the_engine_are_used_again() {
    let connections = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&connections);
    let address = engine(move |mut peer, number| {
        counted.fetch_max(number + 1, Ordering::Relaxed);
        async move {
            while let Some(request) = peer.request().await {
                if request.body.contains("stream") {
                    peer.begin_stream().await;
                    peer.chunk("data: {}\n\n").await;
                    peer.end_stream().await;
                } else {
                    peer.answer("{}").await;
                }
            }
        }
    });
    let house = House::before(address.await).await;
    for _ in 0..10 {
        assert_eq!(house.chat().await.text().await.unwrap(), "{}");
        let stream = house.post("/v1/chat/completions", r#"{"model":"org/model","stream":true}"#).await;
        assert_eq!(stream.text().await.unwrap(), "data: {}\n\n");
    }
    assert_eq!(connections.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_kept_connection_that_was_closed_is_replaced() {
    let connections = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&connections);
    let address = engine(move |mut peer, number| {
        counted.fetch_max(number + 1, Ordering::Relaxed);
        async move {
            peer.request().await.unwrap();
            peer.answer("{}").await;
            // The next request is read and not answered: the worst moment to close.
            if peer.request().await.is_some() && number > 0 {
                peer.answer("{\"late\":true}").await;
            }
        }
    });
    let house = House::before(address.await).await;
    assert_eq!(house.chat().await.text().await.unwrap(), "{}");
    assert_eq!(house.chat().await.text().await.unwrap(), "{}", "answered by the second connection");
    assert_eq!(house.chat().await.text().await.unwrap(), "{\"late\":true}");
    assert_eq!(connections.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn an_answer_that_ends_with_its_connection_is_whole() {
    let address = engine(|mut peer, _| async move {
        peer.request().await.unwrap();
        peer.write("HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\nuntil the end").await;
    });
    let house = House::before(address.await).await;
    for _ in 0..2 {
        assert_eq!(house.chat().await.text().await.unwrap(), "until the end");
    }
}

#[tokio::test]
async fn request_ids_go_in_and_out() {
    let (address, mut received) = listening().await;
    let house = House::before(address).await;
    let request = || house.client.post(house.url("/v1/chat/completions")).body(CHAT);

    let response = request().header("x-request-id", "mine-1").send().await.unwrap();
    assert_eq!(response.headers()["x-request-id"], "mine-1");
    assert_eq!(received.recv().await.unwrap().header("x-request-id"), Some("mine-1"));

    for unusable in ["x".repeat(129), "two words".to_owned()] {
        let response = request().header("x-request-id", &unusable).send().await.unwrap();
        let fresh = response.headers()["x-request-id"].to_str().unwrap().to_owned();
        assert!(fresh.starts_with("req-"), "{fresh}");
        assert_eq!(received.recv().await.unwrap().header("x-request-id"), Some(fresh.as_str()));
    }

    let response = house.client.post(house.url("/v1/chat/completions")).header("x-request-id", "mine-2").body("{");
    assert_eq!(response.send().await.unwrap().headers()["x-request-id"], "mine-2", "errors too");
}

#[tokio::test]
async fn a_model_that_is_not_ready_is_waited_for() {
    let (address, mut received) = listening().await;
    let loading = Arc::new(Loading::default());
    let house = House::start(Setup { activate: Arc::clone(&loading) as _, ..Setup::default() }).await;
    house.publish(None);
    let target = target(address);
    let (answer, ()) = tokio::join!(house.chat(), async {
        eventually("a caller waits", || loading.waiting() == 1).await;
        assert!(house.metrics().contains("snug_waiting_requests{model=\"org/model\"} 1"), "{}", house.metrics());
        loading.finish(&target);
    });
    assert_eq!(answer.text().await.unwrap(), "{}");
    assert_eq!(received.recv().await.unwrap().body, CHAT);
    eventually("the lease comes back", || target.load().in_flight == 0).await;
    assert!(house.metrics().contains("snug_waiting_requests{model=\"org/model\"} 0"));
}

#[tokio::test]
async fn a_closed_target_is_activated_anew() {
    let (address, _received) = listening().await;
    let loading = Arc::new(Loading::default());
    let house = House::start(Setup { activate: Arc::clone(&loading) as _, ..Setup::default() }).await;
    let old = target("127.0.0.1:1".parse().unwrap());
    old.close_to_new();
    house.publish(Some(old));
    let fresh = target(address);
    let (answer, ()) = tokio::join!(house.chat(), async {
        eventually("a caller waits", || loading.waiting() == 1).await;
        loading.finish(&fresh);
    });
    assert_eq!(answer.status(), 200);
}

#[tokio::test]
async fn a_lease_is_held_until_the_last_byte() {
    let go_on = Arc::new(Notify::new());
    let told = Arc::clone(&go_on);
    let address = engine(move |mut peer, _| {
        let go_on = Arc::clone(&told);
        async move {
            peer.request().await.unwrap();
            peer.begin_stream().await;
            peer.chunk("data: {}\n\n").await;
            go_on.notified().await;
            peer.end_stream().await;
        }
    });
    let house = House::start(Setup::default()).await;
    let target = target(address.await);
    house.publish(Some(Arc::clone(&target)));
    let mut response = house.chat().await;
    response.chunk().await.unwrap().unwrap();
    assert!(!target.close(), "a busy target is never closed");
    assert_eq!(target.load().in_flight, 1);
    house.await_metric("snug_requests_in_flight{model=\"org/model\"} 1").await;
    go_on.notify_one();
    assert_eq!(response.chunk().await.unwrap(), None);
    eventually("the lease comes back", || target.load().in_flight == 0).await;
    house.await_metric("snug_requests_in_flight{model=\"org/model\"} 0").await;
}

#[tokio::test]
async fn an_empty_answer_gives_its_lease_back() {
    let address = engine(|mut peer, _| async move {
        while peer.request().await.is_some() {
            peer.write("HTTP/1.1 204 No Content\r\n\r\n").await;
        }
    });
    let house = House::start(Setup::default()).await;
    let target = target(address.await);
    house.publish(Some(Arc::clone(&target)));
    let mut client = tokio::net::TcpStream::connect(house.address).await.unwrap();
    let request = format!(
        "POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{CHAT}",
        CHAT.len()
    );
    client.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 204"), "{answer}");
    assert_eq!(target.load().in_flight, 0);
}
