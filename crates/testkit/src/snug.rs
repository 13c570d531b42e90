//! A real `snug serve` for a test: on a port of the system's choice, with folders of its own, gone with the test.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use reqwest::Method;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::http::{Answer, Events, client};
use crate::{eventually, gguf};

/// The folders and settings of a snug, which may be started again and again. Engines that are left at the end are ended.
pub struct Stage {
    program: PathBuf,
    folder: TempDir,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    /// The most bytes that a file may have, for snug and its engines; `None` for no limit.
    file_size_max: Option<u64>,
}

impl Stage {
    /// Fresh folders for `program`, the built `snug`, which will start `engine`.
    ///
    /// # Panics
    /// If the folders cannot be made.
    pub fn new(program: impl Into<PathBuf>, engine: &Path) -> Self {
        let stage = Self::without_engine(program);
        let engine = engine.to_str().expect("a test's path is UTF-8");
        stage.arguments(&["--llama-server", engine])
    }

    /// Fresh folders for `program`, the built `snug`, which has to find its engines by itself.
    ///
    /// # Panics
    /// If the folders cannot be made.
    pub fn without_engine(program: impl Into<PathBuf>) -> Self {
        let folder = tempfile::Builder::new().prefix("snug-test").tempdir().expect("a temporary folder can be made");
        let stage =
            Self { program: program.into(), folder, arguments: vec![], environment: vec![], file_size_max: None };
        std::fs::create_dir(stage.models_dir()).expect("the folder is fresh");
        stage
    }

    /// With more arguments for `snug serve`.
    #[must_use]
    pub fn arguments(mut self, arguments: &[&str]) -> Self {
        self.arguments.extend(arguments.iter().map(|&argument| argument.to_owned()));
        self
    }

    /// With a variable in the environment of every command.
    #[must_use]
    pub fn environment(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// With a configuration file.
    ///
    /// # Panics
    /// If it cannot be written.
    #[must_use]
    pub fn config(self, toml: &str) -> Self {
        self.write_config(toml);
        let path = self.config_file();
        let path = path.to_str().expect("a test's path is UTF-8").to_owned();
        self.arguments(&["--config", &path])
    }

    /// The configuration file of [`Self::config`].
    pub fn config_file(&self) -> PathBuf {
        self.folder.path().join("snug.toml")
    }

    /// Puts another configuration file in its place, as an editor does: by a rename.
    ///
    /// # Panics
    /// If it cannot be written.
    pub fn write_config(&self, toml: &str) {
        let new = self.folder.path().join("snug.toml.new");
        std::fs::write(&new, toml)
            .and_then(|()| std::fs::rename(&new, self.config_file()))
            .expect("the folder is ours");
    }

    /// From now on no file that snug or an engine writes may grow beyond `kib` KiB: a write beyond it fails as on a full
    /// disk.
    pub fn limit_file_size(&mut self, kib: Option<u64>) {
        self.file_size_max = kib;
    }

    /// Writes a model into the models folder.
    ///
    /// # Panics
    /// If it cannot be written.
    #[must_use]
    pub fn model(self, name: &str, file: &gguf::File) -> Self {
        file.write(&self.models_dir().join(name)).expect("the models folder is ours");
        self
    }

    /// Writes a model into the models folder that the fake engine serves with these faults.
    ///
    /// # Panics
    /// If it cannot be written.
    #[must_use]
    pub fn fake_model(self, name: &str, faults: &str) -> Self {
        let stage = self.model(name, &gguf::ChatModel::default().file());
        std::fs::write(stage.models_dir().join(format!("{name}.fake")), faults).expect("the models folder is ours");
        stage
    }

    /// Where models are found.
    pub fn models_dir(&self) -> PathBuf {
        self.folder.path().join("models")
    }

    /// Where snug keeps what it keeps.
    pub fn data_dir(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Any command of snug, with nothing of this machine's environment.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = match self.file_size_max {
            None => Command::new(&self.program),
            Some(kib) => {
                // The signal that usually comes with the limit is ignored, so that the write fails instead.
                let mut shell = Command::new("bash");
                shell.arg("-c").arg(format!("trap '' XFSZ; ulimit -f {kib}; exec \"$0\" \"$@\"")).arg(&self.program);
                shell
            }
        };
        command.args(arguments).env_clear().env("HOME", self.folder.path()).stdin(Stdio::null());
        command.envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    /// The command `snug serve`, on a port of the system's choice.
    pub fn serve(&self) -> Command {
        let mut command = self.command(&["serve", "--host", "127.0.0.1", "--port", "0"]);
        command.arg("--data-dir").arg(self.data_dir()).arg("--models-dir").arg(self.models_dir());
        command.args(&self.arguments);
        command
    }

    /// Starts it and waits until it is ready.
    ///
    /// # Panics
    /// If it does not get ready; its log says why.
    pub async fn start(&self) -> Snug<'_> {
        self.start_as(self.serve()).await
    }

