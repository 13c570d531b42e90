//! What `llama-server`'s output means, line by line.
//!
//! The lines are those of llama.cpp's own sources at the pinned version; older and newer ones say the same words, so
//! lines are recognised by what they contain, not by where. A line that means nothing here is skipped.

use std::collections::VecDeque;

use types::{ByteCount, DeviceName, FailureClass, LoadPhase, MemoryUse};

/// How many characters of the engine's own lines go with a failure (model-server contract, `llama_log`).
const EXCERPT_CHARACTERS: usize = 2_000;
/// A line is cut here before it is looked at: nothing we look for comes later.
const LINE_CHARACTERS: usize = 400;

/// What one line tells.
#[derive(Clone, Debug, PartialEq)]
pub enum Observation {
    /// The load reached a phase.
    Phase(LoadPhase),
    /// A buffer was allocated.
    Buffer(Buffer),
    /// Tokens of context for each slot, as the engine set it up.
    ContextPerSlot(u64),
    /// It listens and the model is loaded.
    Listening,
    /// Its port was taken by someone else.
    PortTaken,
    /// A sign of what went wrong.
    Sign(FailureClass),
}

/// A buffer that the engine allocated.
#[derive(Clone, Debug, PartialEq)]
pub struct Buffer {
    /// Where.
    pub device: DeviceName,
    /// What for.
    pub kind: BufferKind,
    /// How much.
    pub size: ByteCount,
}

/// What a buffer is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BufferKind {
    /// Weights.
    Model,
    /// KV cache or recurrent state.
    Kv,
    /// Compute and output.
    Compute,
}

impl Buffer {
    /// Adds it to what an instance holds.
    pub fn add_to(&self, memory: &mut MemoryUse) {
        let entry = memory.entry(self.device.clone());
        let field = match self.kind {
            BufferKind::Model => &mut entry.model,
            BufferKind::Kv => &mut entry.kv,
            BufferKind::Compute => &mut entry.compute,
        };
        *field += self.size;
    }
}

/// What `line` tells, if it tells anything.
pub fn observe(line: &str) -> Option<Observation> {
    if let Some(buffer) = buffer(line) {
        return Some(Observation::Buffer(buffer));
    }
    if line.contains("couldn't bind") {
        return Some(Observation::PortTaken);
    }
    if let Some(class) = sign(line) {
        return Some(Observation::Sign(class));
    }
    if line.contains("listening on http") {
        return Some(Observation::Listening);
    }
    if line.contains("n_ctx_slot = ") || line.contains("n_ctx_seq  ") {
        return number_after(line, "= ", line.find("n_ctx_s")?).map(Observation::ContextPerSlot);
    }
    const PHASES: &[(&str, LoadPhase)] = &[
        ("loading model '", LoadPhase::Metadata),
        ("load_tensors: loading model tensors", LoadPhase::Weights),
        ("constructing llama_context", LoadPhase::Context),
        ("warming up the model", LoadPhase::WarmUp),
    ];
    PHASES.iter().find(|(words, _)| line.contains(words)).map(|&(_, phase)| Observation::Phase(phase))
}

/// `…:   CPU_Mapped model buffer size =    92.10 MiB`
fn buffer(line: &str) -> Option<Buffer> {
    const KINDS: &[(&str, BufferKind)] = &[
        (" model buffer size", BufferKind::Model),
        (" KV buffer size", BufferKind::Kv),
        (" RS buffer size", BufferKind::Kv),
        (" state buffer size", BufferKind::Kv),
        (" compute buffer size", BufferKind::Compute),
        (" output buffer size", BufferKind::Compute),
        (" LoRA buffer size", BufferKind::Model),
    ];
    let (at, kind) = KINDS.iter().find_map(|&(words, kind)| Some((line.find(words)?, kind)))?;
    // `… compute buffer size is 12.0 MiB, matches expectation …` repeats what was said before.
    let size = line[at..].split_once('=')?.1.trim().strip_suffix("MiB")?.trim().parse().ok()?;
    let device = device_of(line[..at].split(": ").last()?.split_whitespace().next()?);
    Some(Buffer { device, kind, size: ByteCount::from_mib_f64(size) })
}

/// The device behind a buffer's name: `CPU_Mapped`, `CPU_REPACK` and `CUDA_Host` lie in RAM, `CUDA0` on a GPU,
/// `CUDA0_Split` on several of which it names the first, `MTL0_Mapped` on Metal.
fn device_of(buffer: &str) -> DeviceName {
    if buffer.starts_with("CPU") || buffer.ends_with("_Host") || buffer == "BLAS" || buffer == "AMX" {
        return DeviceName::cpu();
    }
    DeviceName::new(buffer.split('_').next().unwrap_or(buffer))
}

