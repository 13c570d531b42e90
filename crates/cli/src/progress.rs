//! The progress of a load on stderr: a bar for a person, a line per phase for a log, nothing in JSON.

use api::DownloadStatus;
use indicatif::{ProgressBar, ProgressStyle};

use crate::printer::Printer;
use crate::table::duration;

/// What the bar looks like.
const TEMPLATE: &str = "snug: loading {prefix} … {msg} {percent} % {bar:24}";

/// Steps of the bar.
const STEPS: u64 = 1000;

/// Shows one load.
pub(crate) struct LoadProgress<'a> {
    printer: &'a Printer,
    model: String,
    bar: Option<ProgressBar>,
    phase: String,
}

impl<'a> LoadProgress<'a> {
    /// Shows nothing yet: a model that is loaded already needs no bar.
    pub(crate) fn new(printer: &'a Printer, model: &str) -> Self {
        Self { printer, model: model.to_owned(), bar: None, phase: String::new() }
    }

    /// `share` is 0 to 1.
    pub(crate) fn at(&mut self, phase: &str, share: f64) {
        if self.printer.is_json() {
            return;
        }
        let is_new = self.phase != phase;
        phase.clone_into(&mut self.phase);
        let words = phase.replace('_', " ");
        if !self.printer.err_is_terminal() {
            if is_new {
                self.printer.note(&format!("loading {} … {words}", self.model));
            }
            return;
        }
        let model = &self.model;
        let bar = self.bar.get_or_insert_with(|| {
            let style = ProgressStyle::with_template(TEMPLATE);
            let bar = ProgressBar::new(STEPS).with_prefix(model.clone());
            bar.with_style(style.expect("the template is a constant that a test renders"))
        });
        bar.set_message(words);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "clamped to 0 to 1000"
        )]
        bar.set_position((share.clamp(0.0, 1.0) * STEPS as f64) as u64);
    }
}

impl Drop for LoadProgress<'_> {
    /// Leaves a clean line, however the load ended.
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// What the bar of a download looks like.
const PULL_TEMPLATE: &str = "snug: {prefix} {percent} % {bar:24} {bytes} of {total_bytes} {msg}";

/// Shows one download.
pub(crate) struct PullProgress<'a> {
    printer: &'a Printer,
    model: String,
    bar: Option<ProgressBar>,
    phase: String,
}

impl<'a> PullProgress<'a> {
    /// Shows nothing yet.
    pub(crate) fn new(printer: &'a Printer, model: &str) -> Self {
        Self { printer, model: model.to_owned(), bar: None, phase: String::new() }
    }

    pub(crate) fn at(&mut self, status: &DownloadStatus) {
        if self.printer.is_json() {
            return;
        }
        let phase = status.phase.as_deref().unwrap_or_default();
        let is_new = self.phase != phase;
        phase.clone_into(&mut self.phase);
        let total = status.total_bytes.unwrap_or(0);
        if !self.printer.err_is_terminal() {
            if is_new {
                self.printer.note(&format!("{} … {phase}", self.model));
            }
            return;
        }
        let model = &self.model;
        let bar = self.bar.get_or_insert_with(|| {
            let style = ProgressStyle::with_template(PULL_TEMPLATE);
            let bar = ProgressBar::new(total).with_prefix(model.clone());
            bar.with_style(style.expect("the template is a constant that a test renders"))
        });
        bar.set_length(total);
        bar.set_position(status.bytes_downloaded.unwrap_or(0));
        // The server's figures: it has watched for longer than we have.
        let (speed, eta) = (status.speed_mbps.unwrap_or(0.0), status.eta_seconds.unwrap_or(0));
        bar.set_message(match phase {
            "running" if speed > 0.0 => format!("{speed:.1} MiB/s, {} left", duration(eta * 1000)),
            "running" => String::new(),
            phase => phase.to_owned(),
        });
    }
}

impl Drop for PullProgress<'_> {
    /// Leaves a clean line, however the download ended.
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_template_is_valid() {
        assert!(ProgressStyle::with_template(TEMPLATE).is_ok());
        assert!(ProgressStyle::with_template(PULL_TEMPLATE).is_ok());
    }
}
