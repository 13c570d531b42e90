//! `snug config`: the documentation of every setting, as a file to start from.

use crate::failure::Failure;
use crate::printer::Printer;

/// Prints the example file.
pub(crate) fn run(printer: &Printer) -> Result<(), Failure> {
    let text = config::example();
    Ok(printer.data(&serde_json::json!({ "snug_toml": text }), || text.clone())?)
}
