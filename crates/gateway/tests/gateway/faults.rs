//! Clients that leave and engines that die.

use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use gateway::Limits;
use tokio::sync::Notify;

use crate::support::{CHAT, House, Setup, engine, error_of, eventually, target};

#[tokio::test]
async fn an_engine_that_is_not_there() {
    // A port that was free a moment ago and belongs to nobody now.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    check_unreachable(address).await;
}

#[tokio::test]
async fn an_engine_that_dies_before_it_answers() {
    let address = engine(|mut peer, _| async move {
        peer.request().await.unwrap();
        peer.write("HTTP/1.1 200 OK\r\nContent-").await;
    });
    check_unreachable(address.await).await;
}

async fn check_unreachable(address: std::net::SocketAddr) {
    let house = House::start(Setup::default()).await;
    let target = target(address);
    house.publish(Some(Arc::clone(&target)));
    let response = house.chat().await;
    assert_eq!(response.headers()["retry-after"], "1");
    let (status, error) = error_of(response).await;
    assert_eq!((status, error["code"].as_str()), (503, Some("deployment_unreachable")));
    assert_eq!(error["type"], "server_error");
    assert!(error["message"].as_str().unwrap().contains("org/model:Q4_0"), "{error}");
    assert_eq!(target.load().in_flight, 0);
}

/// The stream of an engine that sends these chunks and then dies.
async fn broken_stream(chunks: &'static [&'static str]) -> String {
    let address = engine(move |mut peer, _| async move {
        peer.request().await.unwrap();
        peer.begin_stream().await;
        for chunk in chunks {
            peer.chunk(chunk).await;
        }
    });
    let mut house = House::before(address.await).await;
    let text = house.chat().await.text().await.expect("the stream ends cleanly");
    assert!(house.completed.try_recv().is_err() == text.contains("engine_failed"));
    text
}

fn check_error_event(event: &str, code: &str) {
    let error: serde_json::Value = serde_json::from_str(event.strip_prefix("data: ").unwrap()).unwrap();
    let error = &error["error"];
    assert_eq!((error["code"].as_str(), error["type"].as_str()), (Some(code), Some("server_error")), "{event}");
    assert!(error["param"].is_null());
    assert!(error["message"].as_str().unwrap().contains("org/model:Q4_0"), "{event}");
}

#[tokio::test]
async fn a_stream_that_breaks_ends_in_an_error_event() {
    for chunks in [&["data: {\"n\":1}\n\n"][..], &["data: {\"n\":1}\n\ndata: {\"n"], &[]] {
        let text = broken_stream(chunks).await;
        let sent = chunks.concat();
        assert!(text.starts_with(&sent), "{text}");
        let (_, event) = text.trim_end().rsplit_once("\n\n").unwrap_or(("", text.trim_end()));
        check_error_event(event, "engine_failed");
        assert!(text.ends_with("\n\n") && !text.contains("[DONE]"), "{text}");
    }
}

#[tokio::test]
async fn a_stream_that_said_all_it_had_to_is_whole() {
    let text = broken_stream(&["data: {}\n\n", "data: [DONE]\n\n"]).await;
    assert_eq!(text, "data: {}\n\ndata: [DONE]\n\n");
}

