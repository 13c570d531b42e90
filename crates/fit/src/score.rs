//! One number for how much a model is worth on a machine: quality, speed, fit and context, weighted by use.

use catalog::catalogue::UseCase;

/// The four parts of a score, each 0 to 100.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Components {
    /// How good its answers are, in the chosen quantisation.
    pub quality: f64,
    /// How close its speed comes to what the use asks for.
    pub speed: f64,
    /// How much room it leaves.
    pub fit: f64,
    /// Whether its context is long enough for the use.
    pub context: f64,
}

/// Of the target speed, one part in so many is where waiting begins to be felt.
const NOTICED: f64 = 10.0;
/// Quality from which on speed, fit and context count in full.
const WORTH_HAVING: f64 = 60.0;

/// What a use asks for. Weights sum to 1; they and the targets are those of the fit API's reference.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Demand {
    quality: f64,
    speed: f64,
    fit: f64,
    context: f64,
    /// Speed at which nobody would notice more, tok/s.
    pub target_tps: f64,
    /// Context that is enough for most, tokens.
    pub target_context: u64,
}

impl Demand {
    /// What `use_case` asks for.
    pub const fn of(use_case: UseCase) -> Self {
        let (quality, speed, fit, context, target_tps, target_context) = match use_case {
            UseCase::General => (0.45, 0.30, 0.15, 0.10, 40.0, 4096),
            UseCase::Coding => (0.50, 0.20, 0.15, 0.15, 40.0, 8192),
            UseCase::Reasoning => (0.55, 0.15, 0.15, 0.15, 25.0, 8192),
            UseCase::Chat => (0.40, 0.35, 0.15, 0.10, 40.0, 4096),
            UseCase::Multimodal | UseCase::Speech => (0.50, 0.20, 0.15, 0.15, 40.0, 4096),
            // These read, ten times as fast as others write.
            UseCase::Embedding | UseCase::Rerank => (0.30, 0.40, 0.20, 0.10, 2000.0, 512),
        };
        Self { quality, speed, fit, context, target_tps, target_context }
    }

    /// The score, 0 to 100: the weighted sum, where what makes a model comfortable counts only as far as its answers are
    /// worth having. A model of half a billion parameters is not the better for answering at once.
    pub fn score(&self, components: &Components) -> f64 {
        let worth_having = (components.quality / WORTH_HAVING).clamp(0.0, 1.0);
        let comfort = self.speed * components.speed + self.fit * components.fit + self.context * components.context;
        self.quality * components.quality + comfort * worth_having
    }

    /// 100 at the target speed; below it falling with the logarithm, as speed is felt: from 10 to 20 tok/s is as much
    /// better as from 20 to 40.
    pub fn speed(&self, tps: f64) -> f64 {
        let felt = |tps: f64| (1.0 + tps / (self.target_tps / NOTICED)).ln();
        (felt(tps.max(0.0)) / felt(self.target_tps) * 100.0).clamp(0.0, 100.0)
    }

    /// 100 for a context that is enough, 70 for half of it, 30 for less.
    pub const fn context(&self, usable: u64) -> f64 {
        match usable {
            tokens if tokens >= self.target_context => 100.0,
            tokens if tokens >= self.target_context / 2 => 70.0,
            _ => 30.0,
        }
    }

    /// 100 up to 70 % of the memory, then falling as a bell with a width of 20 %.
    pub fn fit(share: f64) -> f64 {
        let over = (share - 0.7).max(0.0) / 0.2;
        100.0 * (-0.5 * over * over).exp()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_are_shares() {
        let all = Components { quality: 100.0, speed: 100.0, fit: 100.0, context: 100.0 };
        for use_case in [
            UseCase::General,
            UseCase::Coding,
            UseCase::Reasoning,
            UseCase::Chat,
            UseCase::Multimodal,
            UseCase::Embedding,
            UseCase::Rerank,
            UseCase::Speech,
        ] {
            assert!((Demand::of(use_case).score(&all) - 100.0).abs() < 1e-9, "{use_case:?}");
        }
    }

    #[test]
    fn each_part_has_its_bounds() {
        let demand = Demand::of(UseCase::Coding);
        for (tps, speed) in [(0.0, 0.0), (4.0, 28.9), (20.0, 74.7), (400.0, 100.0)] {
            assert!((demand.speed(tps) - speed).abs() < 0.1, "{}", demand.speed(tps));
        }
        for (tokens, points) in [(8192, 100.0), (8191, 70.0), (4095, 30.0)] {
            assert!((demand.context(tokens) - points).abs() < 1e-9);
        }
        for (share, points) in [(0.1, 100.0), (0.7, 100.0), (0.9, 60.65), (3.0, 0.0)] {
            assert!((Demand::fit(share) - points).abs() < 0.01);
        }
    }
}