    /// Starts it by another command than [`Self::serve`] and waits until it is ready.
    ///
    /// # Panics
    /// If it does not get ready; its log says why.
    pub async fn start_as(&self, command: Command) -> Snug<'_> {
        let snug = self.listen_as(command).await;
        eventually("snug is ready", async || (snug.get("/readyz").await.status == 200).then_some(())).await;
        snug
    }

    /// Starts it and waits until it listens, which is before it is ready.
    ///
    /// # Panics
    /// If it does not listen; its log says why.
    pub async fn listen(&self) -> Snug<'_> {
        self.listen_as(self.serve()).await
    }

    async fn listen_as(&self, mut command: Command) -> Snug<'_> {
        let log = self.folder.path().join("snug.log");
        let file = File::create(&log).expect("the folder is ours");
        let child = command.stdout(Stdio::null()).stderr(file).spawn().expect("the built program can be started");
        let mut snug = Snug { child, log, url: String::new(), client: client(), _stage: self };
        snug.url = eventually("snug says where it listens", async || {
            let log = snug.log();
            let ended = snug.child.try_wait().expect("it is our child");
            assert!(ended.is_none(), "snug ended ({ended:?}): {log}");
            let (_, rest) = log.split_once("listening on ")?;
            let (line, _) = rest.split_once('\n')?;
            line.split_whitespace().next().map(str::to_owned)
        })
        .await;
        snug
    }

    /// Ends engines that are still written down.
    fn end_engines(&self) {
        let Ok(records) = std::fs::read_dir(self.data_dir().join("instances")) else { return };
        for record in records.filter_map(|entry| std::fs::read(entry.ok()?.path()).ok()) {
            let Ok(record) = serde_json::from_slice::<Value>(&record) else { continue };
            let (pid, id) = (&record["process"]["pid"], record["id"].as_str().unwrap_or_default());
            let Some(pid) = pid.as_u64().and_then(|pid| u32::try_from(pid).ok()) else { continue };
            // Its environment shows that the process is still the engine of this record.
            let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            if !id.is_empty() && String::from_utf8_lossy(&environment).contains(id) {
                kill(pid);
            }
        }
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.end_engines();
    }
}

/// A running snug; ended by force when dropped, before its folders are gone.
pub struct Snug<'stage> {
    child: Child,
    log: PathBuf,
    /// Its address: `http://127.0.0.1:PORT`.
    pub url: String,
    client: reqwest::Client,
    _stage: &'stage Stage,
}

