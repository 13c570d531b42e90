//! A stand-in for llama-server: its command line, its log, its HTTP answers, and faults on demand.
//!
//! It holds no model. What it can be made to do is listed in `options.rs`.

#![expect(clippy::disallowed_methods, reason = "a program for tests: its tasks and its end are nobody's concern")]

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Either, Full};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue, SERVER};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;
use tokio::task::JoinSet;

mod answer;
mod log;
mod options;
mod record;
mod slots;

use answer::{Asked, Shape, Stream};
use options::Options;
use record::Record;
use slots::Slots;

type Answer = Response<Either<Full<Bytes>, Stream>>;

/// What all requests share.
struct Engine {
    options: Arc<Options>,
    loaded: AtomicBool,
    answered: AtomicU64,
    /// Told when it is to refuse connections for a while.
    refuses: Notify,
    slots: Slots,
}

fn main() -> anyhow::Result<()> {
    // One thread: it is an upstream of measurements on small machines, and one core serves them faster than two.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(run(Options::read(std::env::args().skip(1))?))
}

async fn run(options: Options) -> anyhow::Result<()> {
    log::line('I', "srv  llama_server: initializing ...");
    if let Some((file, times)) = &options.crash_times {
        let count = std::fs::read_to_string(file).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0_u64);
        if count < *times {
            std::fs::write(file, (count + 1).to_string())?;
            log::failure("backend_error", &options);
            std::process::exit(1);
        }
    }
    let mut listener = TcpListener::bind((options.host.as_str(), options.port)).await?;
    let address = listener.local_addr()?;
    let ignore_term = options.ignore_term;
    let engine = Arc::new(Engine {
        slots: Slots::new(&options),
        options: Arc::new(options),
        loaded: AtomicBool::new(false),
        answered: AtomicU64::new(0),
        refuses: Notify::new(),
    });
    if engine.options.log_flood {
        // Its own thread: a full pipe blocks the writer, and must not block the answers.
        std::thread::spawn(|| {
            loop {
                log::line('I', "slot update_slots: id  0 | task 0 | a line of log that says nothing in particular");
            }
        });
    }
    let mut term = signal(SignalKind::terminate())?;
    let load = load(&engine, address);
    let serve = async {
        loop {
            listener = serve(&engine, listener).await?;
        }
    };
    let end = async {
        loop {
            term.recv().await;
            if !ignore_term {
                break;
            }
        }
    };
    tokio::select! {
        () = load => unreachable!("after the load it waits for ever"),
        ended = serve => return ended,
        () = end => {}
    }
    log::line('I', "srv    operator(): operator(): cleaning up before exit...");
    Ok(())
}

/// Plays a load, then waits for ever.
async fn load(engine: &Engine, address: std::net::SocketAddr) {
    let options = &engine.options;
    if let Some(class) = options.fail.as_deref().or_else(|| unreadable(options)) {
        tokio::time::sleep(options.load).await;
        log::failure(class, options);
        std::process::exit(1);
    }
    for phase in log::PHASES {
        log::phase(phase, options);
        if !options.load.is_zero() {
            tokio::time::sleep(options.load / 4).await;
        }
    }
    if !options.hang_load {
        engine.loaded.store(true, Ordering::Relaxed);
        log::line('I', "srv  llama_server: model loaded");
        log::line('I', &format!("srv  llama_server: listening on http://{address}"));
    }
    std::future::pending::<()>().await;
}

/// The failure class of a model file that the real one would refuse at once.
fn unreadable(options: &Options) -> Option<&'static str> {
    use std::io::Read as _;
    let mut magic = [0; 4];
    match std::fs::File::open(&options.model) {
        Err(_) => Some("file_not_found"),
        Ok(mut file) => match file.read_exact(&mut magic) {
            Ok(()) if &magic == b"GGUF" => None,
            _ => Some("wrong_magic"),
        },
    }
}

/// Takes connections until it is to refuse them, and ends once it may take some again, at the same address.
async fn serve(engine: &Arc<Engine>, listener: TcpListener) -> anyhow::Result<TcpListener> {
    let address = listener.local_addr()?;
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = engine.refuses.notified() => break,
        };
        let Ok((stream, _)) = accepted else {
            // Out of file descriptors, most likely: others are given back soon.
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        while connections.try_join_next().is_some() {}
        let _ = stream.set_nodelay(true);
        let engine = Arc::clone(engine);
        let service = service_fn(move |request| answer(Arc::clone(&engine), request));
        let connection = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
        // A connection that breaks is its client's affair.
        connections.spawn(async { drop(connection.await) });
    }
    drop(listener);
    connections.shutdown().await;
    if let Some((_, refuses_for)) = engine.options.refuse_after {
        tokio::time::sleep(refuses_for).await;
    }
    Ok(TcpListener::bind(address).await?)
}

