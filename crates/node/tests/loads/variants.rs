//! Which variant is loaded where a name leaves it open.

use types::{ByteCount, Variant};

use crate::support::{Stage, key};

fn told(choice: Option<node::Choice>) -> (String, Vec<(String, bool)>) {
    let choice = choice.expect("it was chosen");
    let one = |one: node::Considered| (one.variant.as_str().to_owned(), one.fits);
    (choice.reason, choice.considered.into_iter().map(one).collect())
}

#[tokio::test]
async fn the_best_that_fits_and_what_runs_before_that() {
    let stage = Stage::new(&[("m-Q4_K_M", ""), ("m-Q8_0", ""), ("m-F16", "")]);
    let run = stage.start().await;
    let loaded = run.load("m").await;
    assert_eq!(loaded.model, key("m:F16"));
    let (reason, considered) = told(loaded.choice);
    assert_eq!(reason, "the best quality that fits now");
    let fits: Vec<_> = considered.iter().map(|(variant, fits)| (variant.as_str(), *fits)).collect();
    assert_eq!(fits, [("F16", true), ("Q8_0", true), ("Q4_K_M", true)]);
    drop(run.lease("m").await);
    assert_eq!(run.node.view().borrow().instances.len(), 1, "the bare id means it while it runs");

    run.node.unload("m").await.unwrap();
    assert_eq!(run.load("m:Q4_K_M").await.choice, None, "nobody chose");
    assert_eq!(run.load("m").await.model, key("m:Q4_K_M"));
    run.end().await;
}

#[tokio::test]
async fn a_default_variant_and_one_in_ram_go_first() {
    let stage = Stage::new(&[("m-Q4_K_M", ""), ("m-Q8_0", ""), ("m-F16", "")]).with(|config| {
        config.default_variant = Some(Variant::new("q4_k_m"));
        config.ready_budget = ByteCount::gib(1);
    });
    let run = stage.start().await;
    let loaded = run.load("m").await;
    assert_eq!((loaded.model, told(loaded.choice).0.as_str()), (key("m:Q4_K_M"), "the default variant, and it fits"));
    run.end().await;

    let stage = stage.with(|config| config.default_variant = None);
    let run = stage.start().await;
    run.keep_ready(&["m:Q8_0"]).await;
    run.until_ready(&["m:Q8_0"]).await;
    assert_eq!(run.lease("m").await.target().model(), &key("m:Q8_0"), "for requests as for loads");
    run.end().await;
}

#[tokio::test]
async fn what_fits_now_goes_before_what_fits_later() {
    let stage = Stage::new(&[("m-Q4_K_M", ""), ("m-F16", ""), ("busy", "--fake-model-mib 900 --fake-kv-mib 1")])
        .sized("m-Q4_K_M", 8)
        .sized("m-F16", 600)
        .with(|config| config.ram = Some(ByteCount::mib(1600)));
    let run = stage.start().await;
    let lease = run.lease("busy").await;
    let loaded = run.load("m").await;
    assert_eq!(loaded.model, key("m:Q4_K_M"));
    let (_, considered) = told(loaded.choice);
    assert_eq!(considered, [("F16".to_owned(), false), ("Q4_K_M".to_owned(), true)]);
    run.node.unload("m").await.unwrap();
    drop(lease);
    // An idle one leaves for it.
    assert_eq!(run.load("m").await.model, key("m:F16"));
    run.end().await;
}

#[tokio::test]
async fn what_is_not_here_or_fails_is_passed_over() {
    let stage = Stage::new(&[("m-Q4_K_M", ""), ("m-F16", "--fake-fail file_corrupt")]);
    let run = stage.start().await;
    let entry = node::Entry {
        id: Some("m".to_owned()),
        variant: Some(Variant::new("F32")),
        files: vec![stage.folder.path().join("none.gguf")],
        ..node::Entry::default()
    };
    run.node.configure(vec![entry]).await;
    run.refused("m").await;
    // It rests now, and another does as well.
    let lease = run.lease("m").await;
    assert_eq!(lease.target().model(), &key("m:Q4_K_M"));
    drop(lease);
    run.end().await;
}
