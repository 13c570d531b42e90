//! YAML 1.2 as the tree of [`crate::document`].
//!
//! Scalars are read by the core schema: `true` is true and `yes` is a text. Keys are texts, whatever they look like. Every
//! alias is a copy of what it names, and how much all of them may add up to is bounded.

use std::borrow::Cow;
use std::collections::BTreeMap;

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Tag};

use crate::document::{DEPTH_MAX, Entry, SyntaxError, Value};

/// Values of a whole file, copies counted.
const VALUES_MAX: usize = 100_000;

/// Reads a file of one document, a mapping; an empty one says nothing. A key whose value is `null` is not given.
pub(crate) fn parse(text: &str) -> Result<Vec<Entry>, SyntaxError> {
    read(text, false)
}

/// The same with every `null` as [`Value::Null`], for who has to tell a key without value from none.
pub(crate) fn parse_with_nulls(text: &str) -> Result<Vec<Entry>, SyntaxError> {
    read(text, true)
}

fn read(text: &str, keeps_nulls: bool) -> Result<Vec<Entry>, SyntaxError> {
    let mut parser = Parser::new_from_str(text);
    let mut reader = Reader { keeps_nulls, ..Reader::default() };
    while let Some(event) = parser.next_event() {
        let (event, span) = event.map_err(|error: ScanError| SyntaxError {
            line: Some(error.marker().line()),
            message: error.info().to_owned(),
        })?;
        let line = span.start.line();
        reader.take(event, line).map_err(|message| SyntaxError { line: Some(line), message })?;
    }
    match reader.root {
        Some(Node::Is(Value::Table(entries))) => Ok(entries),
        None | Some(Node::Null) => Ok(Vec::new()),
        Some(Node::Is(_)) => {
            Err(SyntaxError { line: Some(1), message: "must be a mapping of keys and values".to_owned() })
        }
    }
}

/// A value, or `null`, which is how writers say "not given".
#[derive(Clone)]
enum Node {
    Null,
    Is(Value),
}

/// A collection of which more is to come.
enum Open {
    List { items: Vec<Value>, anchor: usize },
    Table { entries: Vec<Entry>, key: Option<(String, usize)>, anchor: usize },
}

#[derive(Default)]
struct Reader {
    root: Option<Node>,
    open: Vec<Open>,
    /// What anchors stand for, by the parser's numbers for them; 0 is none.
    anchors: BTreeMap<usize, Node>,
    values: usize,
    documents: usize,
    keeps_nulls: bool,
}

impl Reader {
    fn take(&mut self, event: Event<'_>, line: usize) -> Result<(), String> {
        match event {
            Event::DocumentStart(_) => {
                self.documents += 1;
                if self.documents > 1 {
                    return Err("must be one document; a second one begins here".to_owned());
                }
            }
            Event::SequenceStart(anchor, tag) => {
                known(tag.as_ref(), "seq")?;
                self.begin(Open::List { items: Vec::new(), anchor })?;
            }
            Event::MappingStart(anchor, tag) => {
                known(tag.as_ref(), "map")?;
                self.begin(Open::Table { entries: Vec::new(), key: None, anchor })?;
            }
            Event::SequenceEnd | Event::MappingEnd => match self.open.pop() {
                Some(Open::List { items, anchor }) => self.place(Node::Is(Value::List(items)), anchor, line)?,
                Some(Open::Table { entries, anchor, .. }) => {
                    self.place(Node::Is(Value::Table(entries)), anchor, line)?;
                }
                None => return Err("ends what has not begun".to_owned()),
            },
            Event::Scalar(text, style, anchor, tag) => {
                if let Some(Open::Table { entries, key: key @ None, .. }) = self.open.last_mut() {
                    if entries.iter().any(|entry| entry.key == text) {
                        return Err(format!("duplicate key `{text}`"));
                    }
                    *key = Some((text.into_owned(), line));
                } else {
                    let node = scalar(&text, style, tag.as_ref())?;
                    self.place(node, anchor, line)?;
                }
            }
            Event::Alias(anchor) => {
                let node = self.anchors.get(&anchor).ok_or("an alias must not stand inside of what it names")?.clone();
                self.place(node, 0, line)?;
            }
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => {}
        }
        Ok(())
    }