async fn answer(engine: Arc<Engine>, request: Request<Incoming>) -> Result<Answer, Infallible> {
    let path = request.uri().path();
    if !engine.loaded.load(Ordering::Relaxed) {
        return Ok(json(503, answer::error(503, "Loading model", "unavailable_error")));
    }
    let options = &engine.options;
    let shape = match (request.method(), path) {
        (&Method::GET, "/health" | "/v1/health") => return Ok(json(200, r#"{"status":"ok"}"#.to_owned())),
        (&Method::GET, "/props") => return Ok(json(200, answer::props(options))),
        (&Method::GET, "/slots") => {
            Record::new(path, options).finish();
            return Ok(json(200, engine.slots.rows(options)));
        }
        (&Method::POST, path) if path.starts_with("/slots/") => return Ok(slot(&engine, request).await),
        (&Method::POST, "/v1/chat/completions") => Some(Shape::Chat),
        (&Method::POST, "/v1/completions") => Some(Shape::Completion),
        (&Method::POST, "/v1/embeddings") => None,
        _ => return Ok(json(404, answer::error(404, "File Not Found", "not_found_error"))),
    };
    let mut record = Record::new(path, options);
    let Ok(body) = request.into_body().collect().await.map(http_body_util::Collected::to_bytes) else {
        return Ok(json(400, answer::error(400, "the request's body broke off", "invalid_request_error")));
    };
    if shape.is_none() && !options.embedding {
        let message = "This server does not support embeddings. Start it with `--embeddings`";
        record.finish();
        return Ok(json(501, answer::error(501, message, "not_supported_error")));
    }
    let asked: Asked = match serde_json::from_slice(&body) {
        Ok(asked) => asked,
        Err(error) => {
            record.finish();
            return Ok(json(400, answer::error(400, &error.to_string(), "invalid_request_error")));
        }
    };
    engine.count_answer().await;
    let cached = if shape.is_some() { engine.slots.used(asked.id_slot, asked.tokens(options), options) } else { 0 };
    Ok(match shape {
        None => {
            record.finish();
            json(200, answer::embeddings(&body, options))
        }
        Some(shape) if asked.stream => {
            let stream = Stream::new(shape, &asked, cached, &body, options, record);
            let mut response = Response::new(Either::Right(stream));
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
            response
        }
        Some(shape) => {
            let token = asked.token(options);
            if !token.is_zero() {
                let tokens = u32::try_from(asked.tokens(options)).unwrap_or(u32::MAX);
                tokio::time::sleep(token * tokens).await;
            }
            record.finish();
            json(200, answer::whole(shape, &asked, cached, &body, options))
        }
    })
}

async fn slot(engine: &Engine, request: Request<Incoming>) -> Answer {
    let uri = request.uri().clone();
    let mut record = Record::new(uri.path_and_query().map_or("", |path| path.as_str()), &engine.options);
    let body = request.into_body().collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let (status, body) = engine.slots.act(uri.path(), uri.query().unwrap_or_default(), &body, &engine.options).await;
    record.finish();
    json(status, body)
}

impl Engine {
    /// Counts one answer, and plays the faults that come after so many.
    async fn count_answer(self: &Arc<Self>) {
        let answered = self.answered.fetch_add(1, Ordering::Relaxed) + 1;
        let options = &self.options;
        if options.exit_after_requests == Some(answered) {
            tokio::spawn(async {
                after_this_answer().await;
                std::process::exit(1);
            });
        }
        if let Some((times, _)) = options.refuse_after
            && answered.is_multiple_of(times)
        {
            let engine = Arc::clone(self);
            tokio::spawn(async move {
                after_this_answer().await;
                engine.refuses.notify_one();
            });
        }
        if options.hang_after_requests.is_some_and(|most| answered > most) {
            std::future::pending::<()>().await;
        }
        if !options.first_byte.is_zero() {
            tokio::time::sleep(options.first_byte).await;
        }
    }
}

/// Until an answer without pauses is on the wire.
async fn after_this_answer() {
    tokio::time::sleep(Duration::from_millis(20)).await;
}

fn json(status: u16, body: String) -> Answer {
    let mut response = Response::new(Either::Left(Full::new(Bytes::from(body))));
    *response.status_mut() = StatusCode::from_u16(status).expect("a status written in this file");
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json; charset=utf-8"));
    response.headers_mut().insert(SERVER, HeaderValue::from_static("llama.cpp"));
    response
}
