//! How one configuration differs from another, key by key.

use crate::Config;
use crate::section::Section;
use crate::sections::{
    Engine, FolderKeys, Gateway, Hardware, Library, Logging, Node, RequestLog, Server, Storage, Tracing,
};

/// The lists of tables; of each, any change is one of the whole.
const LISTS: [&str; 3] = ["models", "providers", "routes"];

impl Config {
    /// The paths of the keys that `newer` has otherwise, such as `port`, `engine.slots` and `models`, in the order of
    /// the file. Folders are compared as they were resolved.
    pub fn changes(&self, newer: &Self) -> Vec<String> {
        let folders = [
            ("data_dir", self.folders.data == newer.folders.data),
            ("models_dir", self.folders.models == newer.folders.models),
            ("hf_cache", self.folders.hf_cache == newer.folders.hf_cache),
        ];
        let lists = [
            (LISTS[0], self.models == newer.models),
            (LISTS[1], self.providers == newer.providers),
            (LISTS[2], self.routes == newer.routes),
        ];
        let others = |pairs: [(&'static str, bool); 3]| {
            pairs.into_iter().filter_map(|(name, is_same)| (!is_same).then(|| name.to_owned()))
        };
        let mut changes: Vec<String> = below("", &self.server.changes(&newer.server)).collect();
        changes.extend(others(folders));
        changes.extend(below("", &self.library.changes(&newer.library)));
        // What the file holds counts, wherever it lies.
        if self.models_yaml != newer.models_yaml && self.library.models_yaml == newer.library.models_yaml {
            changes.push("models_yaml".to_owned());
        }
        changes.extend(below("", &self.node.changes(&newer.node)));
        changes.extend(below("engine.", &self.engine.changes(&newer.engine)));
        changes.extend(below("gateway.", &self.gateway.changes(&newer.gateway)));
        changes.extend(below("storage.", &self.storage.changes(&newer.storage)));
        changes.extend(below("hardware.", &self.hardware.changes(&newer.hardware)));
        changes.extend(below("logging.", &self.logging.changes(&newer.logging)));
        changes.extend(below("request_log.", &self.request_log.changes(&newer.request_log)));
        changes.extend(below("tracing.", &self.tracing.changes(&newer.tracing)));
        changes.extend(others(lists));
        changes
    }

    /// The paths of all keys, those of the lists of tables as one each.
    pub fn keys() -> impl Iterator<Item = String> {
        below("", Server::KEYS)
            .chain(below("", FolderKeys::KEYS))
            .chain(below("", Library::KEYS))
            .chain(below("", Node::KEYS))
            .chain(below("engine.", Engine::KEYS))
            .chain(below("gateway.", Gateway::KEYS))
            .chain(below("storage.", Storage::KEYS))
            .chain(below("hardware.", Hardware::KEYS))
            .chain(below("logging.", Logging::KEYS))
            .chain(below("request_log.", RequestLog::KEYS))
            .chain(below("tracing.", Tracing::KEYS))
            .chain(below("", &LISTS))
    }
}

fn below(table: &str, keys: &[&str]) -> impl Iterator<Item = String> {
    keys.iter().map(|key| format!("{table}{key}")).collect::<Vec<_>>().into_iter()
}
