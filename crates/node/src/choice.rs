//! Which variant is loaded where a name leaves it open.
//!
//! Owns the rule, as a pure function. Whether a variant fits is reckoned by `fit` and decided by `placement`, and comes in
//! as a word.

use std::cmp::Ordering;

use catalog::quantization::Quantization;
use types::{ByteCount, MemoryUse, Variant};

/// Why a variant was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// In a few words: `the best quality that fits now`.
    pub reason: String,
    /// All that could have been taken, the best quality first.
    pub considered: Vec<Considered>,
}

/// A variant that could have been taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Considered {
    /// Which.
    pub variant: Variant,
    /// Whether it fits now.
    pub fits: bool,
    /// Why, or why not, with the figures.
    pub why: String,
}

/// A variant as the rule sees it.
#[derive(Clone, Debug)]
pub(crate) struct Candidate {
    pub(crate) variant: Variant,
    /// Its files together.
    pub(crate) size: ByteCount,
    pub(crate) fit: Fit,
    /// Whether its weights are in RAM.
    pub(crate) ready: bool,
}

/// How a variant fits, the worst first.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Fit {
    /// Its files are not here.
    Absent,
    /// Not on the empty machine, and why.
    Never(String),
    /// What is pinned leaves no room.
    Barred(MemoryUse),
    /// Once others have ended what they do.
    Later(MemoryUse),
    /// Once idle ones have left; `whole` if no part of it stays off the accelerators.
    Now { needs: MemoryUse, whole: bool },
}

impl Fit {
    fn rank(&self) -> u8 {
        match self {
            Self::Absent => 0,
            Self::Never(_) => 1,
            Self::Barred(_) => 2,
            Self::Later(_) => 3,
            Self::Now { .. } => 4,
        }
    }
}

/// Chooses among these: what fits now before what fits the empty machine; of those the default one, else one whose weights
/// are in RAM, else one that is whole on the accelerators, else the best quality. Where none fits, the smallest.
pub(crate) fn choose(candidates: &[Candidate], default: Option<&Variant>) -> Option<(Variant, Choice)> {
    let is_default = |one: &Candidate| default.is_some_and(|default| same(default, &one.variant));
    let is_whole = |one: &Candidate| matches!(one.fit, Fit::Now { whole: true, .. });
    let better = |one: &&Candidate, other: &&Candidate| {
        let preferred = |one: &Candidate| (is_default(one), one.ready, is_whole(one));
        let by_fit = one.fit.rank().cmp(&other.fit.rank());
        by_fit.then_with(|| match one.fit {
            Fit::Never(_) => other.size.cmp(&one.size),
            _ => preferred(one).cmp(&preferred(other)).then_with(|| by_quality(one, other)),
        })
    };
    let best = candidates.iter().max_by(better)?;
    let reason = match best.fit {
        Fit::Absent => "none of its variants is here",
        Fit::Never(_) => "none fits this machine; this is the smallest",
        Fit::Barred(_) => "what is pinned leaves no room for any; this is the best that fits the empty machine",
        _ if candidates.len() == 1 => "its only variant",
        _ if is_default(best) => "the default variant, and it fits",
        Fit::Later(_) => "none fits beside what is in use; this is the best that fits the empty machine",
        Fit::Now { .. } if best.ready => "its weights are in RAM already, and it fits now",
        Fit::Now { .. } => "the best quality that fits now",
    };
    let mut sorted: Vec<&Candidate> = candidates.iter().collect();
    sorted.sort_by(|one, other| by_quality(other, one));
    let considered = sorted.into_iter().map(consider).collect();
    Some((best.variant.clone(), Choice { reason: reason.to_owned(), considered }))
}

fn consider(one: &Candidate) -> Considered {
    let bits = bits(&one.variant).map(|bits| format!("{bits:.1} bits a weight; ")).unwrap_or_default();
    let (fits, why) = match &one.fit {
        Fit::Absent => (false, "its files are not here".to_owned()),
        Fit::Never(why) => (false, why.clone()),
        Fit::Barred(needs) => (false, format!("needs {needs}, which pinned models do not leave")),
        Fit::Later(needs) => (false, format!("needs {needs}, which models in use do not leave")),
        Fit::Now { needs, whole: true } => (true, format!("needs {needs}")),
        Fit::Now { needs, whole: false } => (true, format!("needs {needs}, a part of it off the accelerators")),
    };
    Considered { variant: one.variant.clone(), fits, why: format!("{bits}{why}") }
}

/// The better quality is the greater: by bits of a weight, then by what is lost, then by size. Unknown ones are the least.
fn by_quality(one: &Candidate, other: &Candidate) -> Ordering {
    let quality = |one: &Candidate| {
        let known = quantization(&one.variant);
        (known.map_or(0.0, Quantization::bits), known.map_or(0.0, |known| -known.penalty()))
    };
    let ((bits, kept), (other_bits, other_kept)) = (quality(one), quality(other));
    bits.total_cmp(&other_bits).then(kept.total_cmp(&other_kept)).then(one.size.cmp(&other.size))
}

