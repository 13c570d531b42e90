//! Names that drivers give to hardware, and patterns that recognise them, word by word.

/// A name in lower-case words, without trademark signs: `intel arc a770 graphics`.
pub(super) struct Words(Vec<String>);

impl Words {
    pub(super) fn of(name: &str) -> Self {
        let lower = name.to_lowercase().replace("(tm)", " ").replace("(r)", " ");
        let mut words: Vec<String> = Vec::new();
        for piece in lower.split(|c: char| !c.is_ascii_alphanumeric()).filter(|piece| !piece.is_empty()) {
            for word in unglue(piece) {
                let is_size = word == "gb" && words.last().is_some_and(|last| is_number(last));
                match words.last_mut() {
                    Some(number) if is_size => number.push_str("gb"),
                    _ => words.push(word.to_owned()),
                }
            }
        }
        Self(words)
    }

    pub(super) fn has(&self, word: &str) -> bool {
        self.0.iter().any(|own| own == word)
    }
}

/// Splits what people write together: `rtx4060ti` is `rtx 4060 ti`.
fn unglue(piece: &str) -> impl Iterator<Item = &str> {
    let (prefix, rest) = ["rtx", "gtx", "rx", "gt", "ascend"]
        .into_iter()
        .find_map(|prefix| {
            let rest = piece.strip_prefix(prefix)?;
            rest.starts_with(|c: char| c.is_ascii_digit()).then_some((&piece[..prefix.len()], rest))
        })
        .unwrap_or(("", piece));
    let (number, suffix) = ["super", "gre", "xtx", "xt", "ti"]
        .into_iter()
        .find_map(|suffix| {
            let number = rest.strip_suffix(suffix)?;
            is_number(number).then_some((number, &rest[number.len()..]))
        })
        .unwrap_or((rest, ""));
    [prefix, number, suffix].into_iter().filter(|word| !word.is_empty())
}

fn is_number(word: &str) -> bool {
    !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit())
}

/// Words that must occur in this order, others between them or not. In a word, `#` stands for a digit, `?` for a
/// letter or digit, a closing `*` for anything.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Pattern(Box<[&'static str]>);

impl Pattern {
    /// `None` if `text` has no word.
    pub(super) fn parse(text: &'static str) -> Option<Self> {
        let words: Box<[_]> = text.split_whitespace().collect();
        (!words.is_empty()).then_some(Self(words))
    }

    /// How much of `name` this pattern says: more words first, then fewer wildcards. `None` if it does not match; else
    /// at least 1.
    pub(super) fn quality(&self, name: &Words) -> Option<u32> {
        if OTHER_PART.iter().any(|word| name.has(word) && !self.0.contains(word)) {
            return None;
        }
        let mut rest = name.0.iter();
        let mut quality = 0;
        for wanted in &self.0 {
            rest.find(|word| matches(wanted, word))?;
            quality += WORD - wanted.bytes().map(wildness).sum::<u32>();
        }
        Some(quality)
    }
}

/// Words that make another part of the one without them: where only the plain part is known, nothing is.
const OTHER_PART: [&str; 2] = ["ti", "super"];

/// What a word is worth; more than all wildcards of a pattern cost.
const WORD: u32 = 100;

fn wildness(byte: u8) -> u32 {
    match byte {
        b'#' => 1,
        b'?' => 2,
        b'*' => 3,
        _ => 0,
    }
}

fn matches(pattern: &str, word: &str) -> bool {
    let (pattern, open) = match pattern.strip_suffix('*') {
        Some(start) => (start, true),
        None => (pattern, false),
    };
    let length_fits = if open { word.len() >= pattern.len() } else { word.len() == pattern.len() };
    length_fits
        && pattern.bytes().zip(word.bytes()).all(|(wanted, byte)| match wanted {
            b'#' => byte.is_ascii_digit(),
            b'?' => byte.is_ascii_alphanumeric(),
            _ => wanted == byte,
        })
}
