//! One declaration per section: the struct, its keys, their defaults and their documentation.

use crate::document::Value;
use crate::setting::Context;

/// What the example file tells of one key.
pub(crate) struct Key {
    pub(crate) name: &'static str,
    /// Its doc comment, line by line.
    pub(crate) docs: &'static [&'static str],
    /// The default as TOML, where there is one.
    pub(crate) default: Option<String>,
    /// A value as TOML, for keys without default.
    pub(crate) example: Option<&'static str>,
}

/// A table of keys.
pub(crate) trait Section: Default {
    /// Its doc comment, line by line.
    const ABOUT: &'static [&'static str];
    /// The names of its keys.
    const KEYS: &'static [&'static str];

    /// All about its keys, in the order of the declaration.
    fn keys() -> Vec<Key>;

    /// The names of the keys that are not the same in `other`.
    fn changes(&self, other: &Self) -> Vec<&'static str>;

    /// Sets one key; `None` if there is no such key.
    fn set(&mut self, key: &str, value: &Value, context: &Context<'_>) -> Option<Result<(), String>>;
}

/// Declares a section. The doc comment of a field is what users read, in rustdoc and in `snug config`; the default
/// follows `=`, and a key without default shows the example after `=>`.
macro_rules! section {
    (
        $(#[doc = $about:literal])+
        $visibility:vis struct $name:ident {
            $( $(#[doc = $doc:literal])+ $field:ident: $type:ty = $default:expr $(=> $example:literal)?, )+
        }
    ) => {
        $(#[doc = $about])+
        #[derive(Clone, Debug, PartialEq)]
        $visibility struct $name {
            $( $(#[doc = $doc])+ pub $field: $type, )+
        }

        impl Default for $name {
            fn default() -> Self {
                Self { $( $field: $default, )+ }
            }
        }

        impl $crate::section::Section for $name {
            const ABOUT: &'static [&'static str] = &[$($about),+];
            const KEYS: &'static [&'static str] = &[$(stringify!($field)),+];

            fn keys() -> Vec<$crate::section::Key> {
                let default = Self::default();
                vec![$( $crate::section::Key {
                    name: stringify!($field),
                    docs: &[$($doc),+],
                    default: $crate::setting::Setting::show(&default.$field),
                    example: [$($example,)? ""].first().copied().filter(|example| !example.is_empty()),
                } ),+]
            }

            fn changes(&self, other: &Self) -> Vec<&'static str> {
                let same = [$((stringify!($field), self.$field == other.$field)),+];
                same.into_iter().filter_map(|(name, is_same)| (!is_same).then_some(name)).collect()
            }

            fn set(
                &mut self,
                key: &str,
                value: &$crate::document::Value,
                context: &$crate::setting::Context<'_>,
            ) -> Option<Result<(), String>> {
                match key {
                    $( stringify!($field) => {
                        Some($crate::setting::Setting::read(value, context).map(|read| self.$field = read))
                    } )+
                    _ => None,
                }
            }
        }
    };
}
pub(crate) use section;
