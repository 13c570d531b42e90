//! `snug keys`: who may use the models.

use api::{ApiKey, ApiKeyLimits, CreateApiKeyRequest};
use client::Client;

use crate::args::{KeyArgs, KeysAction};
use crate::failure::Failure;
use crate::printer::Printer;
use crate::table::{Column, Table};

/// Lists keys, makes one or deletes one.
pub(crate) async fn run(action: Option<KeysAction>, client: &Client, printer: &Printer) -> Result<(), Failure> {
    match action {
        None => list(client, printer).await,
        Some(KeysAction::Add(args)) => add(*args, client, printer).await,
        Some(KeysAction::Rm { id }) => rm(id, client, printer).await,
    }
}

async fn list(client: &Client, printer: &Printer) -> Result<(), Failure> {
    let keys = client.api_keys().await?;
    let mut table = Table::new(&[
        ("ID", Column::Name),
        ("LABEL", Column::Name),
        ("KEY", Column::Name),
        ("EXPIRES", Column::Text),
        ("LAST USED", Column::Text),
        ("MAY USE", Column::Text),
        ("LIMITS", Column::Text),
        ("OWNER", Column::Text),
    ]);
    for key in &keys {
        table.row([
            key.id.to_string(),
            key.label.clone(),
            format!("{}…", key.prefix),
            key.expires_at.clone().unwrap_or_else(|| "never".to_owned()),
            key.last_used_at.clone().unwrap_or_else(|| "never".to_owned()),
            scope(key),
            limits(&key.limits),
            key.owner.clone().unwrap_or_else(|| "-".to_owned()),
        ]);
    }
    if !keys.iter().any(|key| key.expires_at.is_none()) {
        printer.note("there is no permanent API key, and without one models may be used without a key");
    }
    Ok(printer.table(&keys, &table)?)
}

async fn add(args: KeyArgs, client: &Client, printer: &Printer) -> Result<(), Failure> {
    let limits = ApiKeyLimits {
        requests_per_minute: args.rpm,
        tokens_per_minute: args.tpm,
        tokens_per_day: args.tokens_per_day,
        max_in_flight: args.max_in_flight,
    };
    let request = CreateApiKeyRequest {
        label: args.label,
        ttl_seconds: args.ttl.map(|ttl| ttl.as_secs()),
        deployment_ids: args.deployments,
        models: args.models,
        endpoints: args.endpoints,
        owner: args.owner,
        limits: (limits != ApiKeyLimits::default()).then_some(limits),
    };
    let created = client.create_api_key(&request).await?;
    printer.data(&created, || format!("{}\n", created.key))?;
    printer.note("that is the key; it is shown this once, for snug keeps only its hash");
    Ok(())
}

async fn rm(id: i64, client: &Client, printer: &Printer) -> Result<(), Failure> {
    client.delete_api_key(id).await?;
    let deleted = serde_json::json!({ "id": id, "status": "deleted" });
    Ok(printer.data(&deleted, || format!("API key {id} deleted\n"))?)
}

/// What a key may be used for, in few words.
fn scope(key: &ApiKey) -> String {
    let named = |list: &Option<Vec<String>>| list.as_ref().map(|names| names.join(","));
    let deployments = key.deployment_ids.as_ref().map(|ids| {
        let ids: Vec<String> = ids.iter().map(|id| format!("deployment {id}")).collect();
        ids.join(",")
    });
    let parts = [named(&key.models), deployments, named(&key.endpoints).map(|names| format!("by {names}"))];
    match (&parts, parts.iter().flatten().all(String::is_empty)) {
        ([None, None, None], _) => "everything".to_owned(),
        (_, true) => "nothing".to_owned(),
        _ => parts.into_iter().flatten().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" "),
    }
}

fn limits(limits: &ApiKeyLimits) -> String {
    let parts = [
        (limits.requests_per_minute, "requests/min"),
        (limits.tokens_per_minute, "tokens/min"),
        (limits.tokens_per_day, "tokens/day"),
        (limits.max_in_flight, "at once"),
    ];
    let parts: Vec<String> = parts.into_iter().filter_map(|(limit, unit)| Some(format!("{} {unit}", limit?))).collect();
    if parts.is_empty() { "-".to_owned() } else { parts.join(", ") }
}
