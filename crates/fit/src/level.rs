//! How well a model fits, and how it would run: the words of the fit API.

/// How much of the memory it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FitLevel {
    /// At most 60 % of the memory: room for longer contexts and other models.
    Perfect,
    /// At most 85 %.
    Good,
    /// At most 98 %: it runs, and nothing else does.
    Marginal,
    /// It does not run.
    TooTight,
}

/// Where a model lies while it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RunMode {
    /// Wholly on accelerators.
    Gpu,
    /// Routed experts in system memory, all else on accelerators.
    Moe,
    /// Some layers on accelerators, the others in system memory.
    CpuOffload,
    /// In system memory.
    CpuOnly,
}

/// Of a pool of memory, models are given at most this share: what is left is for what grows.
pub const USABLE_SHARE: f64 = 0.98;

impl FitLevel {
    /// All of them, the best first.
    pub const ALL: [Self; 4] = [Self::Perfect, Self::Good, Self::Marginal, Self::TooTight];

    /// The level of a model that takes `share` of the memory it may have, run so: at best good where the CPU computes.
    pub fn of(share: f64, mode: RunMode) -> Self {
        let by_share = match share {
            share if share <= 0.60 => Self::Perfect,
            share if share <= 0.85 => Self::Good,
            share if share <= USABLE_SHARE => Self::Marginal,
            _ => Self::TooTight,
        };
        if mode == RunMode::Gpu { by_share } else { by_share.max(Self::Good) }
    }

    /// Its code in the fit API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Perfect => "perfect",
            Self::Good => "good",
            Self::Marginal => "marginal",
            Self::TooTight => "too_tight",
        }
    }

    /// For people.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Perfect => "Perfect",
            Self::Good => "Good",
            Self::Marginal => "Marginal",
            Self::TooTight => "Too Tight",
        }
    }
}

impl RunMode {
    /// Its code in the fit API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Gpu => "gpu",
            Self::Moe => "moe",
            Self::CpuOffload => "cpu_offload",
            Self::CpuOnly => "cpu_only",
        }
    }

    /// For people.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Gpu => "GPU",
            Self::Moe => "MoE",
            Self::CpuOffload => "CPU+GPU",
            Self::CpuOnly => "CPU",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cpu_is_never_perfect() {
        for (share, gpu, cpu) in [
            (0.60, FitLevel::Perfect, FitLevel::Good),
            (0.61, FitLevel::Good, FitLevel::Good),
            (0.98, FitLevel::Marginal, FitLevel::Marginal),
            (0.981, FitLevel::TooTight, FitLevel::TooTight),
            (f64::NAN, FitLevel::TooTight, FitLevel::TooTight),
        ] {
            assert_eq!(FitLevel::of(share, RunMode::Gpu), gpu, "{share}");
            assert_eq!(FitLevel::of(share, RunMode::CpuOnly), cpu, "{share}");
        }
    }
}