fn bits(variant: &Variant) -> Option<f64> {
    quantization(variant).map(Quantization::bits)
}

fn quantization(variant: &Variant) -> Option<Quantization> {
    variant.as_str().parse().ok()
}

/// Whether two spellings name one variant.
pub(crate) fn same(one: &Variant, other: &Variant) -> bool {
    one.as_str().eq_ignore_ascii_case(other.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use types::DeviceName;

    /// `Q8_0 900 now ready`: 900 MiB, fits now, weights in RAM.
    fn candidate(line: &str) -> Candidate {
        let words: Vec<&str> = line.split_whitespace().collect();
        let size = ByteCount::mib(words[1].parse().unwrap());
        let mut needs = MemoryUse::default();
        needs.entry(DeviceName::cpu()).model = size;
        Candidate {
            variant: Variant::new(words[0]),
            size,
            fit: match words[2] {
                "now" => Fit::Now { needs, whole: !words.contains(&"split") },
                "later" => Fit::Later(needs),
                "barred" => Fit::Barred(needs),
                "never" => Fit::Never("it is too large".to_owned()),
                "absent" => Fit::Absent,
                other => panic!("{other}"),
            },
            ready: words.contains(&"ready"),
        }
    }

    #[track_caller]
    fn check(default: Option<&str>, candidates: &[&str], variant: &str, reason: &str) {
        let default = default.map(Variant::new);
        for candidates in [candidates.to_vec(), candidates.iter().rev().copied().collect()] {
            let candidates: Vec<Candidate> = candidates.into_iter().map(candidate).collect();
            let (found, choice) = choose(&candidates, default.as_ref()).unwrap();
            assert_eq!(found.as_str(), variant, "{choice:?}");
            assert!(choice.reason.contains(reason), "{choice:?}");
            assert_eq!(choice.considered.len(), candidates.len());
        }
    }

    #[test]
    fn the_best_quality_that_fits_now() {
        let three = ["F16 2000 later", "Q8_0 1000 now", "Q4_K_M 600 now"];
        check(None, &three, "Q8_0", "the best quality that fits now");
        check(None, &["F16 2000 now", "Q8_0 1000 now"], "F16", "the best quality");
        check(None, &["UD-Q4_K_XL 600 now", "Q4_K_M 600 now", "x 900 now"], "UD-Q4_K_XL", "the best quality");
        check(None, &["Q4_K_M 600 now"], "Q4_K_M", "its only variant");
        // Slow on the processor is not what quality was wanted for.
        check(None, &["F16 2000 now split", "Q8_0 1000 now"], "Q8_0", "the best quality");
    }

    #[test]
    fn a_default_goes_first_and_then_what_is_in_ram() {
        check(Some("q4_k_m"), &["Q8_0 1000 now ready", "Q4_K_M 600 now"], "Q4_K_M", "the default variant");
        check(Some("F16"), &["F16 2000 later", "Q4_K_M 600 now"], "Q4_K_M", "the best quality that fits now");
        check(None, &["Q8_0 1000 now", "Q4_K_M 600 now ready"], "Q4_K_M", "in RAM already");
        check(None, &["Q8_0 1000 now", "Q4_K_M 600 later ready"], "Q8_0", "the best quality");
    }

    #[test]
    fn where_none_fits_now() {
        check(None, &["F16 2000 never", "Q8_0 1000 later", "Q4_K_M 600 later"], "Q8_0", "none fits beside");
        check(None, &["F16 2000 never", "Q8_0 1000 never"], "Q8_0", "this is the smallest");
        check(None, &["F16 2000 barred", "Q8_0 1000 never"], "F16", "pinned");
        check(None, &["F16 2000 barred", "Q8_0 1000 later"], "Q8_0", "none fits beside");
        check(Some("Q4_0"), &["Q8_0 0 absent", "Q4_0 0 absent"], "Q4_0", "none of its variants is here");
        check(None, &["Q8_0 0 absent", "Q4_0 600 never"], "Q4_0", "this is the smallest");
    }

    #[test]
    fn all_are_told_of_with_figures() {
        let candidates = ["Q4_K_M 600 now", "F16 2000 never", "Q8_0 1000 later"].map(candidate);
        let (_, choice) = choose(&candidates, None).unwrap();
        let told: Vec<_> =
            choice.considered.iter().map(|one| format!("{} {}: {}", one.variant, one.fits, one.why)).collect();
        assert_eq!(
            told,
            [
                "F16 false: 16.0 bits a weight; it is too large",
                "Q8_0 false: 8.5 bits a weight; needs CPU 1000.0 MiB, which models in use do not leave",
                "Q4_K_M true: 4.9 bits a weight; needs CPU 600.0 MiB",
            ]
        );
        assert_eq!(choose(&[], None), None);
    }
}