/// The class that a line is a sign of. The first that matches wins; order is from the most to the least telling.
fn sign(line: &str) -> Option<FailureClass> {
    use FailureClass::{
        BackendError, ContextTooLarge, FileCorrupt, FileNotFound, InsufficientRam, InsufficientVram, UnsupportedArch,
    };
    const SIGNS: &[(&str, FailureClass)] = &[
        ("no such file or directory", FileNotFound),
        ("failed to open gguf file", FileNotFound),
        ("invalid magic", FileCorrupt),
        ("bad magic", FileCorrupt),
        ("failed to read magic", FileCorrupt),
        ("failed to read header", FileCorrupt),
        ("failed to read key-value pairs", FileCorrupt),
        ("failed to read tensor", FileCorrupt),
        ("is not within the file bounds", FileCorrupt),
        ("model is corrupted or incomplete", FileCorrupt),
        ("unexpectedly reached end of file", FileCorrupt),
        ("bad gguf version", FileCorrupt),
        ("only supports up to version", UnsupportedArch),
        ("no longer supported", FileCorrupt),
        ("mismatch between the host and model endianness", FileCorrupt),
        ("but must be in [0", FileCorrupt),
        ("exceeds maximum", FileCorrupt),
        ("has invalid", FileCorrupt),
        ("check_tensor_dims", FileCorrupt),
        ("unknown model architecture", UnsupportedArch),
        ("unsupported model architecture", UnsupportedArch),
        ("clip cannot be used as main model", UnsupportedArch),
        ("unknown pre-tokenizer type", UnsupportedArch),
        ("cudamalloc failed", InsufficientVram),
        ("out of device memory", InsufficientVram),
        ("erroroutofdevicememory", InsufficientVram),
        ("cuda error: out of memory", InsufficientVram),
        ("kiogpucommandbuffercallbackerroroutofmemory", InsufficientVram),
        ("insufficient memory (attempted to allocate", InsufficientRam),
        ("failed to allocate cpu buffer", InsufficientRam),
        ("std::bad_alloc", InsufficientRam),
        ("cannot allocate memory", InsufficientRam),
        ("n_ctx is too large", ContextTooLarge),
        ("failed to allocate buffer for kv cache", InsufficientRam),
        ("unable to allocate", InsufficientVram),
        ("failed to allocate", InsufficientVram),
        ("error loading model", BackendError),
        ("failed to load model", BackendError),
        ("error while handling argument", BackendError),
        ("error: invalid argument", BackendError),
        ("ggml_assert", BackendError),
        ("cuda error", BackendError),
    ];
    let line = line.to_ascii_lowercase();
    SIGNS.iter().find(|(words, _)| line.contains(words)).map(|&(_, class)| class)
}

fn number_after(line: &str, mark: &str, from: usize) -> Option<u64> {
    let rest = &line[from..];
    let digits = rest[rest.find(mark)? + mark.len()..].trim_start();
    let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
    digits[..end].parse().ok()
}

/// Gathers an engine's output while it runs, and says at its end what went wrong. Bounded.
#[derive(Clone, Debug)]
pub struct Diagnosis {
    observe: fn(&str) -> Option<Observation>,
    first_sign: Option<FailureClass>,
    signs: VecDeque<String>,
    tail: VecDeque<String>,
    /// Weights in the mapped file.
    mapped: ByteCount,
    /// Weights rearranged for this CPU.
    rearranged: ByteCount,
}

impl Default for Diagnosis {
    fn default() -> Self {
        Self::by(observe)
    }
}

impl Diagnosis {
    /// One that understands lines by another rule than `llama-server`'s.
    pub(crate) fn by(observe: fn(&str) -> Option<Observation>) -> Self {
        Self {
            observe,
            first_sign: None,
            signs: VecDeque::new(),
            tail: VecDeque::new(),
            mapped: ByteCount::ZERO,
            rearranged: ByteCount::ZERO,
        }
    }

    /// Takes one more line and tells what it means.
    pub fn read(&mut self, line: &str) -> Option<Observation> {
        let line = clip(line);
        let mut observation = (self.observe)(line);
        if let Some(Observation::Buffer(buffer)) = &mut observation {
            self.count_once(line, buffer);
        }
        if let Some(Observation::Sign(class)) = observation {
            // The first sign is the cause; what follows are its consequences, except that a general one gives way.
            let general = FailureClass::BackendError;
            if self.first_sign.is_none_or(|first| first == general && class != general) {
                self.first_sign = Some(class);
            }
            push_bounded(&mut self.signs, line, 12);
        }
        push_bounded(&mut self.tail, line, 12);
        observation
    }

