//! The command line: llama-server's, of which most is ignored, and `--fake-…` for the faults that tests need.

use std::path::PathBuf;
use std::time::Duration;

/// What was asked for.
///
/// Flags come from the command line and then from the file `MODEL.fake` beside the model, separated by white space, so
/// that a test which cannot choose the command line can still choose the fault, model by model.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    /// `-m`, `--model`.
    pub(crate) model: PathBuf,
    /// `--host`, default 127.0.0.1.
    pub(crate) host: String,
    /// `--port`, default 8080; 0 lets the system choose.
    pub(crate) port: u16,
    /// `-a`, `--alias`, default the model's path.
    pub(crate) alias: Option<String>,
    /// `-c`, `--ctx-size`, in tokens over all slots, default 4096.
    pub(crate) context: u64,
    /// `-np`, `--parallel`, default 1.
    pub(crate) slots: u64,
    /// `--embedding`, `--embeddings`: serve vectors too, as the real one does.
    pub(crate) embedding: bool,
    /// `--fake-load-ms N`: the load takes this long, default 0.
    pub(crate) load: Duration,
    /// `--fake-hang-load`: the load never ends.
    pub(crate) hang_load: bool,
    /// `--fake-fail CLASS`: print what the real one prints for this failure class and exit with 1.
    pub(crate) fail: Option<String>,
    /// `--fake-crash-times FILE:N`: exit with 1 at start while the number in FILE is below N, counting it up.
    pub(crate) crash_times: Option<(PathBuf, u64)>,
    /// `--fake-exit-after-requests N`: exit with 1 after N answers.
    pub(crate) exit_after_requests: Option<u64>,
    /// `--fake-die-mid-stream N`: abort after N chunks of a stream.
    pub(crate) die_mid_stream: Option<u64>,
    /// `--fake-stall-after N`: send nothing more after N chunks of a stream.
    pub(crate) stall_after: Option<u64>,
    /// `--fake-hang-after-requests N`: after N answers it takes requests and never answers; it is healthy all the same.
    pub(crate) hang_after_requests: Option<u64>,
    /// `--fake-refuse-after N:MS`: after every N answers it cuts all connections and takes none for so long.
    pub(crate) refuse_after: Option<(u64, Duration)>,
    /// `--fake-first-byte-ms N`: time before anything of an answer is sent, as for a long prompt; default 0.
    pub(crate) first_byte: Duration,
    /// `--fake-token-ms N`: time per token, default 0.
    pub(crate) token: Duration,
    /// `--fake-tokens N`: length of an answer in tokens, default 16; a request's `max_tokens` shortens it.
    pub(crate) tokens: u64,
    /// `--fake-ignore-term`: SIGTERM does nothing.
    pub(crate) ignore_term: bool,
    /// `--fake-model-mib N`: size of the weights it reports, default 92.
    pub(crate) model_mib: f64,
    /// `--fake-kv-mib N`: size of the KV cache it reports, default 90.
    pub(crate) kv_mib: f64,
    /// `--fake-log-flood`: writes log lines as fast as someone reads them.
    pub(crate) log_flood: bool,
    /// `--slot-save-path DIR`: where slots are saved; without it they are not.
    pub(crate) slots_folder: Option<PathBuf>,
    /// `--fake-prompt-tokens N`: tokens counted for every prompt, default 7.
    pub(crate) prompt_tokens: u64,
    /// `--fake-save-ms N`: saving a slot takes this long, default 0.
    pub(crate) save: Duration,
    /// `--fake-refuse-save`: slots cannot be saved, as with models whose cache the real one cannot write.
    pub(crate) refuse_save: bool,
    /// `--fake-half-save`: a file is cut short though all is said to be well, as on a disk that became full.
    pub(crate) half_save: bool,
    /// `--fake-restore-ms N`: restoring a slot takes this long, default 0.
    pub(crate) restore: Duration,
    /// `--fake-die-on-restore`: abort when a slot is to be restored, as the real one does of a file that was cut.
    pub(crate) die_on_restore: bool,
    /// `--fake-record FILE`: appends `finished PATH` or `cancelled PATH` as each request ends,
    /// those about slots with their query.
    pub(crate) record: Option<PathBuf>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            model: PathBuf::new(),
            host: "127.0.0.1".to_owned(),
            port: 8080,
            alias: None,
            context: 4096,
            slots: 1,
            embedding: false,
            load: Duration::ZERO,
            hang_load: false,
            fail: None,
            crash_times: None,
            exit_after_requests: None,
            die_mid_stream: None,
            stall_after: None,
            hang_after_requests: None,
            refuse_after: None,
            first_byte: Duration::ZERO,
            token: Duration::ZERO,
            tokens: 16,
            ignore_term: false,
            model_mib: 92.0,
            kv_mib: 90.0,
            log_flood: false,
            slots_folder: None,
            prompt_tokens: 7,
            save: Duration::ZERO,
            refuse_save: false,
            half_save: false,
            restore: Duration::ZERO,
            die_on_restore: false,
            record: None,
        }
    }
}

