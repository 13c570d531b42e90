//! Where the engine program is: as configured, on PATH, or where the set-up builds it.

use std::path::{Path, PathBuf};

const PROGRAM: &str = "llama-server";

/// The `llama-server` to use: the configured one, else the first on `PATH`, else the newest that the set-up built into
/// the data folder (or, for a data folder of one's own, into the usual one).
pub(crate) fn find(configured: Option<&Path>, data_dir: &Path) -> Option<PathBuf> {
    if let Some(program) = configured {
        return Some(program.to_owned());
    }
    on_path(PROGRAM).or_else(|| built_in(data_dir)).or_else(|| built_in(&usual_data_dir()?))
}

/// The first program of this name on `PATH`.
pub(crate) fn on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|program| is_executable(program))
}

/// Versions are folders; the newest is the last by its numbers.
fn built_in(data_dir: &Path) -> Option<PathBuf> {
    let versions = std::fs::read_dir(data_dir.join("engines/llama.cpp")).ok()?;
    versions
        .filter_map(|entry| Some(entry.ok()?.path().join(PROGRAM)))
        .filter(|program| is_executable(program))
        .max_by_key(|program| version(program))
}

fn version(program: &Path) -> Vec<u64> {
    let name = program.parent().and_then(Path::file_name).unwrap_or_default().to_string_lossy();
    name.split('.').map(|part| part.parse().unwrap_or(0)).collect()
}

fn usual_data_dir() -> Option<PathBuf> {
    let given = std::env::var_os("XDG_DATA_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let base = given.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".local/share")));
    base.map(|base| base.join("snug"))
}

fn is_executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(path).is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn the_newest_build_is_taken() {
        let data = tempfile::tempdir().unwrap();
        for version in ["0.3.9", "0.3.36", "0.3.4"] {
            let folder = data.path().join("engines/llama.cpp").join(version);
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(folder.join(PROGRAM), "").unwrap();
            let mode = std::fs::Permissions::from_mode(if version == "0.3.4" { 0o644 } else { 0o755 });
            std::fs::set_permissions(folder.join(PROGRAM), mode).unwrap();
        }
        assert!(built_in(data.path()).unwrap().ends_with("0.3.36/llama-server"));
        assert_eq!(built_in(&data.path().join("nowhere")), None);
    }
}
