//! Tools, and which of them is to be called.

use std::borrow::Cow;
use std::collections::HashSet;

use serde::Serialize;
use serde_json::value::RawValue;

use crate::Refused;
use crate::fields::{Fields, list, refused, text};

/// The one argument of a function that stands for a custom tool.
pub(super) const CUSTOM_ARGUMENT: &str = "input";

/// What a request says about tools.
pub(super) struct Tools<'a> {
    pub(super) functions: Vec<Function<'a>>,
    pub(super) choice: Option<&'static str>,
    pub(super) parallel: Option<bool>,
    /// Names of functions that stand for custom tools.
    pub(super) custom: HashSet<String>,
}

/// A tool of a chat completions request.
#[derive(Serialize)]
pub(super) struct Function<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    function: Body<'a>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Body<'a> {
    /// A function as the client described it.
    Own(Fields<'a>),
    /// A custom tool.
    Custom { name: Cow<'a, str>, description: String, parameters: &'static RawValue },
}

impl<'a> Tools<'a> {
    /// Takes the fields about tools.
    pub(super) fn read(fields: &mut Fields<'a>) -> Result<Self, Refused> {
        let parallel = fields.flag("", "parallel_tool_calls")?;
        fields.take("parallel_tool_calls");
        let mut tools = Self { functions: Vec::new(), choice: None, parallel: None, custom: HashSet::new() };
        let mut names = Vec::new();
        for (at, tool) in fields.list("", "tools")? {
            names.push(tools.add(tool, &at)?);
        }
        fields.take("tools");
        if let Some(choice) = fields.take("tool_choice") {
            tools.choose(choice, &names)?;
        }
        if tools.functions.is_empty() {
            // Engines refuse to be told how to use what is not there.
            tools.choice = None;
        } else {
            tools.parallel = parallel;
        }
        Ok(tools)
    }

    /// Adds a tool; its name.
    fn add(&mut self, tool: &'a RawValue, at: &str) -> Result<String, Refused> {
        let mut tool = Fields::of(tool, at)?;
        let kind = tool.needed_text(at, "type")?;
        let function = match kind.as_ref() {
            "function" => {
                let name = tool.needed_text(at, "name")?.into_owned();
                for unknown_there in ["type", "allowed_callers", "async", "defer_loading", "output_schema"] {
                    tool.take(unknown_there);
                }
                (name, Body::Own(tool))
            }
            "custom" => {
                let name = tool.needed_text(at, "name")?;
                self.custom.insert(name.clone().into_owned());
                let description = custom_description(&tool, at)?;
                (name.clone().into_owned(), Body::Custom { name, description, parameters: custom_parameters() })
            }
            hosted => {
                let message = format!(
                    "`{at}` is a tool of type `{hosted}`, which is not hosted here; only `function` and `custom` tools can be used"
                );
                return Err(refused(at, message));
            }
        };
        let (name, function) = function;
        self.functions.push(Function { kind: "function", function });
        Ok(name)
    }

    fn choose(&mut self, choice: &'a RawValue, names: &[String]) -> Result<(), Refused> {
        let at = "tool_choice";
        if choice.get().starts_with('"') {
            let word = text(choice, at)?;
            self.choice = Some(known_choice(&word, at)?);
            return Ok(());
        }
        let choice = Fields::of(choice, at)?;
        match choice.needed_text(at, "type")?.as_ref() {
            "function" | "custom" => {
                let name = choice.needed_text(at, "name")?;
                self.keep_only(&[name], names, at)?;
                self.choice = Some("required");
            }
            "allowed_tools" => {
                self.choice = Some(known_choice(&choice.needed_text(at, "mode")?, "tool_choice.mode")?);
                let mut allowed = Vec::new();
                let tools = choice.get("tools").map_or(Ok(Vec::new()), |tools| list(tools, "tool_choice.tools"))?;
                for (at, tool) in tools {
                    allowed.push(Fields::of(tool, &at)?.needed_text(&at, "name")?);
                }
                self.keep_only(&allowed, names, "tool_choice.tools")?;
            }
            hosted => {
                let message = format!(
                    "`tool_choice` is of type `{hosted}`, which is not hosted here; it may be `function`, `custom` or `allowed_tools`"
                );
                return Err(refused(at, message));
            }
        }
        Ok(())
    }

    fn keep_only(&mut self, allowed: &[Cow<'_, str>], names: &[String], at: &str) -> Result<(), Refused> {
        if let Some(unknown) = allowed.iter().find(|name| !names.iter().any(|tool| tool == name.as_ref())) {
            return Err(refused(at, format!("`{at}` names `{unknown}`, which is not among `tools`")));
        }
        let allowed: HashSet<&str> = allowed.iter().map(AsRef::as_ref).collect();
        let mut names = names.iter();
        self.functions.retain(|_| names.next().is_some_and(|name| allowed.contains(name.as_str())));
        Ok(())
    }
}

fn known_choice(word: &str, at: &str) -> Result<&'static str, Refused> {
    match word {
        "auto" => Ok("auto"),
        "none" => Ok("none"),
        "required" => Ok("required"),
        other => Err(refused(at, format!("`{at}` is `{other}`: it must be `auto`, `none` or `required`"))),
    }
}

/// What the model is told of a custom tool: its description, and the grammar that its input follows.
fn custom_description(tool: &Fields<'_>, at: &str) -> Result<String, Refused> {
    let mut description = tool.text(at, "description")?.unwrap_or_default().into_owned();
    if let Some(format) = tool.get("format") {
        let at = format!("{at}.format");
        let format = Fields::of(format, &at)?;
        if format.needed_text(&at, "type")? == "grammar" {
            let syntax = format.needed_text(&at, "syntax")?;
            let definition = format.needed_text(&at, "definition")?;
            if !description.is_empty() {
                description.push_str("\n\n");
            }
            description.push_str(&format!("`{CUSTOM_ARGUMENT}` must follow this {syntax} grammar:\n{definition}"));
        }
    }
    Ok(description)
}

fn custom_parameters() -> &'static RawValue {
    const PARAMETERS: &str = r#"{"type":"object","properties":{"input":{"type":"string"}},"required":["input"],"additionalProperties":false}"#;
    serde_json::from_str(PARAMETERS).expect("a constant that is JSON")
}
