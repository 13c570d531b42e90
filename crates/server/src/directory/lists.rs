//! Which models providers have that were not named: they are asked, and what they said is kept.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::reload::InForce;

use super::names;

/// What each provider said it has, by the provider's name.
pub(crate) type Lists = BTreeMap<String, Arc<[String]>>;

/// How often they are asked.
const PERIOD: Duration = Duration::from_secs(600);

/// Asks now, whenever providers change, and now and then, until `stop`. Who does not answer keeps the list it had.
pub(super) async fn keep(mut in_force: InForce, lists: watch::Sender<Lists>, stop: CancellationToken) {
    loop {
        let asked = in_force.borrow_and_update().providers.clone();
        let asking = asked.iter().filter(|provider| provider.models.is_empty()).map(async |provider| {
            let provider = names::provider(provider);
            match gateway::provider_models(&provider).await {
                Ok(models) => Some((provider.name.clone(), models.into())),
                Err(error) => {
                    tracing::warn!(provider = provider.name, "it does not tell its models: {error}");
                    None
                }
            }
        });
        let said = tokio::select! {
            () = stop.cancelled() => return,
            said = join_all(asking) => said,
        };
        lists.send_if_modified(|lists| {
            let before = lists.clone();
            lists.retain(|name, _| asked.iter().any(|provider| provider.name == *name));
            lists.extend(said.into_iter().flatten());
            *lists != before
        });
        loop {
            // Each arm waits for a change that stays until it was seen, or for a time.
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(PERIOD) => break,
                changed = in_force.changed() => match changed {
                    Ok(()) if in_force.borrow_and_update().providers != asked => break,
                    Ok(()) => {}
                    Err(_) => return,
                },
            }
        }
    }
}
