//! A file with every key, its documentation and its default, for people to start from.

use std::fmt::Write;

use crate::section::Section;
use crate::sections::{
    Engine, FolderKeys, Gateway, Hardware, Library, Logging, Model, Node, Provider, RequestLog, Route, Server, Storage,
    Tracing,
};
use crate::sources::variables;

/// The text of a `snug.toml` that says nothing but the defaults: every setting stands behind a `#`.
pub fn example() -> String {
    let mut text = String::from(
        "# snug.toml: every setting with its default. Remove the # before those you change.\n\
         # Later wins: defaults, this file, environment (SNUG_*), flags. Sizes: \"24G\"; times: \"90s\", \"10m\".\n",
    );
    section::<Server>(&mut text, None);
    section::<FolderKeys>(&mut text, None);
    section::<Library>(&mut text, None);
    section::<Node>(&mut text, None);
    section::<Engine>(&mut text, Some("[engine]"));
    section::<Gateway>(&mut text, Some("[gateway]"));
    section::<Storage>(&mut text, Some("[storage]"));
    section::<Hardware>(&mut text, Some("[hardware]"));
    section::<Logging>(&mut text, Some("[logging]"));
    section::<RequestLog>(&mut text, Some("[request_log]"));
    section::<Tracing>(&mut text, Some("[tracing]"));
    section::<Model>(&mut text, Some("#[[models]]"));
    section::<Provider>(&mut text, Some("#[[providers]]"));
    section::<Route>(&mut text, Some("#[[routes]]"));
    text
}

fn section<S: Section>(text: &mut String, header: Option<&str>) {
    text.push('\n');
    if let Some(header) = header {
        for line in S::ABOUT {
            line_of(text, &format!("#{line}"));
        }
        line_of(text, header);
    }
    for key in S::keys() {
        for line in key.docs {
            line_of(text, &format!("#{line}"));
        }
        let table = header.map_or("", |header| header.trim_matches(['#', '[', ']']));
        let path = if table.is_empty() { key.name.to_owned() } else { format!("{table}.{}", key.name) };
        if let Some((variable, _)) = variables().find(|(_, key)| *key == path) {
            line_of(text, &format!("# Environment: {variable}."));
        }
        // An example comes first: where there is one, the default says nothing by itself.
        match (key.example, key.default) {
            (Some(example), _) => {
                line_of(text, &format!("#{} = {example}  # an example; not set by default", key.name))
            }
            (None, Some(default)) => line_of(text, &format!("#{} = {default}", key.name)),
            (None, None) => unreachable!("a key has a default to show or an example"),
        }
    }
}

fn line_of(text: &mut String, line: &str) {
    writeln!(text, "{line}").expect("a String takes every write");
}
