//! Models that are named at run time: files that come later, and models that others run.

use std::path::PathBuf;
use std::time::Duration;

use node::{Declared, Entry, NotPinned, Settings, Unloaded};
use route::Unavailable;
use types::{ByteCount, FailureClass, Provider, Variant};

use crate::support::{Stage, key, names};

fn entry(id: &str, file: PathBuf) -> Entry {
    Entry { id: Some(id.to_owned()), files: vec![file], ..Entry::default() }
}

#[tokio::test]
async fn a_file_that_is_named_has_that_name_and_no_other() {
    let stage = Stage::new(&[("a-Q8_0", ""), ("b", "")]);
    let run = stage.start().await;
    run.node.configure(vec![entry("mine", stage.model_file("a-Q8_0"))]).await;
    let view = run.node.view().borrow().clone();
    assert_eq!(view.library.ids().map(|id| id.as_str()).collect::<Vec<_>>(), ["b", "mine"]);
    assert_eq!(run.load("mine").await.model, key("mine:Q8_0"));
    let route = run.table.current().by_name["mine"].listing.clone();
    assert_eq!((route.owned_by.as_str(), route.backend.as_str()), ("llama", "llamacpp"));
    assert_eq!(run.table.current().by_name["b"].listing.owned_by, "snug");

    run.node.configure(vec![]).await;
    let view = run.node.view().borrow().clone();
    assert_eq!(view.library.ids().map(|id| id.as_str()).collect::<Vec<_>>(), ["a", "b"]);
    run.node.unload("mine").await.unwrap();
    run.end().await;
}

#[tokio::test]
async fn a_model_whose_file_is_yet_to_come() {
    let stage = Stage::new(&[("a", "")]);
    let run = stage.start().await;
    let file = stage.folder.path().join("models/later.gguf");
    let declared = Declared { file_size: Some(ByteCount::gib(5)), memory: Some(ByteCount::gib(6)) };
    let variant = Some(Variant::new("Q4_K_M"));
    run.node.configure(vec![Entry { variant, declared, ..entry("later", file.clone()) }]).await;

    let model = run.node.view().borrow().library.find("later").unwrap();
    assert_eq!((&model.key, model.present, model.declared), (&key("later:Q4_K_M"), false, declared));
    let Unavailable::LoadFailed(failure) = run.refused("later").await else { panic!("it has no file") };
    assert_eq!(failure.class, FailureClass::FileNotFound);
    assert!(failure.message.contains(file.to_str().unwrap()), "{failure}");

    std::fs::copy(stage.model_file("a"), &file).unwrap();
    run.node.look().await;
    let model = run.node.view().borrow().library.find("later").unwrap();
    assert!(model.present && model.facts.is_some());
    assert_eq!(run.load("later").await.model, key("later:Q4_K_M"));
    run.end().await;
}

#[tokio::test]
async fn a_set_lacks_what_is_not_there() {
    let stage = Stage::new(&[("a", "")]);
    let run = stage.start().await;
    let second = stage.folder.path().join("elsewhere/part2.gguf");
    let files = vec![stage.model_file("a"), second.clone()];
    run.node.configure(vec![Entry { files, ..entry("set", PathBuf::new()) }]).await;
    let Unavailable::LoadFailed(failure) = run.refused("set").await else { panic!("half of it is missing") };
    assert!(failure.message.contains("part2.gguf") && !failure.message.contains("a.gguf"), "{failure}");
    run.end().await;
}

#[tokio::test]
async fn a_file_of_the_same_name_serves_an_entry_whose_own_is_not_there() {
    let stage = Stage::new(&[("a-Q8_0", "")]);
    let run = stage.start().await;
    let entry = Entry {
        variant: Some(Variant::new("Q8_0")),
        context_window: Some(1024),
        ..entry("a", stage.folder.path().join("not/here.gguf"))
    };
    run.node.configure(vec![entry]).await;
    let loaded = run.load("a").await;
    assert_eq!((loaded.model, loaded.context), (key("a:Q8_0"), 1024), "with what the entry says of it");
    run.end().await;
}

#[tokio::test]
async fn models_that_others_run_are_loaded_at_once() {
    let stage = Stage::new(&[("a", "")]);
    let run = stage.start().await;
    let cloud = |id: &str, provider| Entry {
        id: Some(id.to_owned()),
        provider,
        context_window: Some(128_000),
        ..Entry::default()
    };
    run.node.configure(vec![cloud("gpt", Provider::OpenAi), cloud("pretend", Provider::Mock)]).await;
    let route = run.table.current().by_name["gpt"].clone();
    assert_eq!((route.provider, route.listing.owned_by.as_str()), (Provider::OpenAi, "openai"));
    assert_eq!((route.listing.state.as_str(), route.listing.backend.as_str()), ("Unloaded", "openai"));

    let loaded = run.load("gpt").await;
    assert_eq!((loaded.context, loaded.load_time), (128_000, Duration::ZERO));
    run.load("pretend").await;
    let provided = |run: &crate::support::Running| {
        let view = run.node.view().borrow().clone();
        view.provided.iter().map(|model| model.key.id.as_str().to_owned()).collect::<Vec<_>>()
    };
    run.node.look().await;
    assert_eq!(provided(&run), ["gpt", "pretend"]);
    assert_eq!(run.table.current().by_name["gpt"].listing.state, "Loaded");
    assert_eq!(names(&run.node.view().borrow()), [""; 0], "no process runs for them");

    let model = run.node.view().borrow().library.find("gpt").unwrap().key.clone();
    assert_eq!(run.node.unload("gpt").await, Ok(Unloaded { model, kept: false }));
    run.node.configure(vec![cloud("gpt", Provider::OpenAi)]).await;
    assert_eq!(provided(&run), [""; 0], "the other is no model any more");
    run.end().await;
}

#[tokio::test]
async fn a_context_window_is_taken_where_it_fits() {
    let stage = Stage::new(&[("a", "")]);
    let run = stage.start().await;
    run.node.configure(vec![Entry { context_window: Some(1500), ..entry("mine", stage.model_file("a")) }]).await;
    assert_eq!(run.load("mine").await.context, 1500);
    assert_eq!(run.node.load("mine", Some(512)).await.unwrap().context, 512, "who asks for another gets that");
    run.end().await;
}

#[tokio::test]
async fn pins_hold_from_the_start_and_are_answered_for() {
    let stage = Stage::new(&[("a", ""), ("b", "")]);
    let always =
        Entry { settings: Settings { pinned: true, ..Settings::default() }, ..entry("always", stage.model_file("b")) };
    let stage = stage.with(|config| {
        config.instances_max = Some(1);
        config.pinned = [key("a").id].into();
        config.entries = vec![always];
    });
    let run = stage.start().await;
    run.load("a").await;
    let Unavailable::NoRoom { blockers, .. } = run.refused("always").await else { panic!("a is pinned") };
    assert_eq!(blockers.iter().map(|one| one.reason).collect::<Vec<_>>(), ["pinned"]);

    assert_eq!(run.node.pin("a:F32", false).await, Ok(key("a").id), "the id, whichever name was used");
    run.load("always").await;
    assert_eq!(names(&run.node.view().borrow()), ["always"]);
    assert!(matches!(run.node.pin("always", false).await, Err(NotPinned::Configured { .. })));
    assert!(matches!(run.node.pin("nobody", true).await, Err(NotPinned::NotFound { .. })));
    run.end().await;
}