    fn begin(&mut self, collection: Open) -> Result<(), String> {
        if let Some(Open::Table { key: None, .. }) = self.open.last() {
            return Err("a key must be a text or a number".to_owned());
        }
        if self.open.len() >= DEPTH_MAX {
            return Err(format!("is nested more than {DEPTH_MAX} deep"));
        }
        self.open.push(collection);
        Ok(())
    }

    /// Puts a value where it belongs: below the last key, or at the end of a list.
    fn place(&mut self, node: Node, anchor: usize, line: usize) -> Result<(), String> {
        self.values += count(&node);
        if self.values > VALUES_MAX {
            return Err(format!("has more than {VALUES_MAX} values, copies by aliases counted"));
        }
        if anchor > 0 {
            self.anchors.insert(anchor, node.clone());
        }
        let node = match node {
            Node::Null if self.keeps_nulls && !self.open.is_empty() => Node::Is(Value::Null),
            node => node,
        };
        match (self.open.last_mut(), node) {
            (None, node) => self.root = Some(node),
            (Some(Open::List { items, .. }), Node::Is(value)) => items.push(value),
            (Some(Open::List { items, .. }), Node::Null) => items.push(Value::Other("null".to_owned())),
            (Some(Open::Table { entries, key, .. }), node) => match (key.take(), node) {
                (Some((key, line)), Node::Is(value)) => entries.push(Entry { key, line, value }),
                (Some(_), Node::Null) => {}
                (None, Node::Is(Value::Text(text))) => *key = Some((text, line)),
                (None, _) => return Err("a key must be a text or a number".to_owned()),
            },
        }
        Ok(())
    }
}

fn count(node: &Node) -> usize {
    fn values(value: &Value) -> usize {
        match value {
            Value::List(items) => 1 + items.iter().map(values).sum::<usize>(),
            Value::Table(entries) => 1 + entries.iter().map(|entry| values(&entry.value)).sum::<usize>(),
            _ => 1,
        }
    }
    match node {
        Node::Null => 1,
        Node::Is(value) => values(value),
    }
}

/// A tag may say what is so anyway.
fn known(tag: Option<&Cow<'_, Tag>>, expected: &str) -> Result<(), String> {
    match tag {
        Some(tag) if !(tag.is_yaml_core_schema() && tag.suffix == expected) => {
            Err(format!("the tag {tag} means nothing here; leave it out"))
        }
        _ => Ok(()),
    }
}

/// What a scalar is by the core schema of YAML 1.2 (section 10.3 of its specification).
fn scalar(text: &str, style: ScalarStyle, tag: Option<&Cow<'_, Tag>>) -> Result<Node, String> {
    if style != ScalarStyle::Plain || tag.is_some() {
        known(tag, "str")?;
        return Ok(Node::Is(Value::Text(text.to_owned())));
    }
    Ok(match text {
        "" | "~" | "null" | "Null" | "NULL" => Node::Null,
        "true" | "True" | "TRUE" => Node::Is(Value::Bool(true)),
        "false" | "False" | "FALSE" => Node::Is(Value::Bool(false)),
        _ => Node::Is(match (integer(text), is_float(text)) {
            (Some(number), _) => Value::Integer(number),
            (None, true) => Value::Other(text.to_owned()),
            (None, false) => Value::Text(text.to_owned()),
        }),
    })
}

fn integer(text: &str) -> Option<i128> {
    let digits = |digits: &str, radix| {
        let sound = !digits.is_empty() && digits.chars().all(|c| c.is_digit(radix));
        sound.then(|| i128::from_str_radix(digits, radix).ok()).flatten()
    };
    match text.split_at_checked(2) {
        Some(("0x", rest)) => digits(rest, 16),
        Some(("0o", rest)) => digits(rest, 8),
        _ => match text.strip_prefix('-') {
            Some(rest) => digits(rest, 10).map(|number| -number),
            None => digits(text.strip_prefix('+').unwrap_or(text), 10),
        },
    }
}

fn is_float(text: &str) -> bool {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let special = matches!(unsigned, ".inf" | ".Inf" | ".INF") || matches!(text, ".nan" | ".NaN" | ".NAN");
    let begins_so = unsigned.trim_start_matches('.').starts_with(|c: char| c.is_ascii_digit());
    special || (begins_so && unsigned.parse::<f64>().is_ok())
}