#[tokio::test]
async fn any_other_answer_that_breaks_is_cut() {
    for (head, body) in
        [("Content-Length: 100", "{\"a\":1,"), ("Transfer-Encoding: chunked", "7\r\n{\"a\":1,\r\n5\r\n")]
    {
        let die = Arc::new(Notify::new());
        let told = Arc::clone(&die);
        let address = engine(move |mut peer, _| {
            let die = Arc::clone(&told);
            async move {
                peer.request().await.unwrap();
                peer.write(&format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n{head}\r\n\r\n{body}")).await;
                die.notified().await;
            }
        });
        let house = House::before(address.await).await;
        let mut response = house.chat().await;
        assert_eq!(response.status(), 200);
        assert_eq!(response.chunk().await.unwrap().unwrap(), "{\"a\":1,");
        die.notify_one();
        assert!(response.chunk().await.is_err(), "{head}: it must not look whole");
        house
            .await_metric("snug_requests_total{model=\"org/model\",endpoint=\"chat_completions\",status=\"broken\"} 1")
            .await;
    }
}

fn impatient() -> Setup {
    Setup {
        limits: Limits { engine_idle_timeout: Duration::from_millis(100), ..Limits::default() },
        ..Setup::default()
    }
}

#[tokio::test]
async fn an_engine_that_says_nothing_is_given_up() {
    let left = Arc::new(Notify::new());
    let told = Arc::clone(&left);
    let address = engine(move |mut peer, _| {
        let left = Arc::clone(&told);
        async move {
            peer.request().await.unwrap();
            peer.closed().await;
            left.notify_one();
        }
    });
    let house = House::start(impatient()).await;
    house.publish(Some(target(address.await)));
    let (status, error) = error_of(house.chat().await).await;
    assert_eq!((status, error["code"].as_str()), (504, Some("timeout")));
    left.notified().await;
}

#[tokio::test]
async fn a_stream_that_stalls_is_given_up() {
    let address = engine(|mut peer, _| async move {
        peer.request().await.unwrap();
        peer.begin_stream().await;
        // Longer in all than one silence may last: only silence counts.
        for number in 0..10 {
            peer.chunk(&format!("data: {{\"n\":{number}}}\n\n")).await;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        peer.closed().await;
    });
    let house = House::start(impatient()).await;
    house.publish(Some(target(address.await)));
    let text = house.chat().await.text().await.unwrap();
    let (sent, event) = text.trim_end().rsplit_once("\n\n").unwrap();
    assert!(sent.ends_with("{\"n\":9}"), "{text}");
    check_error_event(event, "timeout");
}

#[tokio::test]
async fn a_client_that_leaves_stops_the_engine() {
    for streaming in [true, false] {
        let (asked, left) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let told = (Arc::clone(&asked), Arc::clone(&left));
        let address = engine(move |mut peer, _| {
            let (asked, left) = told.clone();
            async move {
                peer.request().await.unwrap();
                if streaming {
                    peer.begin_stream().await;
                    peer.chunk("data: {}\n\n").await;
                }
                asked.notify_one();
                peer.closed().await;
                left.notify_one();
            }
        });
        let house = House::start(Setup::default()).await;
        let target = target(address.await);
        house.publish(Some(Arc::clone(&target)));
        let sent = house.client.post(house.url("/v1/chat/completions")).body(CHAT).send();
        let request = tokio::spawn(async move { sent.await.unwrap().text().await });
        asked.notified().await;
        request.abort();
        left.notified().await;
        eventually("the lease comes back", || target.load().in_flight == 0).await;
        house
            .await_metric(
                "snug_requests_total{model=\"org/model\",endpoint=\"chat_completions\",status=\"cancelled\"} 1",
            )
            .await;
    }
}

/// A real engine process, ended with the test.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A fake llama-server with these flags, once it listens.
fn process(folder: &std::path::Path, flags: &[&str]) -> (Process, std::net::SocketAddr) {
    let model = folder.join("model.gguf");
    std::fs::write(&model, "GGUF").unwrap();
    let mut command = Command::new(testkit::fake_engine());
    command.args(["--port", "0", "-m"]).arg(&model).args(flags).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(child.stderr.take().unwrap()));
    let address = lines
        .find_map(|line| line.unwrap().split_once("listening on http://").map(|(_, address)| address.parse().unwrap()))
        .unwrap();
    // Read on: a full pipe would stop it.
    std::thread::spawn(move || lines.for_each(drop));
    (Process(child), address)
}

#[tokio::test]
async fn a_process_that_aborts_mid_stream() {
    let folder = tempfile::tempdir().unwrap();
    let (_process, address) = process(folder.path(), &["--fake-die-mid-stream", "3"]);
    let house = House::before(address).await;
    let text = house.post("/v1/chat/completions", r#"{"model":"org/model","stream":true}"#).await.text().await.unwrap();
    let events: Vec<_> = text.trim_end().split("\n\n").collect();
    assert_eq!(events.len(), 4, "{text}");
    check_error_event(events[3], "engine_failed");
    let (status, error) = error_of(house.chat().await).await;
    assert_eq!((status, error["code"].as_str()), (503, Some("deployment_unreachable")));
}

#[tokio::test]
async fn a_process_notices_that_the_client_left() {
    let folder = tempfile::tempdir().unwrap();
    let record = folder.path().join("record");
    let flags = ["--fake-stall-after", "2", "--fake-record", record.to_str().unwrap()];
    let (_process, address) = process(folder.path(), &flags);
    let house = House::before(address).await;
    let mut response = house.post("/v1/completions", r#"{"model":"org/model","stream":true}"#).await;
    response.chunk().await.unwrap().unwrap();
    drop(response);
    eventually("the engine stops", || {
        std::fs::read_to_string(&record).is_ok_and(|text| text == "cancelled /v1/completions\n")
    })
    .await;
}
