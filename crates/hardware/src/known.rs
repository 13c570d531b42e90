//! What the table of parts knows of a card that its driver does not tell.

use types::ByteCount;

use crate::PciId;

pub(crate) fn memory(id: PciId, name: &str) -> Option<ByteCount> {
    let _ = (id, name);
    None
}
pub(crate) fn name(id: PciId, memory: ByteCount) -> Option<String> {
    let _ = (id, memory);
    None
}
