//! The fake engine's faults do what tests that use them rely on.

use std::io::{BufRead as _, BufReader, Lines, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, ChildStderr, Command, Stdio};

use testkit::eventually;

/// A fake engine, ended with the test.
struct Engine {
    process: Child,
    address: SocketAddr,
    record: PathBuf,
    _folder: tempfile::TempDir,
    _log: Lines<BufReader<ChildStderr>>,
}

impl Drop for Engine {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Engine {
    fn start(flags: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (model, record) = (folder.path().join("model.gguf"), folder.path().join("record"));
        std::fs::write(&model, "GGUF").unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_fake-llama-server"));
        command.args(["--port", "0", "-m"]).arg(&model).arg("--fake-record").arg(&record).args(flags);
        let mut process = command.stderr(Stdio::piped()).spawn().unwrap();
        let mut log = BufReader::new(process.stderr.take().unwrap()).lines();
        let address = log
            .find_map(|line| line.unwrap().split_once("listening on http://").map(|(_, at)| at.parse().unwrap()))
            .unwrap();
        Self { process, address, record, _folder: folder, _log: log }
    }

    fn connect(&self) -> std::io::Result<TcpStream> {
        TcpStream::connect(self.address)
    }

    fn records(&self) -> String {
        std::fs::read_to_string(&self.record).unwrap_or_default()
    }
}

fn ask(stream: &mut TcpStream) {
    stream.write_all(b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n{}").unwrap();
}

/// The status of an answer; its body is read too.
fn status(stream: &TcpStream) -> String {
    let mut stream = BufReader::new(stream);
    let (mut line, mut length) = (String::new(), 0);
    stream.read_line(&mut line).unwrap();
    let status = line.split(' ').nth(1).unwrap_or_default().to_owned();
    while line.trim_end() != "" {
        line.clear();
        stream.read_line(&mut line).unwrap();
        if let Some(value) = line.strip_prefix("content-length: ") {
            length = value.trim_end().parse().unwrap();
        }
    }
    stream.take(length).read_to_end(&mut vec![]).unwrap();
    status
}

#[tokio::test]
async fn it_hangs_and_is_healthy() {
    let engine = Engine::start(&["--fake-hang-after-requests", "1"]);
    let mut stream = engine.connect().unwrap();
    ask(&mut stream);
    assert_eq!(status(&stream), "200");
    ask(&mut stream);
    let mut other = engine.connect().unwrap();
    other.write_all(b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
    assert_eq!(status(&other), "200");
    assert_eq!(engine.records(), "finished /v1/chat/completions\n");
    stream.set_nonblocking(true).unwrap();
    let answer = stream.peek(&mut [0]).map_err(|error| error.kind());
    assert_eq!(answer, Err(std::io::ErrorKind::WouldBlock), "nothing is answered");
    drop(stream);
    eventually("the engine sees that the client left", async || {
        (engine.records().lines().last() == Some("cancelled /v1/chat/completions")).then_some(())
    })
    .await;
}

#[tokio::test]
async fn it_refuses_for_a_while_and_comes_back() {
    let engine = Engine::start(&["--fake-refuse-after", "2:2000"]);
    let mut stream = engine.connect().unwrap();
    for _ in 0..2 {
        ask(&mut stream);
        assert_eq!(status(&stream), "200");
    }
    assert!(matches!(stream.read(&mut [0]), Ok(0) | Err(_)), "the connection is cut");
    assert_eq!(engine.connect().unwrap_err().kind(), std::io::ErrorKind::ConnectionRefused);
    let mut stream = eventually("it is back", async || engine.connect().ok()).await;
    ask(&mut stream);
    assert_eq!(status(&stream), "200");
}
