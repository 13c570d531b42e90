//! What a key may be used for.

use std::fmt;

use types::DeploymentId;

/// The endpoints that a scope can name. Each is the label of its requests in the metrics.
pub const ENDPOINTS: [&str; 12] = [
    "chat_completions",
    "completions",
    "embeddings",
    "rerank",
    "responses",
    "messages",
    "count_tokens",
    "audio",
    "images",
    "ollama",
    "models",
    "tokenize",
];

/// The endpoint of this name, if there is one.
pub fn endpoint(word: &str) -> Option<&'static str> {
    ENDPOINTS.into_iter().find(|&known| known == word)
}

/// What a key may be used for: all that is in a list, or everything where there is no list. An empty list is nothing.
///
/// Deployments and models are two ways to name who answers, and one that is named either way may be used: with only one
/// of the two lists, that one decides.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scope {
    /// Deployments that may answer.
    pub deployments: Option<Vec<DeploymentId>>,
    /// Models that may answer.
    pub models: Option<Vec<ModelPattern>>,
    /// Endpoints that may be asked; names out of [`ENDPOINTS`].
    pub endpoints: Option<Vec<&'static str>>,
}

impl Scope {
    /// A scope with nothing in it.
    pub fn nothing() -> Self {
        Self { deployments: Some(vec![]), models: Some(vec![]), endpoints: Some(vec![]) }
    }

    /// Whether any model of any deployment may answer.
    pub fn is_any_model(&self) -> bool {
        self.deployments.is_none() && self.models.is_none()
    }

    /// Whether the model with this id may answer, whoever runs it.
    pub fn has_model(&self, id: &str) -> bool {
        let is_listed = |models: &Vec<ModelPattern>| models.iter().any(|pattern| pattern.matches(id));
        self.is_any_model() || self.models.as_ref().is_some_and(is_listed)
    }

    /// Whether this deployment may answer, whatever it runs.
    pub fn has_deployment(&self, id: DeploymentId) -> bool {
        self.is_any_model() || self.deployments.as_ref().is_some_and(|deployments| deployments.contains(&id))
    }

    /// Whether this endpoint may be asked.
    pub fn has_endpoint(&self, name: &str) -> bool {
        self.endpoints.as_ref().is_none_or(|endpoints| endpoints.contains(&name))
    }
}

/// Model ids: one of them, or with a `*` at the end all that begin so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelPattern(Box<str>);

impl ModelPattern {
    /// The longest pattern, in bytes.
    pub const LENGTH_MAX: usize = 256;

    /// A pattern as a person writes it.
    ///
    /// # Errors
    /// It is empty or too long, or has a `*` elsewhere, or something that is no part of a name.
    pub fn parse(text: &str) -> Result<Self, InvalidPattern> {
        let name = text.strip_suffix('*').unwrap_or(text);
        if text.is_empty() {
            Err(InvalidPattern::Empty)
        } else if text.len() > Self::LENGTH_MAX {
            Err(InvalidPattern::TooLong)
        } else if name.contains('*') {
            Err(InvalidPattern::Star)
        } else if name.chars().any(char::is_control) {
            Err(InvalidPattern::Control)
        } else {
            Ok(Self(text.into()))
        }
    }

    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the model with this id is meant.
    pub fn matches(&self, id: &str) -> bool {
        match self.0.strip_suffix('*') {
            Some(start) => id.starts_with(start),
            None => id == &*self.0,
        }
    }
}

impl fmt::Display for ModelPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// Why a text names no models.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPattern {
    /// There is nothing.
    #[error("a model's name is empty; write its id, or the beginning of ids and a `*`")]
    Empty,
    /// No id is so long.
    #[error("a model's name is longer than {} bytes", ModelPattern::LENGTH_MAX)]
    TooLong,
    /// A `*` before the end.
    #[error("`*` may only stand at the end of a model's name")]
    Star,
    /// A line break or the like.
    #[error("a model's name has a control character in it")]
    Control,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pattern: &str, id: &str, expected: bool) {
        assert_eq!(ModelPattern::parse(pattern).unwrap().matches(id), expected, "{pattern} {id}");
    }

    #[test]
    fn a_pattern_is_an_id_or_the_beginning_of_ids() {
        check("qwen/qwen3-8b", "qwen/qwen3-8b", true);
        check("qwen/qwen3-8b", "qwen/qwen3-8b:Q4_0", false);
        check("qwen/qwen3-8b", "qwen/qwen3", false);
        check("qwen/qwen3-8b", "Qwen/qwen3-8b", false);
        check("qwen/*", "qwen/qwen3-8b", true);
        check("qwen/*", "qwen", false);
        check("*", "anything", true);
        for (text, expected) in [
            ("", InvalidPattern::Empty),
            ("a*b", InvalidPattern::Star),
            ("**", InvalidPattern::Star),
            ("a\nb", InvalidPattern::Control),
            (&"a".repeat(257), InvalidPattern::TooLong),
        ] {
            assert_eq!(ModelPattern::parse(text), Err(expected), "{text}");
        }
    }

    #[test]
    fn one_of_two_lists_is_enough_and_an_empty_one_is_nothing() {
        let scope = |deployments: Option<&[i64]>, models: Option<&[&str]>| Scope {
            deployments: deployments.map(|ids| ids.iter().copied().map(DeploymentId::new).collect()),
            models: models.map(|models| models.iter().map(|text| ModelPattern::parse(text).unwrap()).collect()),
            endpoints: None,
        };
        let check = |scope: Scope, expected: [bool; 2]| {
            assert_eq!([scope.has_model("m"), scope.has_deployment(DeploymentId::new(3))], expected, "{scope:?}");
        };
        check(scope(None, None), [true, true]);
        check(scope(None, Some(&["m"])), [true, false]);
        check(scope(None, Some(&["n", "m*"])), [true, false]);
        check(scope(Some(&[3]), None), [false, true]);
        check(scope(Some(&[3]), Some(&["m"])), [true, true]);
        check(scope(Some(&[]), Some(&["m"])), [true, false]);
        check(scope(Some(&[]), None), [false, false]);
        check(scope(None, Some(&[])), [false, false]);
        check(Scope::nothing(), [false, false]);
    }

    #[test]
    fn endpoints_are_known_by_name() {
        assert_eq!(endpoint("messages"), Some("messages"));
        assert_eq!(endpoint("message"), None);
        let scope = Scope { endpoints: Some(vec!["embeddings"]), ..Scope::default() };
        assert!(scope.has_endpoint("embeddings") && !scope.has_endpoint("models"));
        assert!(Scope::default().has_endpoint("models") && !Scope::nothing().has_endpoint("models"));
    }
}
