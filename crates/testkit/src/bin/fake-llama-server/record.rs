//! How a request ended: finished, or cancelled because its client left.

use std::io::Write as _;
use std::sync::Arc;

use crate::options::Options;

/// Lives as long as its request; says how it ended when dropped.
pub(crate) struct Record {
    options: Arc<Options>,
    path: String,
    finished: bool,
}

impl Record {
    pub(crate) fn new(path: &str, options: &Arc<Options>) -> Self {
        // Nothing is kept where nobody asks, so that the program stays fast as an upstream of measurements.
        let path = if options.record.is_some() { path.to_owned() } else { String::new() };
        Self { options: Arc::clone(options), path, finished: false }
    }

    pub(crate) fn finish(&mut self) {
        self.finished = true;
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        let Some(file) = &self.options.record else { return };
        let how = if self.finished { "finished" } else { "cancelled" };
        let line = format!("{how} {}\n", self.path);
        // One write of one line in append mode: engines that share a file do not mix their lines.
        if let Ok(mut file) = std::fs::OpenOptions::new().create(true).append(true).open(file) {
            let _ = file.write_all(line.as_bytes());
        }
    }
}
