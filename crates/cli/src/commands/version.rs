//! `snug version`: of this program.

use crate::failure::Failure;
use crate::printer::Printer;

/// Prints it.
pub(crate) fn run(printer: &Printer) -> Result<(), Failure> {
    let version = env!("CARGO_PKG_VERSION");
    Ok(printer.data(&serde_json::json!({ "version": version }), || format!("snug {version}\n"))?)
}
