//! Where a config's files are to be had, and where they lie once they are here.

use std::path::{Path, PathBuf};

use catalog::model_config::{Download, ModelConfig, VariantConfig};
use hub::cache;
use hub::download::{FileWish, Source};
use node::{Declared, Entry, Settings};
use types::Variant;

/// Folders that files go to, and which addresses are the hub's.
#[derive(Clone, Debug)]
pub(crate) struct Places {
    /// Where plain addresses go.
    pub(crate) models_dir: PathBuf,
    /// Where the hub's files go.
    pub(crate) cache: PathBuf,
    /// The hub's own address.
    pub(crate) endpoint: String,
}

impl Places {
    /// Where a download comes from: the hub's cache is shared with other programs, so its addresses go there.
    pub(crate) fn source(&self, download: &Download) -> Source {
        match self.of_hub(&download.url) {
            Some((repository, revision, path)) => Source::Hub { repository, revision, path },
            None => Source::Url { url: download.url.clone(), to: self.models_dir.join(&download.filename) },
        }
    }

    /// Where its file lies, or will.
    pub(crate) fn path(&self, download: &Download) -> PathBuf {
        let plain = self.models_dir.join(&download.filename);
        match self.of_hub(&download.url) {
            // Put there by hand, or by an earlier snug.
            Some(_) if plain.exists() => plain,
            Some((repository, revision, path)) => cache::cached(&self.cache, &repository, &revision, &path)
                .unwrap_or_else(|| {
                    self.cache.join(cache_folder(&repository)).join("snapshots").join(&revision).join(path)
                }),
            None => plain,
        }
    }

    /// What fetches a variant of a config that is not here.
    pub(crate) fn wishes(&self, variant: &VariantConfig) -> Vec<FileWish> {
        let alone = variant.files.len() == 1 && variant.mmproj.is_none();
        let wish = |download: &Download| FileWish {
            source: self.source(download),
            sha256: download.sha256.clone(),
            // What people write is rounded; it only asks for room.
            size: variant.file_size.filter(|_| alone),
        };
        variant.files.iter().chain(&variant.mmproj).map(wish).collect()
    }

    /// Repository, revision and path of an address such as `https://HUB/owner/name/resolve/main/file.gguf?download=true`.
    fn of_hub(&self, url: &str) -> Option<(String, String, String)> {
        let below = url.strip_prefix(self.endpoint.trim_end_matches('/'))?.strip_prefix('/')?;
        let below = below.split(['?', '#']).next().unwrap_or_default();
        let mut parts = below.splitn(5, '/');
        let (owner, name, resolve) = (parts.next()?, parts.next()?, parts.next()?);
        let (revision, path) = (parts.next()?, parts.next()?);
        let plain = [owner, name, revision].iter().all(|part| !part.is_empty() && !part.contains('%'));
        let is_file =
            !path.is_empty() && !path.contains('%') && !path.split('/').any(|part| matches!(part, "" | "." | ".."));
        (resolve == "resolve" && plain && is_file)
            .then(|| (format!("{owner}/{name}"), revision.to_owned(), path.to_owned()))
    }

    /// What the node is told of a config: an entry for each variant.
    pub(crate) fn entries(&self, config: &ModelConfig, defaults: &Settings) -> Vec<Entry> {
        let settings = settings(config, defaults);
        let file_path = config.file_path().map(|path| self.models_dir.join(path));
        let entry = |variant: Option<Variant>, files: Vec<PathBuf>, of: Option<&VariantConfig>| Entry {
            id: Some(config.name().to_owned()),
            variant,
            files,
            mmproj: of.and_then(|of| of.mmproj.as_ref()).map(|mmproj| self.path(mmproj)),
            provider: config.provider(),
            mode: config.written_mode(),
            context_window: config.context_window(),
            alone: false,
            settings: settings.clone(),
            declared: Declared { file_size: of.and_then(|of| of.file_size), memory: of.and_then(|of| of.min_vram) },
        };
        if !config.provider().is_local() {
            return vec![entry(None, vec![], None)];
        }
        let alone = config.variants().len() == 1;
        let of_variant = |variant: &VariantConfig| {
            let mut files: Vec<PathBuf> = variant.files.iter().map(|file| self.path(file)).collect();
            // The path written for the model is the variant's whose file it is.
            if let Some(path) = &file_path
                && (files.is_empty() || files.first().is_some_and(|first| first.file_name() == path.file_name()))
                && (alone || !files.is_empty())
            {
                files.splice(..files.len().min(1), [path.clone()]);
            }
            entry(Some(variant.quantization.clone()), files, Some(variant))
        };
        let mut entries: Vec<Entry> = config.variants().iter().map(of_variant).collect();
        let is_taken = |path: &Path| entries.iter().any(|entry| entry.files.iter().any(|file| file == path));
        if let Some(path) = file_path.filter(|path| !is_taken(path)) {
            entries.insert(0, entry(None, vec![path], None));
        }
        if entries.is_empty() {
            entries.push(entry(None, vec![], None));
        }
        entries
    }
}

