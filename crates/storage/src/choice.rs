//! Which variant is fetched where nobody says which. Pure.

use catalog::names::everyday_rank;
use types::{ByteCount, Variant};

/// A variant that could be fetched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Offer {
    pub(crate) variant: Variant,
    /// What its weights take, on disk as in memory; `None` where nobody said.
    pub(crate) size: Option<ByteCount>,
}

/// What models may use of this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Memory {
    pub(crate) accelerators: ByteCount,
    pub(crate) ram: ByteCount,
}

/// Beside its weights a model needs a cache and buffers: about an eighth as much with the context that is usual.
fn fits(size: ByteCount, memory: ByteCount) -> bool {
    ByteCount::bytes(size.as_u64() / 8 * 9) <= memory
}

/// The best quality that fits: into the accelerators if any variant does, else into RAM. What is largest is best. Where
/// nothing fits the smallest; where nobody said how large they are, the one that people usually want.
pub(crate) fn best(offers: &[Offer], memory: Memory) -> Option<usize> {
    let known = || offers.iter().enumerate().filter_map(|(index, offer)| Some((index, offer.size?)));
    let largest = |memory| known().filter(|(_, size)| fits(*size, memory)).max_by_key(|(_, size)| *size);
    largest(memory.accelerators)
        .or_else(|| largest(memory.ram))
        .or_else(|| known().min_by_key(|(_, size)| *size))
        .map(|(index, _)| index)
        .or_else(|| usual(offers))
}

/// The one that people usually want of those that fit: little loss at a small size. For downloads, which take time.
pub(crate) fn everyday(offers: &[Offer], memory: Memory) -> Option<usize> {
    let fitting = |memory: ByteCount| {
        let fits = |offer: &&(usize, &Offer)| offer.1.size.is_none_or(|size| fits(size, memory));
        offers.iter().enumerate().filter(|offer| fits(&offer)).min_by_key(|(_, offer)| everyday_rank(&offer.variant))
    };
    let smallest = || offers.iter().enumerate().min_by_key(|(_, offer)| offer.size);
    fitting(memory.accelerators).or_else(|| fitting(memory.ram)).or_else(smallest).map(|(index, _)| index)
}

fn usual(offers: &[Offer]) -> Option<usize> {
    offers.iter().enumerate().min_by_key(|(_, offer)| everyday_rank(&offer.variant)).map(|(index, _)| index)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_that_fits_is_chosen() {
        let offers: Vec<Offer> = [("Q2_K", 3), ("Q4_K_M", 5), ("Q8_0", 8), ("F16", 16)]
            .map(|(variant, gib)| Offer { variant: Variant::new(variant), size: Some(ByteCount::gib(gib)) })
            .into();
        let check = |accelerators: u64, ram: u64, expected_best: &str, expected_everyday: &str| {
            let memory = Memory { accelerators: ByteCount::gib(accelerators), ram: ByteCount::gib(ram) };
            let name = |index: Option<usize>| offers[index.unwrap()].variant.to_string();
            assert_eq!(
                (name(best(&offers, memory)).as_str(), name(everyday(&offers, memory)).as_str()),
                (expected_best, expected_everyday),
                "{memory:?}"
            );
        };
        check(24, 64, "F16", "Q4_K_M");
        check(12, 64, "Q8_0", "Q4_K_M");
        check(4, 64, "Q2_K", "Q2_K");
        check(0, 12, "Q8_0", "Q4_K_M");
        check(0, 1, "Q2_K", "Q2_K");
    }

    #[test]
    fn without_sizes_the_usual_one_is_chosen() {
        let offers: Vec<Offer> =
            ["F16", "Q4_K_M", "Q8_0"].map(|variant| Offer { variant: Variant::new(variant), size: None }).into();
        let memory = Memory { accelerators: ByteCount::ZERO, ram: ByteCount::ZERO };
        assert_eq!(best(&offers, memory), Some(1));
        assert_eq!(best(&[], memory), None);
    }
}
