//! A model's quantisations and the files they are made of.

use std::fmt;

use types::{ByteCount, Variant};

use super::read::Fields;
use super::text;

/// One quantisation of a model.
#[derive(Clone, Debug, PartialEq)]
pub struct VariantConfig {
    /// Its name, as written; nameless if none was.
    pub quantization: Variant,
    /// The size of its files together, as written.
    pub file_size: Option<ByteCount>,
    /// The accelerator memory that it needs, as written.
    pub min_vram: Option<ByteCount>,
    /// The accelerator memory that it runs well in, as written.
    pub recommended_vram: Option<ByteCount>,
    /// Its files, the one that is loaded first; several where it is split. From `files`, else from `download`; empty if
    /// neither was written.
    pub files: Vec<Download>,
    /// A multimodal projector for it.
    pub mmproj: Option<Download>,
}

/// A file and where it is to be had.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Download {
    /// Its address: http or https, without credentials before the host. Its query may hold some.
    pub url: String,
    /// Its SHA-256 sum, 64 hexadecimal digits in lower case.
    pub sha256: Option<String>,
    /// What it is called here: a plain name. Where none was written, the last part of the address.
    pub filename: String,
}

impl fmt::Debug for Download {
    /// Without the address's query: signed addresses carry their secret there.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Download")
            .field("url", &plain(&self.url))
            .field("sha256", &self.sha256)
            .field("filename", &self.filename)
            .finish()
    }
}

impl Download {
    /// Whether it is a multimodal projector, by its name.
    fn is_mmproj(&self) -> bool {
        self.filename.to_ascii_lowercase().contains("mmproj")
    }

    fn read(fields: &mut Fields<'_, '_>) -> Option<Self> {
        if !fields.has("url") {
            fields.bad("url", "is required");
        }
        let url = fields.text("url", text::url);
        let sha256 = fields.text("sha256", text::sha256);
        let written = fields.has("filename");
        let filename = match (fields.text("filename", text::file_name), url) {
            (None, Some(url)) if !written => {
                let last = plain(url).rsplit('/').next().filter(|_| has_path(url)).unwrap_or_default();
                let sound = text::file_name(last).is_ok();
                if !sound {
                    fields.bad("filename", "is required where the address does not end in a file's name");
                }
                sound.then_some(last)
            }
            (filename, _) => filename,
        };
        Some(Self {
            url: url?.to_owned(),
            sha256: sha256.filter(|sum| !sum.is_empty()).map(str::to_ascii_lowercase),
            filename: filename?.to_owned(),
        })
    }
}

/// An address without query and fragment.
fn plain(url: &str) -> &str {
    url.split(['?', '#']).next().unwrap_or_default()
}

fn has_path(url: &str) -> bool {
    let after_scheme = plain(url).split_once("://").map_or("", |(_, rest)| rest);
    after_scheme.contains('/')
}

/// The variants of a model config.
pub(super) fn read_all(fields: &mut Fields<'_, '_>) -> Vec<VariantConfig> {
    let own = fields.object("download").and_then(|mut download| {
        download.text("cachePath", text::path);
        // Empty texts are what some tools write where there is nothing.
        let is_written = download.value("url").is_some_and(|url| url != "");
        if is_written { Download::read(&mut download) } else { None }
    });
    let mut names: Vec<String> = Vec::new();
    let read = fields.list("variants", |fields| {
        let variant = VariantConfig::read(fields);
        let name = variant.quantization.as_str().to_ascii_lowercase();
        if let Some(first) = names.iter().position(|known| *known == name) {
            let reason = match variant.quantization.as_str() {
                "" => format!("is required: variants[{first}] has no name already"),
                name => format!("must differ from that of variants[{first}], is {name:?}"),
            };
            fields.bad("quantization", reason);
        }
        names.push(name);
        Some(variant)
    });
    let (projectors, mut variants): (Vec<_>, Vec<_>) =
        read.into_iter().flatten().partition(|variant| variant.files.is_empty() && variant.mmproj.is_some());
    let shared = projectors.into_iter().find_map(|variant| variant.mmproj);
    for variant in &mut variants {
        variant.mmproj = variant.mmproj.take().or_else(|| shared.clone());
    }
    if let (Some(file), true) = (own, variants.is_empty()) {
        let stem = file.filename.strip_suffix(".gguf").unwrap_or(&file.filename);
        let quantization = crate::name::key(stem).variant;
        variants.push(VariantConfig {
            quantization,
            file_size: None,
            min_vram: None,
            recommended_vram: None,
            files: vec![file],
            mmproj: shared,
        });
    }
    variants
}

impl VariantConfig {
    fn read(fields: &mut Fields<'_, '_>) -> Self {
        let quantization = fields.text("quantization", text::quantization).unwrap_or_default();
        let file_size = fields.mib_above_zero("file_size_mb");
        let min_vram = fields.mib_from_zero("min_vram_mb");
        let recommended_vram = fields.mib_from_zero("recommended_vram_mb");
        let download = fields.object("download").and_then(|mut download| Download::read(&mut download));
        let mmproj = fields.object("mmproj").and_then(|mut download| Download::read(&mut download));
        let files = fields.list("files", Download::read);
        for (index, file) in files.iter().enumerate() {
            let same = |other: &Option<Download>| matches!((file, other), (Some(file), Some(other)) if file.filename.eq_ignore_ascii_case(&other.filename));
            if let Some(first) = files[..index].iter().position(same) {
                fields.bad(&format!("files[{index}].filename"), format!("must differ from that of files[{first}]"));
            }
        }
        let (projectors, mut files): (Vec<_>, Vec<_>) = files.into_iter().flatten().partition(Download::is_mmproj);
        let mut mmproj = mmproj.or_else(|| projectors.into_iter().next());
        match download {
            // Listed as the only file of what is then no variant but a projector.
            Some(download) if download.is_mmproj() && files.is_empty() => mmproj = mmproj.or(Some(download)),
            Some(download) if files.is_empty() => files.push(download),
            _ => {}
        }
        Self { quantization: Variant::new(quantization), file_size, min_vram, recommended_vram, files, mmproj }
    }
}
