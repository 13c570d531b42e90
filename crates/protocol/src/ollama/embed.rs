//! `embed` and the older `embeddings`: texts become vectors.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::answer::error_of;
use super::fields::Fields;
use super::options::Options;
use super::sent::Sent;
use super::{Endpoint, What, Wish, keep_alive, request};
use crate::{Answer, Fault, Moment, Refused, Request};

/// `POST /api/embed`.
///
/// # Errors
/// A field is not what it should be.
pub fn embed(body: &[u8], _moment: Moment) -> Result<Wish, Refused> {
    let mut fields = Fields::of_body(body)?;
    let input = match fields.take("input")? {
        None => Vec::new(),
        Some(Value::String(text)) => vec![Value::String(text)],
        Some(Value::Array(texts)) if texts.iter().all(Value::is_string) => texts,
        Some(_) => return Err(fields.wrong("input", "must be text, or a list of texts")),
    };
    let dimensions = fields.count("dimensions")?.filter(|&dimensions| dimensions > 0);
    let dimensions = dimensions.map(|dimensions| usize::try_from(dimensions).unwrap_or(usize::MAX));
    wish(fields, input, |model| Telling::Many { model, dimensions })
}

/// `POST /api/embeddings`.
///
/// # Errors
/// A field is not what it should be.
pub fn embeddings(body: &[u8], _moment: Moment) -> Result<Wish, Refused> {
    let mut fields = Fields::of_body(body)?;
    let prompt = fields.text("prompt")?.filter(|prompt| !prompt.is_empty());
    wish(fields, prompt.into_iter().map(Value::String).collect(), |_| Telling::One)
}

/// Without a text the model is loaded, or unloaded.
fn wish(mut fields: Fields<'_>, input: Vec<Value>, telling: impl FnOnce(String) -> Telling) -> Result<Wish, Refused> {
    let asked = request::asked(&mut fields)?;
    let keep_alive = keep_alive::take(&mut fields)?;
    let context = Options::take(&mut fields)?.context;
    let model = super::name(&asked).into_owned();
    let telling = telling(asked);
    let what = if input.is_empty() {
        let done = telling.told(Vec::new(), None);
        if keep_alive.is_some_and(keep_alive::KeepAlive::is_over) { What::Unload { done } } else { What::Load { done } }
    } else {
        let mut body = Sent::default();
        body.insert("model", model.as_str());
        body.insert("input", input);
        body.insert("encoding_format", "float");
        let request = Request { body: body.into_body(), answer: Box::new(telling) };
        What::Ask { endpoint: Endpoint::Embeddings, request }
    };
    Ok(Wish { model, keep_alive, context, what })
}

/// An answer while it is told.
enum Telling {
    /// Of `embed`.
    Many {
        model: String,
        /// To how many dimensions vectors are cut.
        dimensions: Option<usize>,
    },
    /// Of `embeddings`.
    One,
}

impl Telling {
    fn told(&self, mut vectors: Vec<Vec<f64>>, tokens: Option<u64>) -> Vec<u8> {
        #[derive(Serialize)]
        struct Many<'a> {
            model: &'a str,
            embeddings: Vec<Vec<f64>>,
            #[serde(skip_serializing_if = "Option::is_none")]
            prompt_eval_count: Option<u64>,
        }
        match self {
            Self::One => {
                json!({ "embedding": vectors.into_iter().next().unwrap_or_default() }).to_string().into_bytes()
            }
            Self::Many { model, dimensions } => {
                if let Some(dimensions) = *dimensions {
                    vectors.iter_mut().for_each(|vector| cut(vector, dimensions));
                }
                serde_json::to_vec(&Many { model, embeddings: vectors, prompt_eval_count: tokens })
                    .expect("numbers and text are JSON")
            }
        }
    }
}

/// To the first `dimensions`, and to length one again: what models that were trained for it keep most of their meaning in.
fn cut(vector: &mut Vec<f64>, dimensions: usize) {
    if dimensions >= vector.len() {
        return;
    }
    vector.truncate(dimensions);
    let length = vector.iter().map(|number| number * number).sum::<f64>().sqrt();
    if length > 0.0 {
        vector.iter_mut().for_each(|number| *number /= length);
    }
}

impl Answer for Telling {
    fn whole(&mut self, body: &[u8]) -> Result<Vec<u8>, Fault> {
        #[derive(Deserialize)]
        struct Whole {
            data: Vec<Row>,
            usage: Option<Usage>,
        }
        #[derive(Deserialize)]
        struct Row {
            index: Option<u64>,
            embedding: Vec<f64>,
        }
        #[derive(Deserialize)]
        struct Usage {
            prompt_tokens: Option<u64>,
        }
        let Whole { mut data, usage } = serde_json::from_slice(body).map_err(|error| Fault(error.to_string()))?;
        data.sort_by_key(|row| row.index);
        let vectors = data.into_iter().map(|row| row.embedding).collect();
        Ok(self.told(vectors, usage.and_then(|usage| usage.prompt_tokens)))
    }

    fn error(&mut self, status: u16, body: &[u8]) -> Vec<u8> {
        error_of(status, body)
    }

    fn piece(&mut self, _bytes: &[u8]) -> Result<Vec<u8>, Fault> {
        Err(Fault("vectors do not come as a stream".to_owned()))
    }

    fn end(&mut self) -> Vec<u8> {
        Vec::new()
    }

    fn broken(&mut self, _code: &str, message: &str) -> Vec<u8> {
        super::error(message)
    }
}
