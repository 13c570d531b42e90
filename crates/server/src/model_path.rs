//! Paths below `/api/models/` and `/api/storage/models/`: a model's name, which may hold slashes, and what is meant by
//! the rest.

/// What a path below `/api/models/` means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Matter<'a> {
    Load,
    Unload,
    Pin,
    Unpin,
    Download,
    PauseDownload,
    Files,
    HotReady { variant: &'a str },
    Protected { variant: &'a str },
}

impl Matter<'_> {
    /// The methods that it answers.
    pub(crate) const fn allow(self) -> &'static str {
        match self {
            Self::Load | Self::Unload | Self::Pin | Self::Unpin | Self::PauseDownload => "POST",
            Self::Download => "GET, HEAD, POST, DELETE",
            Self::Files => "DELETE",
            Self::HotReady { .. } | Self::Protected { .. } => "POST, DELETE",
        }
    }
}

/// The name in a path below `/api/models/`, and what is meant.
pub(crate) fn matter(path: &str) -> Option<(&str, Matter<'_>)> {
    let path = path.strip_suffix('/').unwrap_or(path);
    let (rest, last) = path.rsplit_once('/')?;
    let matter = match last {
        "load" => Matter::Load,
        "unload" => Matter::Unload,
        "pin" => Matter::Pin,
        "unpin" => Matter::Unpin,
        "download" => Matter::Download,
        "files" => Matter::Files,
        "pause" => return Some((rest.strip_suffix("/download").filter(is_name)?, Matter::PauseDownload)),
        "hot-ready" | "protected" => {
            let (name, variant) = rest
                .rsplit_once("/variants/")
                .filter(|(name, variant)| is_name(name) && !variant.is_empty() && !variant.contains('/'))?;
            let of = |variant| {
                if last == "protected" { Matter::Protected { variant } } else { Matter::HotReady { variant } }
            };
            return Some((name, of(variant)));
        }
        _ => return None,
    };
    is_name(&rest).then_some((rest, matter))
}

/// The name in a path below `/api/storage/models/`, and the variant if one is meant. The last part of a name that has
/// slashes and a variant look alike: `is_model` tells.
pub(crate) fn stored(path: &str, is_model: impl Fn(&str) -> bool) -> (&str, Option<&str>) {
    let path = path.strip_suffix('/').unwrap_or(path);
    if let Some((name, variant)) = path.rsplit_once("/variants/").filter(|(name, _)| is_name(name)) {
        return (name, Some(variant));
    }
    match path.rsplit_once('/') {
        Some((name, variant)) if !is_model(path) && is_model(name) => (name, Some(variant)),
        _ => (path, None),
    }
}

fn is_name(name: &&str) -> bool {
    !name.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_may_hold_slashes() {
        let check = |path: &str, expected: Option<(&str, Matter<'_>)>| assert_eq!(matter(path), expected, "{path}");
        check("m/load", Some(("m", Matter::Load)));
        check("org/m/load/", Some(("org/m", Matter::Load)));
        check("org/m/download", Some(("org/m", Matter::Download)));
        check("org/m/download/pause", Some(("org/m", Matter::PauseDownload)));
        check("org/m/variants/Q4_K_M/hot-ready", Some(("org/m", Matter::HotReady { variant: "Q4_K_M" })));
        check("m/variants/Q8_0/protected", Some(("m", Matter::Protected { variant: "Q8_0" })));
        for nothing in ["load", "/load", "m/fly", "m/pause", "m/hot-ready", "m/variants//protected", "m", ""] {
            check(nothing, None);
        }
    }

    #[test]
    fn a_variant_is_told_from_the_end_of_a_name() {
        let check = |path: &str, expected: (&str, Option<&str>)| {
            assert_eq!(stored(path, |name| ["m", "org/m"].contains(&name)), expected, "{path}");
        };
        check("m", ("m", None));
        check("org/m", ("org/m", None));
        check("m/Q4_0", ("m", Some("Q4_0")));
        check("org/m/Q4_0", ("org/m", Some("Q4_0")));
        check("org/m/variants/Q4_0", ("org/m", Some("Q4_0")));
        check("nobody/knows", ("nobody/knows", None));
    }
}
