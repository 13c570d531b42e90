//! Where a model lies, when cards are filled first.

use catalog::catalogue::Model;
use catalog::quantization::Quantization;
use fit::speed::{Device, Place};
use fit::{Facts, Machine, Setting};
use types::{CacheType, DeviceName};

use super::model::Guess;

/// What lies there.
pub(super) enum Weights {
    /// A model of the catalogue: the product's own facts.
    Known(Box<Facts>),
    /// What rules of thumb make of a row, and the bytes of each parameter.
    Guessed(Guess, f64),
}

/// Where it lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Accelerator,
    Mixed,
    Cpu,
}

/// Tokens of context: those that are filled, and those that room is kept for.
#[derive(Clone, Copy)]
pub(super) struct Context {
    pub(super) filled: f64,
    pub(super) reserved: f64,
}

/// What it takes of cards, bytes.
struct OnCards {
    weights: f64,
    /// Of each card, for the engine and what it computes.
    buffers: f64,
}

/// Bytes that an engine's own buffers take of each card, for models that nobody knows.
const ENGINE: f64 = 0.7e9;

impl Weights {
    /// Of a catalogue's model, if it is stored so.
    pub(super) fn known(model: &Model, quantization: Quantization) -> Option<Self> {
        Facts::of(&model.shape, quantization).ok().map(|facts| Self::Known(Box::new(facts)))
    }

    /// In the machine's memory, `share` of it on the cards if the row says so; `None` if it is larger than that.
    pub(super) fn place(
        &self,
        machine: &Machine,
        on_cpu: bool,
        share: Option<f64>,
        context: Context,
    ) -> Option<(Vec<Place>, Kind)> {
        let ram = float(machine.ram.as_u64());
        if on_cpu || machine.accelerators.is_empty() {
            return (self.held() <= ram).then(|| (self.split(machine, 0.0, true, context.filled), Kind::Cpu));
        }
        let memory: f64 = machine.accelerators.iter().map(|card| float(card.memory.as_u64())).sum();
        let OnCards { weights, buffers } = self.on_cards(context.reserved.min(8192.0));
        let room = memory * fit::USABLE_SHARE - buffers * float(machine.accelerators.len() as u64);
        // Long contexts are shortened or quantised before weights leave the card.
        let cache = self.kept(context.reserved.min(8192.0)).min(0.1 * memory);
        let fitting = ((room - cache) / weights).clamp(0.0, 1.0);
        let on_cards = share.unwrap_or(if fitting > 0.995 { 1.0 } else { fitting });
        if (1.0 - on_cards) * self.held() > ram {
            return None;
        }
        let kind = if on_cards >= 0.995 { Kind::Accelerator } else { Kind::Mixed };
        Some((self.split(machine, on_cards, share.is_some(), context.filled), kind))
    }

    fn split(&self, machine: &Machine, on_cards: f64, by_layers: bool, filled: f64) -> Vec<Place> {
        match self {
            Self::Known(facts) => split(facts, machine, on_cards, by_layers, filled),
            Self::Guessed(guess, bytes) => guess.split(machine.accelerators.len(), on_cards, *bytes, filled),
        }
    }

    fn held(&self) -> f64 {
        match self {
            Self::Known(facts) => float(facts.weights().as_u64()),
            Self::Guessed(guess, bytes) => guess.total * bytes,
        }
    }

    /// With all layers on cards: of a known model without what stays in system memory even then.
    fn on_cards(&self, context: f64) -> OnCards {
        match self {
            Self::Known(facts) => {
                let held = fit::on_accelerator(facts, &setting(whole(context), vec![], 0)).accelerator;
                OnCards { weights: float(held.model.as_u64()).max(1.0), buffers: float(held.compute.as_u64()) }
            }
            Self::Guessed(..) => OnCards { weights: self.held(), buffers: ENGINE },
        }
    }

