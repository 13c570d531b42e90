//! What ROCm's programs print. Pure: text in, values out; text that is not theirs gives nothing.

use serde_json::Value;

use crate::pci;

/// A name for the card at an address.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Named {
    pub(crate) address: String,
    pub(crate) name: String,
}

/// `amd-smi static --asic --bus --json`: a list of cards, since ROCm 6.4 under `gpu_data`.
pub(crate) fn amd_smi(json: &str) -> Vec<Named> {
    let Ok(value) = serde_json::from_str::<Value>(json) else { return vec![] };
    let list = value.as_array().or_else(|| value.get("gpu_data")?.as_array());
    let named = |card: &Value| {
        let name = card.pointer("/asic/market_name")?.as_str()?;
        let address = card.pointer("/bus/bdf")?.as_str()?;
        is_name(name).then(|| Named { address: pci::address(address), name: name.to_owned() })
    };
    list.into_iter().flatten().filter_map(named).collect()
}

/// `rocm-smi --showproductname --showbus --json`: an object with a key for each card.
pub(crate) fn rocm_smi(json: &str) -> Vec<Named> {
    // It prints warnings before the object.
    let json = json.find('{').map_or("", |start| &json[start..]);
    let Ok(Value::Object(cards)) = serde_json::from_str(json) else { return vec![] };
    let named = |card: &Value| {
        // The keys changed their capitals between versions.
        let field = |wanted: &str| {
            let (_, value) = card.as_object()?.iter().find(|(key, _)| key.eq_ignore_ascii_case(wanted))?;
            value.as_str()
        };
        let address = field("PCI Bus")?;
        let name = ["Card Series", "Card Model"].into_iter().filter_map(field).find(|name| is_name(name))?;
        Some(Named { address: pci::address(address), name: name.to_owned() })
    };
    cards.values().filter_map(named).collect()
}

/// Not `N/A`, and not the bare number `0x744c`.
fn is_name(text: &str) -> bool {
    !text.trim().is_empty() && !text.eq_ignore_ascii_case("n/a") && !text.starts_with("0x")
}
