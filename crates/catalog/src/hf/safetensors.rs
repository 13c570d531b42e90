//! The safetensors format (<https://github.com/huggingface/safetensors>): eight bytes with a length, a JSON header of
//! that length, the data. Reads headers, and the index of a model that is stored in several files.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io::Read;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use types::ByteCount;

use super::error::Error;
use super::quantization::Quantization;

/// The format's own limit for a header.
const HEADER: u64 = 100_000_000;
/// An index has a line for each tensor; the largest known have a quarter of a million.
const INDEX: u64 = 64 << 20;
/// Files of one model.
const FILES: usize = 4096;
/// Data types in one file; the format knows about twenty.
const TYPES: usize = 64;

/// What is stored as one data type.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stored {
    /// Parameters these tensors stand for.
    pub parameters: u64,
    /// What they take.
    pub bytes: ByteCount,
}

/// `model.safetensors.index.json`: which files there are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Index {
    /// What all tensors take, as the index says; 0 where it does not.
    pub total: ByteCount,
    /// The files, sorted. Names only: none leads out of the folder.
    pub files: Vec<String>,
    /// How many tensors there are.
    pub tensors: u64,
}

impl Index {
    /// Reads an index.
    ///
    /// # Errors
    /// If it is too long, no JSON of this form, or names a file outside the folder.
    pub fn read(bytes: &[u8]) -> Result<Self, Error> {
        #[derive(serde::Deserialize)]
        struct Text {
            #[serde(default)]
            metadata: Option<Metadata>,
            weight_map: Files,
        }
        #[derive(serde::Deserialize)]
        struct Metadata {
            // Some tools write it as a float.
            #[serde(default)]
            total_size: Option<serde_json::Number>,
        }
        within("model.safetensors.index.json", bytes.len() as u64, INDEX)?;
        let form = |source| Error::Form { what: "model.safetensors.index.json", source };
        let text: Text = serde_json::from_slice(bytes).map_err(form)?;
        let Files { files, tensors } = text.weight_map;
        if let Some(name) = files.iter().find(|name| !is_plain(name)) {
            let name: String = name.chars().take(60).collect();
            return Err(Error::Header(format!("{name:?} is not the name of a file in the folder")));
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "float-to-int casts saturate")]
        let total = text
            .metadata
            .and_then(|metadata| metadata.total_size)
            .map_or(0, |total| total.as_u64().unwrap_or_else(|| total.as_f64().unwrap_or(0.0) as u64));
        Ok(Self { total: ByteCount::bytes(total), files: files.into_iter().collect(), tensors })
    }
}

/// Reads the header of a file of `length` bytes: what it holds, by data type.
pub(super) fn read(
    mut file: impl Read,
    length: ByteCount,
    quantization: &Quantization,
) -> Result<BTreeMap<String, Stored>, Error> {
    let mut size = [0; 8];
    file.read_exact(&mut size)?;
    let size = u64::from_le_bytes(size);
    let rest = length.as_u64().saturating_sub(8);
    within("the safetensors header", size, HEADER)?;
    if size > rest {
        return Err(Error::Header(format!("it says it has {size} bytes where the file has {rest}: it was cut short")));
    }
    let mut text = Vec::new();
    file.by_ref().take(size).read_to_end(&mut text)?;
    if (text.len() as u64) < size {
        return Err(Error::Header(format!("it ends after {} of {size} bytes: it was cut short", text.len())));
    }
    let form = |source| Error::Form { what: "the safetensors header", source };
    let Tensors { by_type, data, end } =
        serde::de::DeserializeSeed::deserialize(Seed(quantization), &mut serde_json::Deserializer::from_slice(&text))
            .map_err(form)?;
    if data != end {
        return Err(Error::Header(format!("its tensors take {data} bytes and end at {end}")));
    }
    if end > rest - size {
        let held = rest - size;
        return Err(Error::Header(format!("its tensors need {end} bytes where the file has {held}: it was cut short")));
    }
    Ok(by_type)
}

fn within(what: &'static str, found: u64, limit: u64) -> Result<(), Error> {
    if found > limit {
        return Err(Error::TooLong { what, found: ByteCount::bytes(found), limit: ByteCount::bytes(limit) });
    }
    Ok(())
}

