//! What follows from one configuration after another. Pure.

use std::collections::BTreeSet;

use config::Config;

/// Who has to know of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Part {
    /// Our own log.
    Level,
    /// What the gateway refuses to exceed.
    Limits,
    /// Which web pages may read answers, and manage models.
    Sites,
    /// How models are started whose config was given over the API or in a file of its own. Before the node, which is told
    /// of them.
    Defaults,
    /// Models, and how they share this machine.
    Node,
    /// Whoever looks at the configuration that is in force.
    Seen,
}

/// What is to be done.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    /// What changed and counts at once, by its path: `engine.slots`, `models`.
    pub(super) keys: Vec<String>,
    /// Who takes it, in this order.
    pub(super) parts: BTreeSet<Part>,
    /// What changed and counts from the next start on.
    pub(super) at_restart: Vec<String>,
}

impl Plan {
    /// What makes `newer` of `older`.
    pub(super) fn between(older: &Config, newer: &Config) -> Self {
        let mut plan = Self::default();
        for key in older.changes(newer) {
            match parts(&key) {
                [] => plan.at_restart.push(key),
                parts => {
                    plan.parts.extend(parts);
                    plan.keys.push(key);
                }
            }
        }
        plan
    }
}

/// Who takes a key while snug runs; nobody where it needs a restart, as it does until somebody says otherwise here.
fn parts(key: &str) -> &'static [Part] {
    match key {
        "logging.level" => &[Part::Level],
        "cors_origins" => &[Part::Sites],
        "gateway.max_body" | "gateway.engine_idle_timeout" | "gateway.max_queued" | "gateway.queue_wait" => {
            &[Part::Limits]
        }
        "gateway.max_in_flight"
        | "gateway.max_waiting"
        | "gateway.max_wait"
        | "idle_unload"
        | "max_loaded_models"
        | "default_variant"
        | "models"
        | "models_yaml" => &[Part::Node],
        "engine.context"
        | "engine.slots"
        | "engine.gpu_layers"
        | "engine.cache_type_k"
        | "engine.cache_type_v"
        | "engine.extra_args" => &[Part::Defaults, Part::Node],
        "engine.load_timeout"
        | "engine.stop_timeout"
        | "engine.max_restarts"
        | "engine.restart_backoff"
        | "engine.log_max_bytes" => &[Part::Node],
        "providers" | "routes" | "gateway.shutdown_grace" | "keep_engines" => &[Part::Seen],
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    use config::Sources;

    use super::*;

    fn config(text: &str) -> Config {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("snug.toml");
        std::fs::write(&file, text).unwrap();
        let environment = [("HOME".to_owned(), "/home/ada".to_owned())].into();
        Config::load(&Sources { file: Some(file), environment, current_dir: "/".into(), ..Sources::default() }).unwrap()
    }

    /// What follows from one file after another: the keys that count at once, who takes them, the keys that do not.
    #[track_caller]
    fn check(older: &str, newer: &str, (keys, parts, at_restart): (&str, &[Part], &str)) {
        let plan = Plan::between(&config(older), &config(newer));
        let told = (plan.keys.join(" "), plan.parts.iter().copied().collect::<Vec<_>>(), plan.at_restart.join(" "));
        assert_eq!(told, (keys.to_owned(), parts.to_vec(), at_restart.to_owned()), "{older:?} -> {newer:?}");
    }

    #[test]
    fn what_changed_and_who_has_to_know() {
        use Part::{Defaults, Level, Limits, Node, Seen, Sites};
        check("", "", ("", &[], ""));
        check("port = 8787", "", ("", &[], ""));
        check("", "port = 1", ("", &[], "port"));
        check("", "host = \"::1\"\ndata_dir = \"/d\"", ("", &[], "host data_dir models_dir"));
        check("", "[logging]\nlevel = \"debug\"", ("logging.level", &[Level], ""));
        check("", "[logging]\nlevel = \"debug\"\nformat = \"json\"", ("logging.level", &[Level], "logging.format"));
        check("cors_origins = []", "", ("cors_origins", &[Sites], ""));
        check("", "[gateway]\nmax_body = \"1M\"", ("gateway.max_body", &[Limits], ""));
        check("", "[gateway]\nmax_in_flight = 3", ("gateway.max_in_flight", &[Node], ""));
        check("", "[gateway]\nmax_connections = 3", ("", &[], "gateway.max_connections"));
        check("", "idle_unload = \"never\"", ("idle_unload", &[Node], ""));
        check("", "[engine]\nslots = 2", ("engine.slots", &[Defaults, Node], ""));
        check(
            "",
            "[engine]\nslots = 2\nllama_server = \"/x\"",
            ("engine.slots", &[Defaults, Node], "engine.llama_server"),
        );
        let model = "[[models]]\npath = \"/a.gguf\"\n";
        check("", model, ("models", &[Node], ""));
        check(model, &format!("{model}pinned = true"), ("models", &[Node], ""));
        check("", "[[providers]]\nname = \"p\"", ("providers", &[Seen], ""));
        let key = |key: &str| format!("[[providers]]\nname = \"p\"\napi_key = \"{key}\"");
        check(&key("one"), &key("two"), ("providers", &[Seen], ""));
        check("", "[[routes]]\nid = \"r\"\nmodels = [\"m\"]", ("routes", &[Seen], ""));
        check("", "[tracing]\nsample = 0.5\n[storage]\nlimit = \"1G\"", ("", &[], "storage.limit tracing.sample"));
    }

    #[test]
    fn what_a_named_file_holds_counts() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("models.yaml");
        let load = |port: u16| {
            let entry =
                format!("backend: mlx, port: {port}, default_timeout: 1, quantization: 8bit, model_path: org/name");
            std::fs::write(&file, format!("models:\n  standard: {{id: a, {entry}}}\n")).unwrap();
            config(&format!("models_yaml = {file:?}"))
        };
        let plan = Plan::between(&load(8501), &load(8502));
        assert_eq!(
            (plan.keys, plan.parts, plan.at_restart),
            (vec!["models_yaml".to_owned()], [Part::Node].into(), vec![])
        );
    }

    #[test]
    fn every_key_that_counts_at_once_exists() {
        // A misspelt one here would silently need a restart.
        let all: Vec<String> = Config::keys().collect();
        let known = |key: &&str| all.iter().any(|one| one == *key);
        let live = [
            "logging.level",
            "cors_origins",
            "gateway.max_in_flight",
            "gateway.max_body",
            "gateway.engine_idle_timeout",
            "gateway.max_queued",
            "gateway.queue_wait",
            "gateway.max_waiting",
            "gateway.max_wait",
            "idle_unload",
            "max_loaded_models",
            "default_variant",
            "models",
            "models_yaml",
            "engine.context",
            "engine.slots",
            "engine.gpu_layers",
            "engine.cache_type_k",
            "engine.cache_type_v",
            "engine.extra_args",
            "engine.load_timeout",
            "engine.stop_timeout",
            "engine.max_restarts",
            "engine.restart_backoff",
            "engine.log_max_bytes",
            "providers",
            "routes",
            "gateway.shutdown_grace",
            "keep_engines",
        ];
        let unknown: Vec<&&str> = live.iter().filter(|key| !known(key)).collect();
        assert_eq!(unknown, Vec::<&&str>::new());
        let counted: BTreeSet<&str> = all.iter().map(String::as_str).filter(|key| !parts(key).is_empty()).collect();
        assert_eq!(counted, live.into_iter().collect());
    }
}
