//! The catalogue's files in the data folder: what the last update wrote, and what the user wrote.

use std::fs;
use std::io::{self, Read, Write};
use std::path::Path;

use crate::error::Error;

/// The file that an update writes, in the data folder.
pub const CATALOGUE_FILE: &str = "catalogue.toml";

/// The folder with the user's own files, in the data folder.
pub const USER_FOLDER: &str = "catalogue.d";

/// No file of rows is longer: five thousand rows take three megabytes.
const FILE_BYTES_MAX: u64 = 32 << 20;

/// Files of the user's that are read.
const FILES_MAX: usize = 256;

/// The files that lie over the embedded catalogue, in the order in which they are to be added: the last update's first,
/// then the user's by name. With each its name and text; and notes on what could not be read.
pub fn overlay(data_folder: &Path) -> (Vec<(String, String)>, Vec<String>) {
    let (mut files, mut notes) = (vec![], vec![]);
    let mut add = |path: &Path, name: String| match read(path) {
        Ok(text) => files.push((name, text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => notes.push(format!("{} is left out: {error}", path.display())),
    };
    add(&data_folder.join(CATALOGUE_FILE), CATALOGUE_FILE.to_owned());
    let folder = data_folder.join(USER_FOLDER);
    let mut names: Vec<String> = fs::read_dir(&folder)
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| name.ends_with(".toml") && !name.starts_with('.'))
        .collect();
    names.sort();
    for name in names.iter().take(FILES_MAX) {
        add(&folder.join(name), format!("{USER_FOLDER}/{name}"));
    }
    if names.len() > FILES_MAX {
        notes.push(format!("{} has {} files; the first {FILES_MAX} are read", folder.display(), names.len()));
    }
    (files, notes)
}

/// Reads a file of rows.
pub(crate) fn read(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    let file = fs::File::open(path)?;
    file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text)?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(io::Error::other(format!("it is longer than {FILE_BYTES_MAX} bytes")));
    }
    Ok(text)
}

/// Writes the update's file; who reads it sees the old one or the new one, whole.
pub(crate) fn write(data_folder: &Path, text: &str) -> Result<(), Error> {
    let path = data_folder.join(CATALOGUE_FILE);
    let written = fs::create_dir_all(data_folder)
        .and_then(|()| tempfile::Builder::new().prefix(".catalogue-").tempfile_in(data_folder))
        .and_then(|mut file| {
            file.write_all(text.as_bytes())?;
            file.as_file().sync_all()?;
            file.persist(&path).map_err(|error| error.error)
        });
    written.map(|_| ()).map_err(|source| Error::Write { path, source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_users_files_come_last_and_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path();
        assert_eq!(overlay(data), (vec![], vec![]));
        write(data, "updated").unwrap();
        fs::create_dir(data.join(USER_FOLDER)).unwrap();
        for (name, text) in [("b.toml", "b"), ("a.toml", "a"), ("notes.txt", "x"), (".hidden.toml", "x")] {
            fs::write(data.join(USER_FOLDER).join(name), text).unwrap();
        }
        fs::write(data.join(USER_FOLDER).join("c.toml"), [0xff, 0xfe]).unwrap();
        let (files, notes) = overlay(data);
        let seen: Vec<(&str, &str)> = files.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
        assert_eq!(seen, [("catalogue.toml", "updated"), ("catalogue.d/a.toml", "a"), ("catalogue.d/b.toml", "b")]);
        assert!(notes.len() == 1 && notes[0].contains("c.toml is left out"), "{notes:?}");
        let left = fs::read_dir(data).unwrap().count();
        assert_eq!(left, 2, "no temporary file is left");
    }
}
