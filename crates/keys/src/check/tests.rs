//! Who is let through with which key, as tables and for any keys there are.

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::{Kind, Limit, Limits, ModelPattern, Scope};

/// Seconds after some moment.
fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000 + seconds)
}

fn text(id: i64) -> String {
    format!("snug-{id:032x}")
}

fn key(id: i64, kind: Kind) -> Key {
    Key {
        id: KeyId::new(id),
        hash: Hash::of(&text(id)),
        prefix: text(id)[..11].to_owned(),
        label: format!("key {id}"),
        owner: "somebody".to_owned(),
        kind,
        created: at(0),
        last_used: None,
        scope: Scope::default(),
        limits: Limits::default(),
    }
}

const PERMANENT: Kind = Kind::Permanent;

fn temporary(end: u64) -> Kind {
    Kind::Temporary { expires: at(end) }
}

/// Number of the key, 0 for anybody.
#[track_caller]
fn check(keys: &[Key], presented: Option<&str>, expected: Result<i64, Denied>) {
    let caller = Keys::new(keys.to_vec()).check_at(presented, at(50));
    let seen = caller.map(|caller| caller.key_id().map_or(0, KeyId::as_i64));
    assert_eq!(seen, expected, "{presented:?}");
}

#[test]
fn the_doors_are_open_until_a_permanent_key_exists() {
    check(&[], None, Ok(0));
    check(&[], Some("sk-none"), Ok(0));
    let one = [key(1, temporary(60))];
    check(&one, None, Ok(0));
    check(&one, Some("sk-none"), Ok(0));
    check(&one, Some(&text(1)), Ok(1));
    let both = [key(1, temporary(60)), key(2, PERMANENT)];
    check(&both, None, Err(Denied::Missing));
    check(&both, Some("sk-none"), Err(Denied::Unknown));
    check(&both, Some(""), Err(Denied::Unknown));
    check(&both, Some(&text(2)[..36]), Err(Denied::Unknown));
    check(&both, Some(&text(1)), Ok(1));
    check(&both, Some(&text(2)), Ok(2));
}

#[test]
fn an_expired_key_is_none_from_its_moment_on() {
    check(&[key(1, temporary(51)), key(2, PERMANENT)], Some(&text(1)), Ok(1));
    check(&[key(1, temporary(50)), key(2, PERMANENT)], Some(&text(1)), Err(Denied::Expired));
    check(&[key(1, temporary(50))], Some(&text(1)), Err(Denied::Expired));
    let keys = Keys::new([key(1, temporary(50)), key(2, temporary(51)), key(3, PERMANENT)]);
    assert_eq!(keys.expired(at(50)), [KeyId::new(1)]);
}

#[test]
fn a_known_key_counts_while_the_doors_are_open() {
    let scope = Scope { models: Some(vec![ModelPattern::parse("a").unwrap()]), ..Scope::default() };
    let keys = Keys::new([Key { scope, ..key(1, temporary(60)) }]);
    let caller = keys.check_at(Some(&text(1)), at(50)).unwrap();
    assert!(caller.may_use_model("a") && !caller.may_use_model("b") && caller.may_use_endpoint("models"));
    let anybody = keys.check_at(None, at(50)).unwrap();
    assert!(anybody.may_use_model("b") && anybody.may_use_endpoint("models"));
    assert_eq!((caller.fair_id(), anybody.fair_id()), (1, 0));
    assert_eq!((caller.label(), caller.owner(), anybody.label(), anybody.owner()), ("key 1", "somebody", "", ""));
}

#[test]
fn changes_are_seen_at_once_and_what_was_had_counts_on() {
    let keys = Keys::new([]);
    let limits = Limits { requests_per_minute: Some(3), max_in_flight: Some(2), ..Limits::default() };
    keys.put(Key { limits, ..key(1, PERMANENT) });
    assert!(keys.is_closed());
    let caller = keys.check_at(Some(&text(1)), at(0)).unwrap();
    let (first, second) = (caller.admit(at(0)).unwrap(), caller.admit(at(0)).unwrap());
    assert_eq!(caller.admit(at(0)).unwrap_err().what, Limit::InFlight(2));

    // The same key with another label, other limits and another text.
    let limits = Limits { max_in_flight: Some(3), ..limits };
    keys.put(Key { label: "new".to_owned(), hash: Hash::of("other"), limits, ..key(1, PERMANENT) });
    assert_eq!(keys.check_at(Some(&text(1)), at(0)).unwrap_err(), Denied::Unknown);
    let caller = keys.check_at(Some("other"), at(7)).unwrap();
    assert_eq!((caller.label(), keys.count()), ("new", 1));
    let third = caller.admit(at(1)).unwrap();
    assert_eq!(caller.admit(at(1)).unwrap_err().what, Limit::InFlight(3));
    drop((first, second, third));
    assert_eq!(caller.admit(at(1)).unwrap_err().what, Limit::RequestsPerMinute(3));

    keys.remove(&[KeyId::new(1), KeyId::new(9)]);
    assert!(!keys.is_closed() && keys.all().is_empty());
    assert!(caller.admit(at(100)).is_ok(), "who is in already stays");
}

