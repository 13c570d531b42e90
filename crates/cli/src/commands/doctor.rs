//! `snug doctor`: what was found out about this machine, and how.

use server::Adviser;

use crate::failure::Failure;
use crate::printer::Printer;

/// Prints the report, for a person or for a bug report.
pub(crate) fn run(adviser: &Adviser, printer: &Printer) -> Result<(), Failure> {
    let report = adviser.report();
    Ok(printer.data(&report, || report.to_string())?)
}
