//! Several who answer for one name.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::cast::{Act, Actor, chain, header, impatient, local, nowhere, target_at, well};
use crate::support::{House, Setup, engine, eventually};

const HELLO: &str = r#"{"choices":[{"message":{"content":"hello"}}]}"#;

/// A house in which `both` means `a` and `b` alike.
async fn house_of(a: &Actor, b: &Actor) -> House {
    let house = House::start(Setup::default()).await;
    house.has(&[("a", Some(&a.target("a"))), ("b", Some(&b.target("b")))]);
    house.means([chain("both", &[&[impatient("a"), impatient("b")]])]);
    house
}

#[tokio::test]
async fn they_share_the_work() {
    let (a, b) = (Actor::always(well(HELLO)).await, Actor::always(well(HELLO)).await);
    let house = house_of(&a, &b).await;
    for _ in 0..20 {
        let response = house.ask("both").await;
        assert!(["a", "b"].contains(&header(&response, "x-snug-model")));
        response.bytes().await.unwrap();
    }
    assert_eq!((a.count(), b.count()), (10, 10));
}

/// Each engine holds what it is asked until it is let go.
#[tokio::test]
async fn who_has_less_to_do_is_asked() {
    let let_go = Arc::new(Semaphore::new(0));
    let counts = [0, 1].map(|_| Arc::new(AtomicUsize::new(0)));
    let house = House::start(Setup::default()).await;
    let mut targets = vec![];
    for count in &counts {
        let (let_go, count) = (Arc::clone(&let_go), Arc::clone(count));
        let address = engine(move |mut peer, _| {
            let (let_go, count) = (Arc::clone(&let_go), Arc::clone(&count));
            async move {
                while peer.request().await.is_some() {
                    count.fetch_add(1, Ordering::SeqCst);
                    drop(let_go.acquire().await.unwrap());
                    peer.answer(HELLO).await;
                }
            }
        });
        targets.push(target_at(address.await, "x", 256));
    }
    // One has three requests already.
    let _leases = [0, 1, 2].map(|_| targets[0].lease().unwrap());
    house.has(&[("a", Some(&targets[0])), ("b", Some(&targets[1]))]);
    house.means([chain("both", &[&[local("a"), local("b")]])]);
    let mut callers = JoinSet::new();
    for _ in 0..9 {
        callers.spawn(house.client.post(house.url("/v1/completions")).body(r#"{"model":"both"}"#).send());
    }
    eventually("all are asked", || counts.iter().map(|count| count.load(Ordering::SeqCst)).sum::<usize>() == 9).await;
    assert_eq!(counts.each_ref().map(|count| count.load(Ordering::SeqCst)), [3, 6]);
    let_go.add_permits(1);
    while let Some(answer) = callers.join_next().await {
        assert_eq!(answer.unwrap().unwrap().status(), 200);
    }
}

#[tokio::test]
async fn one_that_dies_under_many_callers_costs_none_of_them_an_answer() {
    const CALLERS: usize = 32;
    // `a` holds its requests and dies with them; `b` answers.
    let a = Actor::always(Act::Hang).await;
    let b = Actor::always(well(HELLO)).await;
    let house = House::start(Setup::default()).await;
    house.has(&[("a", Some(&a.target("a"))), ("b", Some(&b.target("b")))]);
    house.means([chain("both", &[&[local("a"), local("b")]])]);
    let mut callers = JoinSet::new();
    for _ in 0..CALLERS {
        let (client, url) = (house.client.clone(), house.url("/v1/completions"));
        callers.spawn(async move {
            let mut answers = vec![];
            for _ in 0..3 {
                let answer = client.post(&url).body(r#"{"model":"both"}"#).send().await.unwrap();
                answers.push(answer.status().as_u16());
                answer.bytes().await.unwrap();
            }
            answers
        });
    }
    eventually("many are at the one that will die", || a.count() >= 4).await;
    a.kill();
    while let Some(answers) = callers.join_next().await {
        assert_eq!(answers.unwrap(), [200; 3]);
    }
    assert_eq!(b.count(), CALLERS * 3);
}

#[tokio::test]
async fn one_that_hangs_is_left_and_then_left_alone() {
    let (a, b) = (Actor::always(Act::Hang).await, Actor::always(well(HELLO)).await);
    let house = house_of(&a, &b).await;
    for _ in 0..12 {
        let response = house.ask("both").await;
        assert_eq!((response.status().as_u16(), header(&response, "x-snug-model")), (200, "b"));
    }
    // Three times in a row are enough. Later ones may have tried whether it is back.
    let hung = a.count();
    assert!((3..=6).contains(&hung), "{hung}");
}

#[tokio::test]
async fn one_that_fails_is_cut_out_and_let_back() {
    let is_well = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&is_well);
    let flapping = move |_: &_| if told.load(Ordering::SeqCst) { well(HELLO) } else { Act::Die };
    let (a, b) = (Actor::plays(flapping).await, Actor::always(well(HELLO)).await);
    let house = house_of(&a, &b).await;
    for _ in 0..6 {
        assert_eq!(house.ask("both").await.status(), 200);
    }
    let cut_out_after = a.count();
    assert!(cut_out_after >= 3);
    is_well.store(true, Ordering::SeqCst);
    // One request tries, and from then on it has its share again.
    for _ in 0..2000 {
        let response = house.ask("both").await;
        assert_eq!(response.status(), 200);
        if header(&response, "x-snug-model") == "a" {
            let (of_a, of_b) = (a.count(), b.count());
            for _ in 0..10 {
                house.ask("both").await;
            }
            assert_eq!((a.count() - of_a, b.count() - of_b), (5, 5));
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    panic!("it is never let back");
}

#[tokio::test]
async fn a_new_engine_has_failed_nobody() {
    let (a, b) = (Actor::always(well(HELLO)).await, Actor::always(well(HELLO)).await);
    let house = House::start(Setup::default()).await;
    let (dead, of_b) = (target_at(nowhere(), "a", 256), b.target("b"));
    house.has(&[("a", Some(&dead)), ("b", Some(&of_b))]);
    house.means([chain("both", &[&[local("a"), local("b")]])]);
    for _ in 0..10 {
        assert_eq!(header(&house.ask("both").await, "x-snug-model"), "b");
    }
    house.has(&[("a", Some(&a.target("a"))), ("b", Some(&of_b))]);
    for _ in 0..10 {
        house.ask("both").await;
    }
    assert_eq!((a.count(), b.count()), (5, 15));
}

#[tokio::test]
async fn who_leaves_gives_the_attempt_back() {
    let stage = Arc::new(AtomicUsize::new(0));
    let told = Arc::clone(&stage);
    let act = move |_: &_| match told.load(Ordering::SeqCst) {
        0 => Act::Die,
        1 => Act::Hang,
        _ => well(HELLO),
    };
    let (a, b) = (Actor::plays(act).await, Actor::always(well(HELLO)).await);
    let house = House::start(Setup::default()).await;
    house.has(&[("a", Some(&a.target("a"))), ("b", Some(&b.target("b")))]);
    house.means([chain("both", &[&[local("a"), local("b")]])]);
    for _ in 0..6 {
        assert_eq!(house.ask("both").await.status(), 200);
    }
    // The next that is sent to it tries whether it is back, and its client leaves.
    stage.store(1, Ordering::SeqCst);
    let before = a.count();
    let mut probe = tokio::spawn(house.client.post(house.url("/v1/completions")).body(r#"{"model":"both"}"#).send());
    for _ in 0..2000 {
        if a.count() > before {
            break;
        }
        if probe.is_finished() {
            let client = &house.client;
            probe = tokio::spawn(client.post(house.url("/v1/completions")).body(r#"{"model":"both"}"#).send());
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    assert_eq!(a.count(), before + 1);
    assert_eq!(header(&house.ask("both").await, "x-snug-model"), "b", "one tries at a time");
    probe.abort();
    house.await_metric("snug_requests_total{model=\"a\",endpoint=\"completions\",status=\"cancelled\"} 1").await;
    stage.store(2, Ordering::SeqCst);
    assert_eq!(header(&house.ask("both").await, "x-snug-model"), "a", "the next may try at once");
}

#[tokio::test]
async fn a_conversation_stays_where_it_was_read() {
    let (a, b) = (Actor::always(well(HELLO)).await, Actor::always(well(HELLO)).await);
    let house = house_of(&a, &b).await;
    let text = |conversation: usize, turn: usize| format!("{conversation} and {turn}, ").repeat(40);
    let mut talks: Vec<_> = (0..10).map(|number| vec![("system", text(number, 0).repeat(4))]).collect();
    let mut answered_by: BTreeMap<usize, Vec<String>> = BTreeMap::new();
    for turn in 1..=5 {
        for (number, talk) in talks.iter_mut().enumerate() {
            talk.push(("user", text(number, turn)));
            let messages: Vec<_> =
                talk.iter().map(|(role, content)| serde_json::json!({ "role": role, "content": content })).collect();
            let body = serde_json::json!({ "model": "both", "messages": messages }).to_string();
            let response = house.post("/v1/chat/completions", body).await;
            answered_by.entry(number).or_default().push(header(&response, "x-snug-model").to_owned());
            talk.push(("assistant", response.text().await.unwrap()));
        }
    }
    for (number, who) in &answered_by {
        assert!(who.iter().all(|one| *one == who[0]), "{number}: {who:?}");
    }
    assert_eq!((a.count(), b.count()), (25, 25));
}
