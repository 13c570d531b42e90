//! Sliding windows that an architecture fixes in llama.cpp's code, where files name a window and no pattern.
//!
//! The table says what each architecture's loader does when `attention.sliding_window_pattern` is absent. An
//! architecture that is not in it attends to everything, whatever its file says of a window.

use super::SlidingPattern;

/// What an architecture does about windows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Rule {
    architecture: &'static str,
    pattern: Pattern,
    /// The window where the file names none; zero for none.
    window: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pattern {
    /// Of n layers, the last has none.
    LastOf(u64),
    /// Of n layers, the first has none.
    FirstOf(u64),
    /// All layers have it.
    All,
    /// The file says it for each layer.
    Stated,
}

const fn rule(architecture: &'static str, pattern: Pattern, window: u64) -> Rule {
    Rule { architecture, pattern, window }
}

/// From the loaders of llama.cpp's models, at the pinned version.
const RULES: [Rule; 29] = [
    rule("afmoe", Pattern::LastOf(4), 0),
    rule("cohere2", Pattern::LastOf(4), 0),
    rule("cohere2moe", Pattern::FirstOf(4), 0),
    rule("deepseek4", Pattern::All, 0),
    rule("dots3note", Pattern::Stated, 0),
    rule("exaone-moe", Pattern::LastOf(4), 128),
    rule("exaone4", Pattern::LastOf(4), 0),
    rule("gemma-embedding", Pattern::LastOf(6), 0),
    rule("gemma2", Pattern::LastOf(2), 4096),
    rule("gemma3", Pattern::LastOf(6), 0),
    rule("gemma3n", Pattern::LastOf(5), 0),
    rule("gemma4", Pattern::Stated, 0),
    rule("gemma4-assistant", Pattern::Stated, 0),
    rule("gpt-oss", Pattern::LastOf(2), 0),
    rule("granite_swa", Pattern::Stated, 0),
    rule("laguna", Pattern::FirstOf(4), 0),
    rule("lfm2", Pattern::All, 0),
    rule("lfm2moe", Pattern::All, 0),
    rule("llama4", Pattern::LastOf(4), 8192),
    rule("maple", Pattern::Stated, 0),
    rule("mellum", Pattern::LastOf(4), 0),
    rule("mimo2", Pattern::Stated, 0),
    rule("modern-bert", Pattern::FirstOf(3), 0),
    rule("muse-glimmer", Pattern::LastOf(4), 0),
    rule("olmo2", Pattern::LastOf(4), 0),
    rule("plamo3", Pattern::LastOf(8), 0),
    rule("smallthinker", Pattern::FirstOf(4), 0),
    rule("spark2_5", Pattern::Stated, 0),
    rule("step35", Pattern::Stated, 0),
];

/// Whether llama.cpp knows sliding windows for this architecture; elsewhere it attends to, and keeps, everything.
pub fn slides(architecture: &str) -> bool {
    find(architecture).is_some()
}

/// The window and its layers as llama.cpp has them for a file that says `window` and `pattern`.
pub(super) fn resolve(
    architecture: &str,
    layers: u32,
    window: Option<u64>,
    pattern: Option<SlidingPattern>,
) -> (Option<u64>, Option<SlidingPattern>) {
    let Some(rule) = find(architecture) else { return (None, None) };
    // Two loaders decide by more than the architecture: of EXAONE 4 only the 32B (64 layers) slides, Llama 4 slides by
    // 8,192 unless its file says that the window is zero, and SmallThinker's is always 4,096.
    let window = match (architecture, window) {
        ("exaone4", _) if layers != 64 => None,
        ("exaone4", None) => Some(4096),
        ("llama4", Some(0)) => None,
        ("llama4", _) => Some(8192),
        ("smallthinker", Some(1..)) => Some(4096),
        (_, Some(0)) => None,
        (_, Some(window)) => Some(window),
        (_, None) => Some(rule.window).filter(|window| *window > 0),
    };
    let of_architecture = match rule.pattern {
        Pattern::LastOf(period) => Some(SlidingPattern::AllButEvery(period)),
        Pattern::FirstOf(period) => Some(SlidingPattern::AllButFirstOf(period)),
        Pattern::All => Some(SlidingPattern::AllButEvery(0)),
        Pattern::Stated => None,
    };
    // A period in the file keeps the architecture's end of it.
    let pattern = match (pattern, rule.pattern) {
        (Some(SlidingPattern::AllButEvery(period)), Pattern::FirstOf(_)) => Some(SlidingPattern::AllButFirstOf(period)),
        (_, Pattern::All) | (None, _) => of_architecture,
        (stated, _) => stated,
    };
    (window, pattern.filter(|_| window.is_some()))
}

fn find(architecture: &str) -> Option<&'static Rule> {
    RULES.iter().find(|rule| rule.architecture == architecture)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(architecture: &str, layers: u32, stated: Option<u64>, expected: Option<u64>, sliding: &str) {
        let (window, pattern) = resolve(architecture, layers, stated, None);
        let letters: String = (0..8).map(|layer| letter(pattern.as_ref(), layer)).collect();
        assert_eq!((window, letters.as_str()), (expected, sliding), "{architecture}");
    }

    fn letter(pattern: Option<&SlidingPattern>, layer: u32) -> char {
        if pattern.is_some_and(|pattern| pattern.slides(layer)) { 's' } else { 'f' }
    }

    #[test]
    fn what_a_file_leaves_out_is_the_architectures() {
        check("gemma3", 34, Some(1024), Some(1024), "sssssfss");
        check("gemma2", 26, None, Some(4096), "sfsfsfsf");
        check("gpt-oss", 24, Some(128), Some(128), "sfsfsfsf");
        check("cohere2moe", 49, Some(4096), Some(4096), "fsssfsss");
        check("llama4", 48, None, Some(8192), "sssfsssf");
        check("llama4", 48, Some(0), None, "ffffffff");
        check("exaone4", 64, None, Some(4096), "sssfsssf");
        check("exaone4", 30, Some(4096), None, "ffffffff");
        check("deepseek4", 43, Some(128), Some(128), "ssssssss");
        // Files of these name a window that llama.cpp does not read.
        check("llama", 32, Some(4096), None, "ffffffff");
        check("phi3", 32, Some(2047), None, "ffffffff");
        check("qwen2", 28, Some(131_072), None, "ffffffff");
    }

    #[test]
    fn what_a_file_says_goes_first() {
        let check = |architecture, stated, sliding: &str| {
            let (_, pattern) = resolve(architecture, 8, Some(512), Some(stated));
            assert_eq!((0..8).map(|layer| letter(pattern.as_ref(), layer)).collect::<String>(), sliding);
        };
        check("gemma3", SlidingPattern::AllButEvery(2), "sfsfsfsf");
        check("laguna", SlidingPattern::AllButEvery(2), "fsfsfsfs");
        check("gemma4", SlidingPattern::Layers(vec![true, false, true]), "sfsfffff");
    }
}