    /// Weights that are rearranged for this CPU lie in a buffer of their own, and their pages of the mapped file are not
    /// needed any more: what is reported for both is one and the same, as far as the smaller goes.
    fn count_once(&mut self, line: &str, buffer: &mut Buffer) {
        let before = self.mapped.max(self.rearranged);
        if line.contains("CPU_Mapped model buffer") {
            self.mapped += buffer.size;
        } else if line.contains("CPU_REPACK model buffer") {
            self.rearranged += buffer.size;
        } else {
            return;
        }
        buffer.size = self.mapped.max(self.rearranged).saturating_sub(before);
    }

    /// The class of the failure, as far as the output tells.
    pub fn class(&self) -> Option<FailureClass> {
        self.first_sign
    }

    /// The engine's own telling lines, else its last ones, oldest first, at most 2,000 characters.
    pub fn excerpt(&self) -> String {
        let lines = if self.signs.is_empty() { &self.tail } else { &self.signs };
        let mut excerpt = String::new();
        for line in lines {
            if excerpt.chars().count() + line.chars().count() >= EXCERPT_CHARACTERS {
                break;
            }
            if !excerpt.is_empty() {
                excerpt.push('\n');
            }
            excerpt.push_str(line);
        }
        excerpt
    }

    /// The most telling line without its time stamp, for a message.
    pub fn cause(&self) -> Option<&str> {
        let wanted = self.first_sign?;
        let line = self.signs.iter().find(|line| (self.observe)(line) == Some(Observation::Sign(wanted)))?;
        Some(without_prefix(line))
    }
}

/// `0.00.003.856 E gguf_init_from_file: failed …` without time and level.
fn without_prefix(line: &str) -> &str {
    let mut words = line.splitn(3, ' ');
    match (words.next(), words.next(), words.next()) {
        (Some(time), Some(level), Some(rest))
            if level.len() == 1 && time.chars().all(|c| c.is_ascii_digit() || c == '.') =>
        {
            rest.trim()
        }
        _ => line.trim(),
    }
}

fn clip(line: &str) -> &str {
    match line.char_indices().nth(LINE_CHARACTERS) {
        Some((end, _)) => &line[..end],
        None => line,
    }
}