impl Options {
    /// Reads the command line, then `MODEL.fake`.
    pub(crate) fn read(arguments: impl Iterator<Item = String>) -> anyhow::Result<Self> {
        let mut options = Self::default();
        options.apply(arguments)?;
        let mut beside = options.model.clone().into_os_string();
        beside.push(".fake");
        if let Ok(text) = std::fs::read_to_string(beside) {
            options.apply(text.split_whitespace().map(str::to_owned))?;
        }
        Ok(options)
    }

    /// Everything unknown is ignored, and so is every value of it.
    fn apply(&mut self, mut arguments: impl Iterator<Item = String>) -> anyhow::Result<()> {
        while let Some(flag) = arguments.next() {
            let mut value =
                || arguments.next().ok_or_else(|| anyhow::anyhow!("error: {flag}: expected value for argument"));
            match flag.as_str() {
                "-m" | "--model" => self.model = value()?.into(),
                "--host" => self.host = value()?,
                "--port" => self.port = value()?.parse()?,
                "-a" | "--alias" => self.alias = Some(value()?),
                "-c" | "--ctx-size" => self.context = value()?.parse()?,
                "-np" | "--parallel" => self.slots = value()?.parse()?,
                "--embedding" | "--embeddings" => self.embedding = true,
                "--fake-load-ms" => self.load = Duration::from_millis(value()?.parse()?),
                "--fake-hang-load" => self.hang_load = true,
                "--fake-fail" => self.fail = Some(value()?),
                "--fake-crash-times" => {
                    let value = value()?;
                    let (file, times) = value.rsplit_once(':').ok_or_else(|| anyhow::anyhow!("{flag} FILE:N"))?;
                    self.crash_times = Some((file.into(), times.parse()?));
                }
                "--fake-exit-after-requests" => self.exit_after_requests = Some(value()?.parse()?),
                "--fake-die-mid-stream" => self.die_mid_stream = Some(value()?.parse()?),
                "--fake-stall-after" => self.stall_after = Some(value()?.parse()?),
                "--fake-hang-after-requests" => self.hang_after_requests = Some(value()?.parse()?),
                "--fake-refuse-after" => {
                    let value = value()?;
                    let (times, millis) = value.split_once(':').ok_or_else(|| anyhow::anyhow!("{flag} N:MS"))?;
                    self.refuse_after = Some((times.parse()?, Duration::from_millis(millis.parse()?)));
                }
                "--fake-first-byte-ms" => self.first_byte = Duration::from_millis(value()?.parse()?),
                "--fake-token-ms" => self.token = Duration::from_millis(value()?.parse()?),
                "--fake-tokens" => self.tokens = value()?.parse()?,
                "--fake-ignore-term" => self.ignore_term = true,
                "--fake-model-mib" => self.model_mib = value()?.parse()?,
                "--fake-kv-mib" => self.kv_mib = value()?.parse()?,
                "--fake-log-flood" => self.log_flood = true,
                "--slot-save-path" => self.slots_folder = Some(value()?.into()),
                "--fake-prompt-tokens" => self.prompt_tokens = value()?.parse()?,
                "--fake-save-ms" => self.save = Duration::from_millis(value()?.parse()?),
                "--fake-refuse-save" => self.refuse_save = true,
                "--fake-half-save" => self.half_save = true,
                "--fake-restore-ms" => self.restore = Duration::from_millis(value()?.parse()?),
                "--fake-die-on-restore" => self.die_on_restore = true,
                "--fake-record" => self.record = Some(value()?.into()),
                _ => {}
            }
        }
        Ok(())
    }
}
