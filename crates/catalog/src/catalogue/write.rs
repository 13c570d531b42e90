//! Writing rows down, as briefly as a person would.

use toml::Value;

use super::{Error, File};

impl File {
    /// Reads a text of this form, called `file` in what is wrong with it. Whether its rows add up is not looked at.
    ///
    /// # Errors
    /// [`Error::Form`].
    pub fn from_toml(file: &str, text: &str) -> Result<Self, Error> {
        toml::from_str(text).map_err(|source| Error::Form { file: file.to_owned(), source: Box::new(source) })
    }

    /// Its text, in the form that [`super::Catalogue::add`] reads. What is at its default is left out.
    ///
    /// # Errors
    /// If a number is above 2^63, which TOML has not.
    pub fn to_toml(&self) -> Result<String, toml::ser::Error> {
        let mut value = Value::try_from(self)?;
        prune(&mut value);
        toml::to_string(&value)
    }
}

/// Numbers that are 0 unless stated. Others may be 0 too and must then be stated: a `rope` of 0 is a model without
/// positions.
const ZERO: [&str; 7] =
    ["dense_width", "feed_forward", "latent", "per_layer_embedding", "positions", "shared_kv_layers", "shared_width"];

/// Removes what a reader assumes anyway. In all of the catalogue a flag that is false and a list that is empty are the
/// defaults; only `gated` is assumed true of layers and false of parts.
fn prune(value: &mut Value) {
    match value {
        Value::Table(table) => {
            table.retain(|key, value| {
                prune(value);
                match value {
                    Value::Boolean(flag) => *flag || key == "gated",
                    Value::Integer(number) => *number != 0 || !ZERO.contains(&key),
                    Value::Array(list) => !list.is_empty(),
                    Value::Table(table) => !table.is_empty(),
                    Value::String(_) | Value::Float(_) | Value::Datetime(_) => true,
                }
            });
        }
        Value::Array(list) => list.iter_mut().for_each(prune),
        _ => {}
    }
}