fn push_bounded(lines: &mut VecDeque<String>, line: &str, bound: usize) {
    if lines.len() == bound {
        lines.pop_front();
    }
    lines.push_back(line.to_owned());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &str, expected: Option<Observation>) {
        assert_eq!(observe(line), expected, "{line}");
    }

    fn buffer(device: &str, kind: BufferKind, mib: f64) -> Option<Observation> {
        let (device, size) = (DeviceName::new(device), ByteCount::from_mib_f64(mib));
        Some(Observation::Buffer(Buffer { device, kind, size }))
    }

    #[test]
    fn reads_buffers_by_device_and_kind() {
        use BufferKind::{Compute, Kv, Model};
        check(
            "0.00.090.892 I load_tensors:   CPU_Mapped model buffer size =    92.10 MiB",
            buffer("CPU", Model, 92.10),
        );
        check(
            "0.00.091.846 I llama_context:        CPU  output buffer size =     0.38 MiB",
            buffer("CPU", Compute, 0.38),
        );
        check("0.00.091.929 I llama_kv_cache:        CPU KV buffer size =    90.00 MiB", buffer("CPU", Kv, 90.0));
        check("sched_reserve:      CUDA0 compute buffer size =   304.00 MiB", buffer("CUDA0", Compute, 304.0));
        check("sched_reserve:  CUDA_Host compute buffer size =    16.01 MiB", buffer("CPU", Compute, 16.01));
        check("load_tensors:        CUDA1 model buffer size =  4096.00 MiB", buffer("CUDA1", Model, 4096.0));
        check("load_tensors:  MTL0_Mapped model buffer size =  4096.00 MiB", buffer("MTL0", Model, 4096.0));
        check("llama_memory_recurrent:        CPU RS buffer size =     2.00 MiB", buffer("CPU", Kv, 2.0));
        check("foo: CPU compute buffer size is 12.0000 MiB, matches expectation of 12.0000 MiB", None);
    }

    #[test]
    fn rearranged_weights_are_counted_once() {
        let held = |lines: &[&str]| {
            let (mut diagnosis, mut memory) = (Diagnosis::default(), MemoryUse::default());
            for line in lines {
                if let Some(Observation::Buffer(buffer)) = diagnosis.read(line) {
                    buffer.add_to(&mut memory);
                }
            }
            memory.on(&DeviceName::cpu()).as_mib_ceil()
        };
        let mapped = "load_tensors:   CPU_Mapped model buffer size =    16.00 MiB";
        let plain = "load_tensors:          CPU model buffer size =     2.00 MiB";
        let rearranged = "load_tensors:   CPU_REPACK model buffer size =    18.00 MiB";
        assert_eq!(held(&[mapped, rearranged]), 18);
        assert_eq!(held(&[rearranged, mapped]), 18);
        assert_eq!(held(&[mapped, mapped, rearranged]), 32);
        assert_eq!(held(&[plain, rearranged]), 20, "without a mapped file both are needed");
    }

    #[test]
    fn reads_phases_and_readiness() {
        use LoadPhase::{Context, Metadata, WarmUp, Weights};
        let phase = |phase| Some(Observation::Phase(phase));
        check("0.00.004.282 I srv    load_model: loading model '/m.gguf'", phase(Metadata));
        check("load_tensors: loading model tensors, this can take a while... (load_mode = mmap)", phase(Weights));
        check("0.00.091.819 I llama_context: constructing llama_context", phase(Context));
        check("common_init_: warming up the model with an empty run - please wait ...", phase(WarmUp));
        check("0.00.162.950 I srv  llama_server: listening on http://127.0.0.1:18111", Some(Observation::Listening));
        check(
            "main: server is listening on http://127.0.0.1:8080 - starting the main loop",
            Some(Observation::Listening),
        );
        check(
            "srv    load_model: initializing, n_slots = 2, n_ctx_slot = 2048, kv_unified = 'false'",
            Some(Observation::ContextPerSlot(2048)),
        );
        check(
            "srv start: couldn't bind HTTP server socket, hostname: 127.0.0.1, port: 1",
            Some(Observation::PortTaken),
        );
    }

    fn check_class(output: &str, expected: Option<FailureClass>) {
        let mut diagnosis = Diagnosis::default();
        for line in output.lines() {
            diagnosis.read(line);
        }
        assert_eq!(diagnosis.class(), expected, "{output}");
    }

    #[test]
    fn the_first_telling_line_decides_the_class() {
        check_class(
            "E gguf_init_from_file: failed to open GGUF file '/nope.gguf' (No such file or directory)\n\
             E llama_model_load: error loading model: llama_model_loader: failed to load model from /nope.gguf",
            Some(FailureClass::FileNotFound),
        );
        check_class(
            "E llama_model_load: error loading model: tensor 'blk.11.ffn_up.weight' data is not within the file bounds, \
             model is corrupted or incomplete\nE llama_model_load_from_file_impl: failed to load model",
            Some(FailureClass::FileCorrupt),
        );
        check_class(
            "E gguf_init_from_reader: invalid magic characters: 'hell', expected 'GGUF'",
            Some(FailureClass::FileCorrupt),
        );
        check_class(
            "E llama_model_load: error loading model: unknown model architecture: 'qwen99'",
            Some(FailureClass::UnsupportedArch),
        );
        check_class(
            "E ggml_aligned_malloc: insufficient memory (attempted to allocate 2197265.62 MB)\n\
             E llama_init_from_model: failed to initialize the context: failed to allocate buffer for kv cache",
            Some(FailureClass::InsufficientRam),
        );
        check_class(
            "ggml_backend_cuda_buffer_type_alloc_buffer: allocating 9000.00 MiB on device 0: cudaMalloc failed: out of memory",
            Some(FailureClass::InsufficientVram),
        );
        check_class(
            "E gguf_init_from_reader: this GGUF file is version 9 but this software only supports up to version 3\n\
             E gguf_init_from_file_ptr: failed to read header",
            Some(FailureClass::UnsupportedArch),
        );
        check_class("E srv load_model: failed to load model, 'x'", Some(FailureClass::BackendError));
        check_class("I srv llama_server: initializing ...", None);
    }

    #[test]
    fn the_excerpt_is_bounded_and_telling() {
        let mut diagnosis = Diagnosis::default();
        for number in 0..1000 {
            diagnosis.read(&format!("0.00.000.000 I noise {number} {}", "x".repeat(1000)));
        }
        diagnosis
            .read("0.00.003.856 E gguf_init_from_file: failed to open GGUF file '/nope' (No such file or directory)");
        assert_eq!(
            diagnosis.cause(),
            Some("gguf_init_from_file: failed to open GGUF file '/nope' (No such file or directory)")
        );
        assert!(diagnosis.excerpt().contains("/nope") && !diagnosis.excerpt().contains("noise"));
        assert!(diagnosis.excerpt().chars().count() <= EXCERPT_CHARACTERS);
    }
}
