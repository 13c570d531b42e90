//! Waiting for a place at an engine, in turn.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use gateway::Limits;
use keys::Keys;
use route::{QueueBounds, Target};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::cast::{header, target_at};
use crate::keys::key;
use crate::support::{House, Setup, engine, error_of, eventually};

/// A house before an engine with one place, that answers when it is let; and who was served.
struct Busy {
    house: House,
    target: Arc<Target>,
    let_go: Arc<Semaphore>,
    served: Arc<Mutex<Vec<String>>>,
}

impl Busy {
    async fn with(limits: Limits) -> Self {
        let let_go = Arc::new(Semaphore::new(0));
        let served = Arc::<Mutex<Vec<String>>>::default();
        let told = (Arc::clone(&let_go), Arc::clone(&served));
        let address = engine(move |mut peer, _| {
            let (let_go, served) = told.clone();
            async move {
                while let Some(request) = peer.request().await {
                    served.lock().unwrap().push(request.json()["who"].as_str().unwrap().to_owned());
                    let_go.acquire().await.unwrap().forget();
                    peer.answer("{}").await;
                }
            }
        });
        let target = target_at(address.await, "m", 1);
        let keys = Keys::new([key(1, "A", |_| {}), key(2, "B", |_| {})]);
        let house = House::start(Setup { limits, keys, ..Setup::default() }).await;
        house.has(&[("m", Some(&target))]);
        Self { house, target, let_go, served }
    }

    fn ask(&self, who: &str) -> impl Future<Output = Result<reqwest::Response, reqwest::Error>> + Send + use<> {
        let body = serde_json::json!({ "model": "m", "who": who });
        let url = self.house.url("/v1/chat/completions");
        self.house.client.post(url).bearer_auth(who).body(body.to_string()).send()
    }

    async fn waiting(&self, count: usize) {
        eventually("so many wait", || self.target.load().waiting == count).await;
    }

    async fn served(&self, count: usize) {
        eventually("so many are served", || self.served.lock().unwrap().len() == count).await;
    }
}

fn bounded(waiting_max: usize, per_caller_max: usize) -> Limits {
    Limits { queue: QueueBounds { waiting_max, per_caller_max }, ..Limits::default() }
}

#[tokio::test]
async fn who_floods_waits_behind_itself() {
    let busy = Busy::with(Limits::default()).await;
    let mut callers = JoinSet::new();
    for _ in 0..50 {
        callers.spawn(busy.ask("A"));
    }
    busy.waiting(49).await;
    callers.spawn(busy.ask("B"));
    busy.waiting(50).await;
    busy.let_go.add_permits(51);
    while let Some(answer) = callers.join_next().await {
        assert_eq!(answer.unwrap().unwrap().status(), 200);
    }
    let served = busy.served.lock().unwrap();
    let place = served.iter().position(|who| who == "B").unwrap();
    assert!(place <= 2, "{served:?}");
    assert_eq!((served.len(), busy.target.load().in_flight), (51, 0));
}

#[tokio::test]
async fn a_queue_has_an_end() {
    for (limits, waiting, next, code) in
        [(bounded(2, 2), "AA", "B", "requests already wait"), (bounded(9, 2), "AA", "A", "of your requests")]
    {
        let busy = Busy::with(limits).await;
        let mut callers = JoinSet::new();
        callers.spawn(busy.ask("A"));
        busy.served(1).await;
        for who in waiting.chars() {
            callers.spawn(busy.ask(&who.to_string()));
        }
        busy.waiting(2).await;
        let response = busy.ask(next).await.unwrap();
        assert_eq!(header(&response, "retry-after"), "1");
        let (status, error) = error_of(response).await;
        assert_eq!((status, error["code"].as_str()), (429, Some("queue_full")));
        assert!(error["message"].as_str().unwrap().contains(code), "{error}");
        assert_eq!((&error["details"]["waiting"], &error["details"]["in_flight"]), (&2.into(), &1.into()));
        busy.let_go.add_permits(3);
        while let Some(answer) = callers.join_next().await {
            assert_eq!(answer.unwrap().unwrap().status(), 200);
        }
    }
}

#[tokio::test]
async fn who_leaves_the_queue_makes_room() {
    let busy = Busy::with(bounded(1, 1)).await;
    let mut callers = JoinSet::new();
    callers.spawn(busy.ask("A"));
    busy.served(1).await;
    let leaves = tokio::spawn(busy.ask("B"));
    busy.waiting(1).await;
    assert_eq!(busy.ask("A").await.unwrap().status(), 429);
    leaves.abort();
    busy.waiting(0).await;
    callers.spawn(busy.ask("A"));
    busy.waiting(1).await;
    busy.let_go.add_permits(2);
    while let Some(answer) = callers.join_next().await {
        assert_eq!(answer.unwrap().unwrap().status(), 200);
    }
    assert_eq!(*busy.served.lock().unwrap(), ["A", "A"]);
    busy.house
        .await_metric("snug_requests_total{model=\"m\",endpoint=\"chat_completions\",status=\"cancelled\"} 1")
        .await;
    busy.house.await_metric("snug_waiting_requests{model=\"m\"} 0").await;
}

#[tokio::test]
async fn nobody_waits_for_ever() {
    let busy = Busy::with(Limits { queue_wait: Duration::from_millis(50), ..Limits::default() }).await;
    let first = tokio::spawn(busy.ask("A"));
    busy.served(1).await;
    let response = busy.ask("B").await.unwrap();
    assert_eq!(header(&response, "retry-after"), "1");
    let (status, error) = error_of(response).await;
    assert_eq!((status, error["code"].as_str()), (503, Some("queue_timeout")));
    assert_eq!(busy.target.load().waiting, 0);
    busy.let_go.add_permits(1);
    assert_eq!(first.await.unwrap().unwrap().status(), 200);
}

#[tokio::test]
async fn who_waits_for_one_that_closes_asks_for_the_model_again() {
    let busy = Busy::with(Limits::default()).await;
    let first = tokio::spawn(busy.ask("A"));
    busy.served(1).await;
    let second = tokio::spawn(busy.ask("B"));
    busy.waiting(1).await;
    busy.target.close_to_new();
    // Whoever loads models is stopping in these houses.
    let (status, error) = error_of(second.await.unwrap().unwrap()).await;
    assert_eq!((status, error["code"].as_str()), (503, Some("shutting_down")));
    busy.let_go.add_permits(1);
    assert_eq!(first.await.unwrap().unwrap().status(), 200);
}
