//! What `[[routes]]` must obey: names of their own, something to mean, no way back to themselves.

use std::collections::{BTreeMap, BTreeSet};

use super::odd_id;
use crate::draft::Draft;

/// How many routes may lie on the way from a name to a model. Nobody needs more, and whoever follows them need not look
/// out for it.
const DEPTH_MAX: usize = 8;
/// More than anybody tries in turn.
const MODELS_MAX: usize = 100;

/// Fields of a request that are not the route's to set.
const NOT_DEFAULTS: [&str; 6] = ["model", "messages", "prompt", "input", "stream", "system"];

pub(super) fn check(draft: &mut Draft) {
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    for index in 0..draft.routes.len() {
        let key = |name: &str| format!("routes[{index}].{name}");
        let route = draft.routes[index].clone();
        let model = draft.models.iter().position(|model| model.id.as_ref() == Some(&route.id));
        if !draft.is_written(&key("id")) {
            draft.report(&key("id"), "is required: what requests call it");
        } else if let Some(message) = odd_id(&route.id) {
            draft.report(&key("id"), message);
        } else if let Some(first) = seen.get(&route.id) {
            draft.report(&key("id"), format!("\"{}\" is taken by routes[{first}]; every id must be its own", route.id));
        } else if let Some(model) = model {
            draft.report(&key("id"), format!("\"{}\" is taken by models[{model}]; every id must be its own", route.id));
        } else {
            seen.insert(route.id.clone(), index);
        }
        models(draft, &key("models"), &route.models);
        if let Some(name) = NOT_DEFAULTS.iter().find(|name| route.defaults.contains_key(**name)) {
            let instead = if *name == "system" { ": write `system` of the route" } else { ": each request says that" };
            draft.report(&key("defaults"), format!("must not contain {name}{instead}"));
        }
    }
    ways(draft, &seen);
}

fn models(draft: &mut Draft, key: &str, models: &[String]) {
    if models.is_empty() || models.len() > MODELS_MAX {
        let message = format!("must name 1 to {MODELS_MAX} models, such as [\"my-model\"]");
        draft.report(key, message);
    }
    let mut named = BTreeSet::new();
    for model in models {
        if let Some(message) = odd_id(model) {
            draft.report(key, format!("\"{model}\": {message}"));
        } else if !named.insert(model) {
            draft.report(key, format!("names \"{model}\" twice"));
        }
    }
}

/// Follows each route to where it ends. `ids` are the sound ones.
fn ways(draft: &mut Draft, ids: &BTreeMap<String, usize>) {
    let next: Vec<Vec<usize>> = draft
        .routes
        .iter()
        .map(|route| route.models.iter().filter_map(|name| ids.get(name).copied()).collect())
        .collect();
    /// How many routes follow a route on its longest way, once that is known.
    #[derive(Clone, Copy)]
    enum Way {
        Unknown,
        BeingFollowed,
        Long(usize),
    }
    let mut ways = vec![Way::Unknown; next.len()];
    for &start in ids.values() {
        // Each with how many of its members were followed; a stack of our own, for a file may chain thousands.
        let mut stack = vec![(start, 0)];
        while let Some((route, followed)) = stack.pop() {
            if followed == 0 {
                if !matches!(ways[route], Way::Unknown) {
                    continue;
                }
                ways[route] = Way::BeingFollowed;
            }
            let Some(&member) = next[route].get(followed) else {
                let longest = next[route].iter().map(|&member| match ways[member] {
                    Way::Long(length) => length + 1,
                    Way::Unknown | Way::BeingFollowed => 0,
                });
                let longest = longest.max().unwrap_or(0);
                ways[route] = Way::Long(longest);
                // Told of the one where it becomes too much, not of all those that lead there.
                if longest == DEPTH_MAX {
                    let message = format!("leads through more than {DEPTH_MAX} routes to a model; name models sooner");
                    draft.report(&format!("routes[{route}].models"), message);
                }
                continue;
            };
            stack.push((route, followed + 1));
            match ways[member] {
                Way::Unknown => stack.push((member, 0)),
                Way::Long(_) => {}
                Way::BeingFollowed => {
                    let begin = stack.iter().position(|(on_the_way, _)| *on_the_way == member).unwrap_or(0);
                    let names = stack[begin..].iter().map(|(on_the_way, _)| *on_the_way).chain([member]);
                    let names: Vec<&str> = names.map(|index| draft.routes[index].id.as_str()).collect();
                    let message = format!("leads back to itself: {}", shortened(&names));
                    draft.report(&format!("routes[{route}].models"), message);
                }
            }
        }
    }
}

/// The way in words; of a very long one its ends.
fn shortened(names: &[&str]) -> String {
    match names {
        [first @ .., last] if first.len() > 2 * DEPTH_MAX => {
            format!("{} → … → {last}", first[..DEPTH_MAX].join(" → "))
        }
        _ => names.join(" → "),
    }
}