#[test]
fn last_uses_are_told_until_they_are_written() {
    let keys = Keys::new([Key { last_used: Some(at(5)), ..key(2, PERMANENT) }, key(1, PERMANENT)]);
    assert_eq!(keys.unwritten(), []);
    keys.check_at(Some(&text(1)), at(7)).unwrap();
    keys.check_at(Some("sk-none"), at(8)).unwrap_err();
    let first = [(KeyId::new(1), at(7))];
    assert_eq!((keys.unwritten(), keys.unwritten()), (first.to_vec(), first.to_vec()));
    keys.check_at(Some(&text(1)), at(9)).unwrap();
    keys.written(&first);
    assert_eq!(keys.unwritten(), [(KeyId::new(1), at(9))]);
    keys.written(&[(KeyId::new(1), at(9)), (KeyId::new(7), at(9))]);
    assert_eq!(keys.unwritten(), []);
    let last: Vec<_> = keys.all().into_iter().map(|key| (key.id.as_i64(), key.last_used)).collect();
    assert_eq!(last, [(1, Some(at(9))), (2, Some(at(5)))]);
    assert_eq!(keys.get(KeyId::new(3)), None);
}

#[test]
fn what_was_taken_before_the_start_counts() {
    let limits = Limits { tokens_per_day: Some(100), ..Limits::default() };
    let keys = Keys::new([Key { limits, ..key(1, PERMANENT) }]);
    keys.spent(KeyId::new(1), 60, at(0));
    keys.spent(KeyId::new(2), 60, at(0));
    let caller = keys.check_at(Some(&text(1)), at(3600)).unwrap();
    drop(caller.admit(at(3600)).unwrap());
    caller.spent(40, at(3600));
    assert_eq!(caller.admit(at(3600)).unwrap_err().what, Limit::TokensPerDay(100));
}

#[derive(Clone, Debug)]
enum Step {
    Put(i64, Option<u64>),
    Remove(i64),
    Check(Option<i64>),
}

proptest! {
    /// The rule in one sentence, whatever was done before.
    #[test]
    fn who_is_let_through_follows_from_the_keys_there_are(
        steps in prop::collection::vec(
            (prop_oneof![
                (1..5i64, prop::option::of(0..50u64)).prop_map(|(id, end)| Step::Put(id, end)),
                (1..5i64).prop_map(Step::Remove),
                prop::option::of(1..6i64).prop_map(Step::Check),
            ], 0..3u64),
            1..60,
        ),
    ) {
        let keys = Keys::new([]);
        let (mut model, mut now) = (std::collections::BTreeMap::<i64, Option<u64>>::new(), 0);
        for (step, pause) in steps {
            now += pause;
            match step {
                Step::Put(id, end) => {
                    keys.put(key(id, end.map_or(PERMANENT, temporary)));
                    model.insert(id, end);
                }
                Step::Remove(id) => {
                    keys.remove(&[KeyId::new(id)]);
                    model.remove(&id);
                }
                Step::Check(presented) => {
                    let is_closed = model.values().any(Option::is_none);
                    let expected = match presented.map(|id| (id, model.get(&id))) {
                        Some((id, Some(end))) if end.is_none_or(|end| now < end) => Ok(id),
                        Some((_, Some(_))) => Err(Denied::Expired),
                        Some((_, None)) if is_closed => Err(Denied::Unknown),
                        None if is_closed => Err(Denied::Missing),
                        _ => Ok(0),
                    };
                    let presented = presented.map(text);
                    let caller = keys.check_at(presented.as_deref(), at(now));
                    prop_assert_eq!(caller.map(|caller| caller.key_id().map_or(0, KeyId::as_i64)), expected);
                }
            }
        }
    }
}
