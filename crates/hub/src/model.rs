//! What the hub says about a model, and how to ask for models.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use crate::client::expand;

/// A model as the hub lists it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Model {
    /// `owner/name`.
    pub id: String,
    /// All its tags: `license:…`, `base_model:…`, languages, libraries.
    pub tags: Vec<String>,
    /// Its task, such as `text-generation`.
    pub task: Option<String>,
    /// What it is made for to be read with: `transformers`, `gguf`, `mlx`.
    pub library: Option<String>,
    /// When its repository was made, RFC 3339.
    pub created: Option<String>,
    /// Downloads of the last thirty days.
    pub downloads: u64,
    /// Whether a licence must be accepted first.
    pub gated: bool,
    /// Whether it cannot be had by everybody, or not any more.
    pub withdrawn: bool,
    /// Parameters by data type, of its safetensors files.
    pub parameters_by_type: BTreeMap<String, u64>,
    /// Parameters, of its safetensors files.
    pub parameters: Option<u64>,
    /// Its chat template, if the hub tells it.
    pub chat_template: Option<String>,
}

/// How a model came from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relation {
    /// The same weights, quantised.
    Quantized,
    /// Trained further.
    Finetune,
    /// A small addition to another's weights.
    Adapter,
    /// Mixed from others.
    Merge,
}

/// Which models are wanted.
#[derive(Clone, Copy, Debug, Default)]
pub struct Query<'a> {
    /// Words that ids have.
    pub search: Option<&'a str>,
    /// Whose.
    pub author: Option<&'a str>,
    /// Their task.
    pub task: Option<&'a str>,
    /// A tag they have.
    pub filter: Option<&'a str>,
    /// Which come first.
    pub sort: Sort,
}

/// Which models come first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sort {
    /// The most downloaded of the last thirty days.
    #[default]
    Downloads,
    /// Those whose fame grows the most.
    Trending,
    /// The newest.
    Created,
}

impl Model {
    /// Reads a row of the hub's answer.
    pub(crate) fn read(row: Value) -> Result<Self, serde_json::Error> {
        use serde::de::Error as _;
        let Row { id, tags, pipeline_tag, library_name, created_at, downloads, gated, private, disabled, .. } = {
            let row: Row = Row::deserialize(&row)?;
            if !is_id(&row.id) {
                let id: String = row.id.chars().take(60).collect();
                return Err(serde_json::Error::custom(format_args!("{id:?} is no repository's id")));
            }
            row
        };
        let section = |name: &str| row.get(name).filter(|value| value.is_object());
        let weights = section("safetensors");
        let by_type = weights.and_then(|weights| weights.get("parameters")?.as_object());
        let by_type = by_type.into_iter().flatten();
        let config = section("config");
        let template = config.and_then(|config| {
            let own = config.get("chat_template_jinja");
            let of_tokenizer = || config.get("tokenizer_config")?.get("chat_template");
            own.or_else(of_tokenizer).and_then(Value::as_str).map(str::to_owned)
        });
        Ok(Self {
            id,
            tags: tags.unwrap_or_default(),
            task: pipeline_tag,
            library: library_name,
            created: created_at,
            downloads: downloads.unwrap_or(0),
            // `false`, or how access is given: "auto", "manual".
            gated: !matches!(gated, None | Some(Value::Null | Value::Bool(false))),
            withdrawn: private.unwrap_or(false) || disabled.unwrap_or(false),
            parameters_by_type: by_type.filter_map(|(kind, n)| Some((kind.clone(), n.as_u64()?))).collect(),
            parameters: weights.and_then(|weights| weights.get("total")?.as_u64()),
            chat_template: template,
        })
    }

    /// Which model this one came from, and how; `None` where it does not say.
    pub fn base(&self) -> Option<(Relation, &str)> {
        self.tags.iter().find_map(|tag| {
            let (relation, base) = tag.strip_prefix("base_model:")?.split_once(':')?;
            let relation = match relation {
                "quantized" => Relation::Quantized,
                "finetune" => Relation::Finetune,
                "adapter" => Relation::Adapter,
                "merge" => Relation::Merge,
                _ => return None,
            };
            is_id(base).then_some((relation, base))
        })
    }

    /// Its licence as the hub names it.
    pub fn license(&self) -> Option<&str> {
        self.tags.iter().find_map(|tag| tag.strip_prefix("license:"))
    }

    pub(crate) fn has_tag(&self, tag: &str) -> bool {
        self.tags.iter().any(|own| own == tag)
    }
}

impl Query<'_> {
    pub(crate) fn parameters(&self, limit: usize) -> Vec<(String, String)> {
        let sort = match self.sort {
            Sort::Downloads => "downloads",
            Sort::Trending => "trendingScore",
            Sort::Created => "createdAt",
        };
        let limit = limit.to_string();
        let given = [
            ("search", self.search),
            ("author", self.author),
            ("pipeline_tag", self.task),
            ("filter", self.filter),
            ("sort", Some(sort)),
            ("direction", Some("-1")),
            ("limit", Some(limit.as_str())),
        ];
        let given = given.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned())));
        given.chain(expand()).collect()
    }
}

/// What of a row is of a plain form.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    id: String,
    tags: Option<Vec<String>>,
    #[serde(rename = "pipeline_tag")]
    pipeline_tag: Option<String>,
    #[serde(rename = "library_name")]
    library_name: Option<String>,
    created_at: Option<String>,
    downloads: Option<u64>,
    gated: Option<Value>,
    private: Option<bool>,
    disabled: Option<bool>,
}

/// Whether it can be a repository's id, `OWNER/NAME`. It becomes a part of addresses: nothing in it may lead elsewhere.
pub fn is_id(id: &str) -> bool {
    let is_name = |name: &str| {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        (1..=96).contains(&name.len())
            && name.bytes().all(plain)
            && !name.starts_with(['.', '-'])
            && !name.contains("..")
    };
    id.split_once('/').is_some_and(|(owner, name)| is_name(owner) && is_name(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_stay_within_their_address() {
        for id in ["Qwen/Qwen3-8B", "01-ai/Yi-1.5_9B", "a/b.c"] {
            assert!(is_id(id), "{id}");
        }
        for id in ["gpt2", "a/b/c", "../etc", "a/..", "a/b?x", "a/b#c", "a/ b", "", "a/", "/b", "a/.b", "ä/b"] {
            assert!(!is_id(id), "{id}");
        }
    }
}