    fn kept(&self, tokens: f64) -> f64 {
        match self {
            Self::Known(facts) => float(facts.kept(whole(tokens), 1, CacheType::F16, CacheType::F16).as_u64()),
            Self::Guessed(guess, _) => guess.kept(tokens),
        }
    }
}

/// Of a model with experts these leave first, unless layers are meant; attention and cache stay on the cards.
fn split(facts: &Facts, machine: &Machine, on_cards: f64, by_layers: bool, filled: f64) -> Vec<Place> {
    let layers = facts.layer_count();
    let cards = machine.accelerators.len().max(1);
    let experts = float(facts.experts().as_u64());
    let out = (1.0 - on_cards) * float(facts.weights().as_u64());
    let (offloaded, experts_in_ram) = if on_cards >= 0.995 {
        (layers, 0)
    } else if !by_layers && experts > out {
        (layers, count((out / experts * f64::from(layers)).ceil()))
    } else {
        (count((on_cards * f64::from(layers)).floor()), 0)
    };
    let before = |card: usize| count((f64::from(offloaded) * float(card as u64) / float(cards as u64)).round());
    let of_cards = machine.accelerators.iter().enumerate();
    let offload = of_cards.map(|(index, card)| (card.device.clone(), before(index + 1) - before(index))).collect();
    fit::places(facts, &setting(whole(filled), offload, experts_in_ram), whole(filled), machine)
}

fn setting(context: u64, offload: Vec<(DeviceName, u32)>, experts_in_ram: u32) -> Setting {
    Setting {
        context,
        slots: 1,
        offload,
        experts_in_ram,
        cache_type_k: CacheType::F16,
        cache_type_v: CacheType::F16,
        all_outputs: false,
    }
}

impl Guess {
    fn split(&self, cards: usize, on_cards: f64, bytes: f64, filled: f64) -> Vec<Place> {
        let part = |device, held: f64, read: f64, cached: f64| Place {
            device,
            weights_read: self.active * bytes * read,
            weights_held: self.total * bytes * held,
            kv_read: self.kept(filled) * cached,
        };
        if on_cards <= 0.0 {
            return vec![part(Device::Cpu, 1.0, 1.0, 1.0)];
        }
        let each = on_cards / float(cards as u64);
        let (each_read, left_read) = self.read_shares(on_cards, each);
        // Experts leave without the cache: attention stays on the card.
        let (each_cache, left_cache) = if self.experts { (each / on_cards, 0.0) } else { (each, 1.0 - on_cards) };
        let of_cards = (0..cards).map(|card| part(Device::Accelerator(card), each, each_read, each_cache));
        let rest = (on_cards < 0.995).then(|| part(Device::Cpu, 1.0 - on_cards, left_read, left_cache));
        of_cards.chain(rest).collect()
    }

    /// Shares of what a token reads, on each card and on the processor. Of a mixture of experts, experts leave the card
    /// first: they are most of the bytes and few of them are read.
    fn read_shares(&self, on_cards: f64, each: f64) -> (f64, f64) {
        let out = 1.0 - on_cards;
        if !self.experts || on_cards >= 1.0 {
            return (each, out);
        }
        // What is not an expert is about 40 % of what a token reads.
        const SHARED: f64 = 0.4;
        let shared_of_all = SHARED * self.active / self.total;
        let experts_out = (out / (1.0 - shared_of_all)).min(1.0);
        let read_out = experts_out * (1.0 - SHARED);
        (each / on_cards * (1.0 - read_out), read_out)
    }

    fn kept(&self, tokens: f64) -> f64 {
        let (sliding, window) = self.kv_window;
        self.kv_full * tokens + sliding * tokens.min(window)
    }
}

#[expect(clippy::cast_precision_loss, reason = "sizes of memory are far below 2^53")]
fn float(number: u64) -> f64 {
    number as f64
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the cast stops at the bounds")]
fn whole(tokens: f64) -> u64 {
    (tokens as u64).max(1)
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the cast stops at the bounds")]
fn count(layers: f64) -> u32 {
    layers as u32
}