impl Snug<'_> {
    /// What it logged so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Asks for `path`.
    ///
    /// # Panics
    /// If there is no answer.
    pub async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, &[], "").await
    }

    /// Posts JSON to `path`.
    ///
    /// # Panics
    /// If there is no answer.
    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        self.send(Method::POST, path, &[("content-type", "application/json")], &body.to_string()).await
    }

    /// Sends any request.
    ///
    /// # Panics
    /// If there is no answer.
    pub async fn send(&self, method: Method, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let response = self.request(method, path, headers, body).send().await;
        Answer::read(response.unwrap_or_else(|error| panic!("no answer of {path}: {error:?}\n{}", self.log()))).await
    }

    /// Posts JSON to `path` and does not insist on an answer.
    ///
    /// # Errors
    /// If the connection ends before an answer came.
    pub async fn try_post(&self, path: &str, body: &Value) -> Result<Answer, String> {
        let request = self.request(Method::POST, path, &[("content-type", "application/json")], &body.to_string());
        match request.send().await {
            Ok(response) => Ok(Answer::read(response).await),
            Err(error) => Err(format!("{error:?}")),
        }
    }

    /// Asks a model one thing; `more` is added to the request.
    ///
    /// # Panics
    /// If there is no answer.
    pub async fn chat(&self, model: &str, more: Value) -> Answer {
        self.post("/v1/chat/completions", &chat(model, more)).await
    }

    /// The same as a stream of events.
    ///
    /// # Panics
    /// If no stream begins.
    pub async fn stream(&self, model: &str, more: Value) -> Events {
        let mut body = chat(model, more);
        body["stream"] = true.into();
        let headers = [("content-type", "application/json")];
        let sent = self.request(Method::POST, "/v1/chat/completions", &headers, &body.to_string()).send().await;
        let response = sent.unwrap_or_else(|error| panic!("no answer: {error:?}\n{}", self.log()));
        if response.status().is_success() {
            return Events::new(response);
        }
        panic!("no stream: {:?}\n{}", Answer::read(response).await, self.log())
    }

    /// Asks for `path` as a stream of events.
    ///
    /// # Panics
    /// If no stream begins.
    pub async fn follow(&self, path: &str) -> Events {
        self.events(Method::GET, path).await
    }

    /// Has a model loaded, as a stream of events.
    ///
    /// # Panics
    /// If no stream begins.
    pub async fn follow_load(&self, model: &str) -> Events {
        self.events(Method::POST, &format!("/api/models/{model}/load")).await
    }

    /// Has a model loaded; `query` may name a context.
    ///
    /// # Panics
    /// If there is no answer.
    pub async fn load(&self, model: &str, query: &str) -> Answer {
        self.post(&format!("/api/models/{model}/load{query}"), &Value::Null).await
    }

    /// The rows of `/api/models/loaded`.
    ///
    /// # Panics
    /// If there is no answer.
    pub async fn loaded(&self) -> Vec<Value> {
        self.get("/api/models/loaded").await.ok()["models"].as_array().expect("a list").clone()
    }

    /// The row of a model that is loaded.
    ///
    /// # Panics
    /// If it is not.
    pub async fn instance(&self, model: &str) -> Value {
        let rows = self.loaded().await;
        let row = rows.iter().find(|row| row["model"] == model);
        row.unwrap_or_else(|| panic!("{model} is not loaded: {rows:?}\n{}", self.log())).clone()
    }

    /// The process id of a model's engine.
    ///
    /// # Panics
    /// If it has none.
    pub async fn engine_pid(&self, model: &str) -> u32 {
        let row = self.instance(model).await;
        row["pid"].as_u64().and_then(|pid| u32::try_from(pid).ok()).unwrap_or_else(|| panic!("no process: {row}"))
    }

    /// Asks it to end.
    pub fn terminate(&self) {
        signal(self.child.id(), Signal::TERM);
    }

    /// Has it read its configuration again.
    pub fn hang_up(&self) {
        signal(self.child.id(), Signal::HUP);
    }

    /// Ends it as a crash would, and waits for that.
    pub fn kill(mut self) {
        self.end();
    }

    /// How it ended.
    ///
    /// # Panics
    /// If it does not.
    pub async fn ended(&mut self) -> ExitStatus {
        eventually("snug ends", async || self.child.try_wait().expect("it is our child")).await
    }

    async fn events(&self, method: Method, path: &str) -> Events {
        let sent = self.request(method, path, &[("accept", "text/event-stream")], "").send().await;
        let response = sent.unwrap_or_else(|error| panic!("no answer of {path}: {error:?}\n{}", self.log()));
        assert!(response.status().is_success(), "no stream: {:?}", Answer::read(response).await);
        Events::new(response)
    }

    fn request(&self, method: Method, path: &str, headers: &[(&str, &str)], body: &str) -> reqwest::RequestBuilder {
        let mut request = self.client.request(method, format!("{}{path}", self.url));
        for &(name, value) in headers {
            request = request.header(name, value);
        }
        request.body(body.to_owned())
    }

    fn end(&mut self) {
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}

impl Drop for Snug<'_> {
    #[expect(clippy::print_stderr, reason = "shown with the failure of the test")]
    fn drop(&mut self) {
        self.end();
        if std::thread::panicking() {
            eprintln!("--- snug's log ---\n{}", self.log());
        }
    }
}

/// Ends a process by force.
pub fn kill(pid: u32) {
    signal(pid, Signal::KILL);
}

/// Whether a process runs; one that ended and was not waited for yet does not.
pub fn is_alive(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
}

fn signal(pid: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        // One that is gone already needs no signal.
        let _gone = kill_process(pid, signal);
    }
}

fn chat(model: &str, more: Value) -> Value {
    let mut body = json!({ "model": model, "messages": [{ "role": "user", "content": "Hello." }] });
    if let (Some(body), Value::Object(more)) = (body.as_object_mut(), more) {
        body.extend(more);
    }
    body
}
