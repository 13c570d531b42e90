//! Laying one JSON object over another: JSON's merge patch (RFC 7386).

use serde_json::map::Entry;
use serde_json::{Map, Value};

/// Lays `patch` over `target`: objects merge field by field, a `null` removes, anything else replaces.
pub(super) fn lay_over(target: &mut Map<String, Value>, patch: &Map<String, Value>) {
    for (field, value) in patch {
        match value {
            Value::Null => {
                target.remove(field);
            }
            Value::Object(patch) => match target.entry(field.clone()) {
                Entry::Occupied(mut there) => match there.get_mut() {
                    Value::Object(there) => lay_over(there, patch),
                    there => *there = Value::Object(without_nulls(patch)),
                },
                Entry::Vacant(free) => {
                    free.insert(Value::Object(without_nulls(patch)));
                }
            },
            Value::Array(list) => {
                target.insert(field.clone(), tidy(list));
            }
            other => {
                target.insert(field.clone(), other.clone());
            }
        }
    }
}

fn without_nulls(object: &Map<String, Value>) -> Map<String, Value> {
    let mut kept = Map::new();
    lay_over(&mut kept, object);
    kept
}

/// A list whose objects hold no `null`: there is nothing below that they could remove.
fn tidy(list: &[Value]) -> Value {
    let item = |item: &Value| match item {
        Value::Object(object) => Value::Object(without_nulls(object)),
        Value::Array(list) => tidy(list),
        other => other.clone(),
    };
    Value::Array(list.iter().map(item).collect())
}
