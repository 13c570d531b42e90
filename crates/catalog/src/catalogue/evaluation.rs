//! Public evaluations: what is measured, and where its figures come from.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A result of one model.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Evaluation {
    /// What was measured.
    pub benchmark: Benchmark,
    /// Percent, 0 to 100, as the model's card or report gives it.
    pub score: f64,
}

/// A public evaluation whose result is a percentage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Benchmark {
    /// MMLU, 57 subjects (arXiv 2009.03300), 5-shot or chat.
    Mmlu,
    /// MMLU-Pro (arXiv 2406.01574).
    MmluPro,
    /// GPQA Diamond (arXiv 2311.12022).
    GpqaDiamond,
    /// `IFEval`, strict (arXiv 2311.07911).
    Ifeval,
    /// Arena-Hard (arXiv 2406.11939).
    ArenaHard,
    /// MATH or MATH-500 (arXiv 2103.03874, 2305.20050).
    Math,
    /// AIME 2025.
    Aime2025,
    /// `HumanEval`, pass@1 (arXiv 2107.03374).
    Humaneval,
    /// `LiveCodeBench`, any version from v4 (arXiv 2403.07974).
    Livecodebench,
    /// SWE-bench Verified.
    SweBenchVerified,
    /// MMMU, validation (arXiv 2311.16502).
    Mmmu,
    /// MTEB English mean (v1 or v2; arXiv 2210.07316).
    Mteb,
    /// MTEB multilingual mean (MMTEB, arXiv 2502.13595).
    MtebMultilingual,
    /// BEIR or MTEB retrieval after reranking, nDCG@10.
    Rerank,
    /// 100 minus the word error rate of the Open ASR leaderboard's mean.
    AsrAccuracy,
}

impl fmt::Display for Benchmark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Mmlu => "MMLU",
            Self::MmluPro => "MMLU-Pro",
            Self::GpqaDiamond => "GPQA Diamond",
            Self::Ifeval => "IFEval",
            Self::ArenaHard => "Arena-Hard",
            Self::Math => "MATH",
            Self::Aime2025 => "AIME 2025",
            Self::Humaneval => "HumanEval",
            Self::Livecodebench => "LiveCodeBench",
            Self::SweBenchVerified => "SWE-bench Verified",
            Self::Mmmu => "MMMU",
            Self::Mteb => "MTEB",
            Self::MtebMultilingual => "MTEB multilingual",
            Self::Rerank => "reranking",
            Self::AsrAccuracy => "ASR accuracy",
        })
    }
}