/// A file's name that stays in its folder.
fn is_plain(name: &str) -> bool {
    !name.is_empty() && name.len() <= 255 && !name.starts_with('.') && !name.contains(['/', '\\', '\0'])
}

/// The values of `weight_map`, each once, without keeping its keys.
struct Files {
    files: BTreeSet<String>,
    tensors: u64,
}

impl<'de> Deserialize<'de> for Files {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Names;
        impl<'de> Visitor<'de> for Names {
            type Value = Files;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map from tensors to files")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Files, A::Error> {
                let (mut files, mut tensors) = (BTreeSet::new(), 0);
                while let Some((IgnoredAny, file)) = map.next_entry::<IgnoredAny, String>()? {
                    tensors += 1;
                    files.insert(file);
                    if files.len() > FILES {
                        return Err(serde::de::Error::custom(format_args!("more than {FILES} files")));
                    }
                }
                Ok(Files { files, tensors })
            }
        }
        deserializer.deserialize_map(Names)
    }
}

/// A header, summed up as it is read: no tree of a hundred megabytes.
struct Tensors {
    by_type: BTreeMap<String, Stored>,
    /// What all tensors take.
    data: u64,
    /// Where the last one ends.
    end: u64,
}

struct Seed<'a>(&'a Quantization);

/// A tensor, or `__metadata__`, which has none of these.
#[derive(serde::Deserialize)]
struct Entry {
    #[serde(default)]
    dtype: Option<String>,
    #[serde(default)]
    shape: Option<Vec<u64>>,
    #[serde(default)]
    data_offsets: Option<(u64, u64)>,
}

impl<'de> serde::de::DeserializeSeed<'de> for Seed<'_> {
    type Value = Tensors;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Tensors, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Tensors;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map of tensors")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Tensors, A::Error> {
        use serde::de::Error as _;
        let mut sum = Tensors { by_type: BTreeMap::new(), data: 0, end: 0 };
        while let Some(name) = map.next_key::<String>()? {
            if name == "__metadata__" {
                map.next_value::<IgnoredAny>()?;
                continue;
            }
            let shown: String = name.chars().take(80).collect();
            let Entry { dtype: Some(kind), shape: Some(shape), data_offsets: Some((start, end)) } = map.next_value()?
            else {
                return Err(A::Error::custom(format_args!("{shown:?} lacks dtype, shape or data_offsets")));
            };
            let elements = shape.iter().try_fold(1_u64, |product, side| product.checked_mul(*side));
            let (Some(elements), Some(bytes)) = (elements, end.checked_sub(start)) else {
                return Err(A::Error::custom(format_args!("{shown:?} has a shape or a place that cannot be")));
            };
            if bits_of(&kind).is_some_and(|bits| elements.checked_mul(bits).map(|all| all.div_ceil(8)) != Some(bytes)) {
                return Err(A::Error::custom(format_args!("{shown:?} has {elements} {kind} values in {bytes} bytes")));
            }
            let known = sum.by_type.len();
            if kind.len() > 16 || (known >= TYPES && !sum.by_type.contains_key(&kind)) {
                return Err(A::Error::custom(format_args!("{shown:?} has a data type that cannot be")));
            }
            let parameters = self.0.parameters(&name, &kind, elements);
            let stored = sum.by_type.entry(kind).or_default();
            stored.parameters = stored.parameters.saturating_add(parameters);
            stored.bytes += ByteCount::bytes(bytes);
            sum.data = sum.data.saturating_add(bytes);
            sum.end = sum.end.max(end);
        }
        Ok(sum)
    }
}

/// Bits of a value of a data type; `None` for one that is not known here.
fn bits_of(kind: &str) -> Option<u64> {
    Some(match kind {
        "F64" | "I64" | "U64" | "C64" => 64,
        "F32" | "I32" | "U32" => 32,
        "F16" | "BF16" | "I16" | "U16" => 16,
        "F8_E4M3" | "F8_E5M2" | "F8_E8M0" | "F8_E4M3FNUZ" | "F8_E5M2FNUZ" | "I8" | "U8" | "BOOL" => 8,
        "F6_E2M3" | "F6_E3M2" => 6,
        "F4" => 4,
        _ => return None,
    })
}