/// How a model is started: as its config says, else as all are.
fn settings(config: &ModelConfig, defaults: &Settings) -> Settings {
    let options = config.runtime_options();
    let mut extra_args = defaults.extra_args.clone();
    let mut say = |argument: &str, value: Option<&str>| {
        extra_args.push(argument.to_owned());
        extra_args.extend(value.map(str::to_owned));
    };
    if let Some(on) = options.flash_attn {
        say("--flash-attn", Some(if on { "on" } else { "off" }));
    }
    if options.no_mmap == Some(true) {
        say("--no-mmap", None);
    }
    if options.swa_full == Some(true) {
        say("--swa-full", None);
    }
    if let Some(tensors) = &options.override_tensor {
        say("--override-tensor", Some(tensors));
    }
    Settings {
        gpu_layers: options.n_gpu_layers.or(defaults.gpu_layers),
        cache_type_k: options.kv_cache_type_k.unwrap_or(defaults.cache_type_k),
        cache_type_v: options.kv_cache_type_v.unwrap_or(defaults.cache_type_v),
        extra_args,
        ..defaults.clone()
    }
}

fn cache_folder(repository: &str) -> String {
    format!("models--{}", repository.replacen('/', "--", 1))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn places() -> Places {
        Places { models_dir: "/models".into(), cache: "/cache".into(), endpoint: "https://hub.example".to_owned() }
    }

    #[test]
    fn addresses_of_the_hub_are_told_from_others() {
        let check = |url: &str, expected: Option<(&str, &str, &str)>| {
            let found = places().of_hub(url);
            let found = found.as_ref().map(|(repository, revision, path)| (&**repository, &**revision, &**path));
            assert_eq!(found, expected, "{url}");
        };
        check("https://hub.example/o/n/resolve/main/m.gguf", Some(("o/n", "main", "m.gguf")));
        check("https://hub.example/o/n/resolve/v1/Q4/m.gguf?download=true", Some(("o/n", "v1", "Q4/m.gguf")));
        check("https://hub.example/o/n/blob/main/m.gguf", None);
        check("https://hub.example/o/n/resolve/main/../m.gguf", None);
        check("https://hub.example.evil/o/n/resolve/main/m.gguf", None);
        check("https://elsewhere/m.gguf", None);
    }

    #[test]
    fn the_variants_of_a_config_are_entries() {
        let check = |config: serde_json::Value, expected: &[(&str, &str)]| {
            let config = ModelConfig::new(&config).unwrap();
            let entries = places().entries(&config, &Settings::default());
            let seen: Vec<(String, String)> = entries
                .iter()
                .map(|entry| {
                    let files: Vec<_> = entry.files.iter().map(|file| file.display().to_string()).collect();
                    (entry.variant.as_ref().map(ToString::to_string).unwrap_or_default(), files.join(" "))
                })
                .collect();
            let expected: Vec<_> = expected.iter().map(|&(v, f)| (v.to_owned(), f.to_owned())).collect();
            assert_eq!(seen, expected);
        };
        let url = |name: &str| json!({ "url": format!("http://files/{name}"), "filename": name });
        check(json!({ "model": "m", "provider": "openai" }), &[("", "")]);
        check(json!({ "model": "m", "provider": "llama" }), &[("", "")]);
        check(json!({ "model": "m", "provider": "llama", "file_path": "/srv/m.gguf" }), &[("", "/srv/m.gguf")]);
        check(
            json!({ "model": "m", "provider": "llama", "file_path": "/srv/m-Q4_0.gguf",
                "variants": [{ "quantization": "Q4_0", "download": url("m-Q4_0.gguf") },
                    { "quantization": "Q8_0", "download": url("m-Q8_0.gguf") }] }),
            &[("Q4_0", "/srv/m-Q4_0.gguf"), ("Q8_0", "/models/m-Q8_0.gguf")],
        );
        check(
            json!({ "model": "m", "provider": "llama",
                "variants": [{ "quantization": "F16", "files": [url("m-1.gguf"), url("m-2.gguf")] }] }),
            &[("F16", "/models/m-1.gguf /models/m-2.gguf")],
        );
        check(
            json!({ "model": "m", "provider": "llama", "file_path": "/srv/m.gguf",
                "variants": [{ "quantization": "Q4_0" }] }),
            &[("Q4_0", "/srv/m.gguf")],
        );
    }
}
