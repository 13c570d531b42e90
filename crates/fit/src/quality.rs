//! How good a model is, 0 to 100, from public evaluations; where there are none, from its size and age.
//!
//! Each evaluation is put on one scale by points that link its results to those of well-known models (8: a coin toss,
//! 42: Llama 3.1 8B, 62: Llama 3.3 70B, 80: DeepSeek R1, 95: the best open models of 2026), and linearly between them.
//! A model's quality for a use is the weighted mean of what was measured that says something about the use, drawn
//! towards the trend of size and age as one more, weak, piece of evidence. One that nobody evaluated is judged by its
//! kin, the evaluated models of the same shape (it is a fine-tune of one of them), or by the trend, whichever is lower. The trend is a least-squares line through the
//! catalogue's own evaluated models, so there is nothing here to keep up to date but the rows.

use std::collections::HashMap;

use catalog::catalogue::{Benchmark, Capability, Evaluation, Model, UseCase};
use catalog::quantization::Quantization;

/// The trend counts as much as a measurement of this weight.
const TREND_WEIGHT: f64 = 1.5;
/// A model that nobody evaluated is taken to lie this many standard deviations below the trend.
const UNMEASURED_CAUTION: f64 = 0.8;
/// What a model that only makes vectors, only orders texts, or only hears or speaks, is worth among those that the fit
/// API lists it with.
const NARROW: [(UseCase, f64); 3] = [(UseCase::Embedding, 0.8), (UseCase::Rerank, 0.7), (UseCase::Speech, 0.7)];
/// What a model that was not taught to converse loses where that is wanted.
const NOT_TAUGHT_TO_CHAT: f64 = 12.0;

/// How good a model is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Quality {
    /// 0 to 100.
    pub index: f64,
    /// How many evaluations it rests on; 0 where it is the trend's alone.
    pub evaluations: usize,
}

/// Quality by size and age: lines fitted to the evaluated models.
#[derive(Clone, Debug, PartialEq)]
pub struct Trend {
    language: Line,
    vectors: Line,
    speech: Line,
    /// The best evaluated index of each shape.
    kin: HashMap<String, f64>,
}

/// `index = a + b · log2(billions of effective parameters) + c · years since 2023`.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Line {
    a: f64,
    b: f64,
    c: f64,
    /// Standard deviation of the evaluated models around it.
    spread: f64,
}

/// Of few or like models no line can be drawn; then these, read off models of 2023-2026 by eye.
const LANGUAGE: Line = Line { a: 0.0, b: 7.0, c: 15.0, spread: 8.0 };
const VECTORS: Line = Line { a: 66.0, b: 3.0, c: 4.0, spread: 8.0 };
const SPEECH: Line = Line { a: 66.0, b: 5.0, c: 3.0, spread: 8.0 };
/// Fewer evaluated models than this make no line.
const LINE_MODELS_MIN: usize = 12;

impl Trend {
    /// The trend of these models.
    pub fn of(models: &[Model]) -> Self {
        let line = |kind: fn(UseCase) -> bool, otherwise: Line| {
            let points: Vec<[f64; 3]> = models
                .iter()
                .filter(|model| kind(model.use_case))
                .filter_map(|model| {
                    let (index, weight) = measured(&model.evaluations, model.use_case);
                    (weight > 0.0).then(|| [size(model), age(&model.released), index])
                })
                .collect();
            Line::through(&points).unwrap_or(otherwise)
        };
        let mut kin: HashMap<String, f64> = HashMap::new();
        for model in models {
            let (index, weight) = measured(&model.evaluations, model.use_case);
            if weight > 0.0 {
                let best = kin.entry(model.shape.name.clone()).or_insert(index);
                *best = best.max(index);
            }
        }
        Self {
            kin,
            language: line(|use_case| !is_vectors(use_case) && use_case != UseCase::Speech, LANGUAGE),
            vectors: line(is_vectors, VECTORS),
            speech: line(|use_case| use_case == UseCase::Speech, SPEECH),
        }
    }

    fn line(&self, use_case: UseCase) -> Line {
        match use_case {
            UseCase::Speech => self.speech,
            other if is_vectors(other) => self.vectors,
            _ => self.language,
        }
    }
}

/// How good `model` is for its own use.
pub fn quality(model: &Model, trend: &Trend) -> Quality {
    let line = trend.line(model.use_case);
    let expected = line.at(size(model), age(&model.released));
    let (index, weight) = measured(&model.evaluations, model.use_case);
    let index = if weight > 0.0 {
        (index * weight + expected * TREND_WEIGHT) / (weight + TREND_WEIGHT)
    } else {
        let kin = trend.kin.get(&model.shape.name).copied().unwrap_or(f64::INFINITY);
        expected.min(kin) - UNMEASURED_CAUTION * line.spread
    };
    let narrow = NARROW.iter().find(|(use_case, _)| *use_case == model.use_case).map_or(1.0, |(_, share)| *share);
    let converses = is_vectors(model.use_case)
        || model.use_case == UseCase::Speech
        || model.capabilities.contains(&Capability::Chat);
    let index = if converses { index } else { index - NOT_TAUGHT_TO_CHAT };
    Quality { index: (index * narrow).clamp(1.0, 99.0), evaluations: model.evaluations.len() }
}

/// Points of quality that a quantisation costs a model of so many parameters: a point for each percent by which
/// perplexity grows, as published for a model of 8 billion; larger models lose less, about as (8 B / size)^0.4
/// (llama.cpp's first k-quant tables: Q2_K costs LLaMA 7B 15 %, 13B 11 %, 65B 7 %). At most 60.
#[expect(clippy::cast_precision_loss, reason = "a power of a ratio")]
pub fn quality_loss(quantization: Quantization, parameters: u64) -> f64 {
    let by_size = (8e9 / (parameters.max(1) as f64)).powf(0.4);
    (quantization.penalty() * 100.0 * by_size).min(60.0)
}

fn is_vectors(use_case: UseCase) -> bool {
    matches!(use_case, UseCase::Embedding | UseCase::Rerank)
}

/// log2 of billions of parameters; with experts the geometric mean of all and active ones, as such models perform.
#[expect(clippy::cast_precision_loss, reason = "a logarithm of billions")]
fn size(model: &Model) -> f64 {
    ((model.parameters as f64 * model.parameters_active as f64).sqrt() / 1e9).max(0.01).log2()
}

/// Years since the start of 2023; 0 where the date cannot be read.
fn age(released: &str) -> f64 {
    let mut parts = released.split('-').map(|part| part.parse::<f64>().ok());
    let year = parts.next().flatten().unwrap_or(2023.0);
    let month = parts.next().flatten().unwrap_or(1.0);
    (year - 2023.0 + (month - 1.0) / 12.0).clamp(-5.0, 10.0)
}

/// The weighted mean of the evaluations that say something about a use, on the common scale, and their weight.
fn measured(evaluations: &[Evaluation], use_case: UseCase) -> (f64, f64) {
    let has = |benchmark| evaluations.iter().any(|evaluation| evaluation.benchmark == benchmark);
    let (mut sum, mut weights) = (0.0, 0.0);
    for evaluation in evaluations {
        let weight = match evaluation.benchmark {
            // The older of two that measure the same says nothing more.
            Benchmark::Mmlu if has(Benchmark::MmluPro) => 0.0,
            Benchmark::Humaneval if has(Benchmark::Livecodebench) || has(Benchmark::SweBenchVerified) => 0.0,
            benchmark => weight(benchmark, use_case),
        };
        sum += weight * on_scale(evaluation);
        weights += weight;
    }
    (if weights > 0.0 { sum / weights } else { 0.0 }, weights)
}

/// What an evaluation says about a use.
fn weight(benchmark: Benchmark, use_case: UseCase) -> f64 {
    use Benchmark as B;
    match use_case {
        UseCase::General => match benchmark {
            B::MmluPro => 3.0,
            B::Mmlu | B::GpqaDiamond => 2.0,
            B::Ifeval | B::ArenaHard | B::Livecodebench | B::SweBenchVerified => 1.0,
            B::Math | B::Aime2025 | B::Humaneval | B::Mmmu => 0.5,
            _ => 0.0,
        },
        UseCase::Coding => match benchmark {
            B::Livecodebench | B::SweBenchVerified => 3.0,
            B::Humaneval => 2.0,
            B::MmluPro | B::Mmlu => 0.5,
            _ => 0.0,
        },
        UseCase::Reasoning => match benchmark {
            B::GpqaDiamond | B::Aime2025 => 3.0,
            B::MmluPro | B::Livecodebench => 2.0,
            B::Math | B::Mmlu => 1.0,
            _ => 0.0,
        },
        UseCase::Chat => match benchmark {
            B::ArenaHard | B::Ifeval | B::MmluPro => 2.0,
            B::Mmlu => 1.5,
            B::GpqaDiamond => 0.5,
            _ => 0.0,
        },
        UseCase::Multimodal => match benchmark {
            B::Mmmu => 4.0,
            B::MmluPro | B::Mmlu => 1.0,
            _ => 0.0,
        },
        UseCase::Embedding => match benchmark {
            B::Mteb | B::MtebMultilingual => 3.0,
            _ => 0.0,
        },
        UseCase::Rerank => match benchmark {
            B::Rerank => 3.0,
            B::Mteb => 1.0,
            _ => 0.0,
        },
        UseCase::Speech => match benchmark {
            B::AsrAccuracy => 3.0,
            _ => 0.0,
        },
    }
}

/// A result on the common scale. The points are results that model cards and reports give for the models the scale is
/// named after, and their like.
fn on_scale(evaluation: &Evaluation) -> f64 {
    use Benchmark as B;
    let points: &[(f64, f64)] = match evaluation.benchmark {
        B::Mmlu => &[
            (25.0, 5.0),
            (47.0, 18.0),
            (63.0, 32.0),
            (69.0, 42.0),
            (74.0, 48.0),
            (79.5, 55.0),
            (83.0, 60.0),
            (86.0, 65.0),
            (88.5, 72.0),
            (91.0, 80.0),
            (94.0, 90.0),
        ],
        B::MmluPro => &[
            (10.0, 8.0),
            (20.0, 18.0),
            (36.0, 32.0),
            (48.0, 42.0),
            (56.0, 48.0),
            (63.5, 55.0),
            (69.0, 62.0),
            (75.9, 71.0),
            (80.0, 76.0),
            (84.0, 81.0),
            (87.0, 89.0),
            (90.0, 95.0),
        ],
        B::GpqaDiamond => &[
            (25.0, 18.0),
            (32.0, 42.0),
            (36.5, 48.0),
            (45.5, 55.0),
            (50.0, 62.0),
            (59.0, 70.0),
            (66.0, 75.0),
            (71.5, 79.0),
            (80.5, 84.0),
            (86.0, 90.0),
            (91.0, 95.0),
        ],
        B::Ifeval => &[
            (30.0, 10.0),
            (50.0, 25.0),
            (60.0, 32.0),
            (76.0, 45.0),
            (80.5, 50.0),
            (85.0, 58.0),
            (90.0, 67.0),
            (93.0, 78.0),
            (96.0, 88.0),
        ],
        B::ArenaHard => &[(2.0, 15.0), (20.0, 40.0), (50.0, 52.0), (80.0, 67.0), (90.0, 77.0), (96.0, 88.0)],
        B::Math => &[
            (10.0, 10.0),
            (30.0, 27.0),
            (51.0, 42.0),
            (75.5, 51.0),
            (83.0, 59.0),
            (90.0, 68.0),
            (95.0, 75.0),
            (97.3, 80.0),
            (99.0, 90.0),
        ],
        B::Aime2025 => &[
            (0.0, 25.0),
            (10.0, 48.0),
            (30.0, 60.0),
            (50.0, 68.0),
            (67.0, 74.0),
            (75.0, 79.0),
            (87.5, 85.0),
            (93.0, 90.0),
            (98.0, 95.0),
        ],
        B::Humaneval => &[
            (10.0, 8.0),
            (35.0, 22.0),
            (60.0, 35.0),
            (72.6, 43.0),
            (84.8, 51.0),
            (88.4, 60.0),
            (92.0, 68.0),
            (96.0, 76.0),
        ],
        B::Livecodebench => &[
            (3.0, 15.0),
            (12.0, 38.0),
            (20.0, 47.0),
            (30.0, 55.0),
            (40.0, 63.0),
            (55.0, 71.0),
            (65.0, 79.0),
            (73.0, 84.0),
            (80.0, 89.0),
            (87.0, 95.0),
        ],
        B::SweBenchVerified => &[
            (5.0, 40.0),
            (20.0, 55.0),
            (40.0, 66.0),
            (50.0, 72.0),
            (60.0, 78.0),
            (70.0, 85.0),
            (76.0, 90.0),
            (81.0, 95.0),
        ],
        B::Mmmu => &[
            (25.0, 12.0),
            (35.0, 28.0),
            (42.0, 36.0),
            (50.0, 45.0),
            (58.0, 53.0),
            (65.0, 63.0),
            (70.0, 69.0),
            (75.0, 77.0),
            (80.0, 87.0),
            (85.0, 94.0),
        ],
        B::Mteb => &[
            (40.0, 20.0),
            (50.0, 32.0),
            (56.3, 45.0),
            (62.3, 58.0),
            (64.5, 65.0),
            (67.0, 71.0),
            (70.7, 79.0),
            (73.0, 87.0),
            (75.5, 93.0),
        ],
        B::MtebMultilingual => {
            &[(30.0, 20.0), (40.0, 35.0), (50.0, 48.0), (59.6, 65.0), (64.3, 76.0), (69.5, 88.0), (71.0, 93.0)]
        }
        B::Rerank => {
            &[(35.0, 25.0), (45.0, 42.0), (50.0, 53.0), (55.0, 63.0), (60.0, 75.0), (66.0, 86.0), (70.0, 92.0)]
        }
        B::AsrAccuracy => &[(75.0, 20.0), (85.0, 42.0), (90.0, 60.0), (92.0, 72.0), (93.5, 83.0), (94.5, 92.0)],
    };
    along(points, evaluation.score)
}

/// Linearly between the points, level beyond the last ones.
fn along(points: &[(f64, f64)], x: f64) -> f64 {
    let after = points.partition_point(|point| point.0 <= x);
    match (after.checked_sub(1).map(|before| points[before]), points.get(after)) {
        (Some((x0, y0)), Some(&(x1, y1))) => y0 + (y1 - y0) * (x - x0) / (x1 - x0),
        (Some((_, y)), None) | (None, Some(&(_, y))) => y,
        (None, None) => 0.0,
    }
}

impl Line {
    fn at(&self, size: f64, age: f64) -> f64 {
        // Beyond what was seen, lines promise too much.
        (self.a + self.b * size + self.c * age).clamp(5.0, 92.0)
    }

    /// The least-squares line through points of size, age and index; `None` where there are too few, or where they lie
    /// such that size or age would seem to do harm.
    fn through(points: &[[f64; 3]]) -> Option<Self> {
        if points.len() < LINE_MODELS_MIN {
            return None;
        }
        #[expect(clippy::cast_precision_loss, reason = "a count of models")]
        let count = points.len() as f64;
        let mean = |at: usize| points.iter().map(|point| point[at]).sum::<f64>() / count;
        let means = [mean(0), mean(1), mean(2)];
        let product =
            |i: usize, j: usize| points.iter().map(|point| (point[i] - means[i]) * (point[j] - means[j])).sum::<f64>();
        let (ss, st, tt, sy, ty) = (product(0, 0), product(0, 1), product(1, 1), product(0, 2), product(1, 2));
        let determinant = ss * tt - st * st;
        let b = (sy * tt - ty * st) / determinant;
        let c = (ty * ss - sy * st) / determinant;
        if !(b.is_finite() && c.is_finite() && b > 0.0 && c > 0.0) {
            return None;
        }
        let a = means[2] - b * means[0] - c * means[1];
        let line = Self { a, b, c, spread: 0.0 };
        let squares: f64 = points.iter().map(|point| (point[2] - line.at(point[0], point[1])).powi(2)).sum();
        Some(Self { spread: (squares / count).sqrt(), ..line })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_lie_between_their_points() {
        let check = |benchmark, score, expected: f64| {
            let index = on_scale(&Evaluation { benchmark, score });
            assert!((index - expected).abs() < 0.01, "{benchmark} {score}: {index}, not {expected}");
        };
        check(Benchmark::MmluPro, 0.0, 8.0);
        check(Benchmark::MmluPro, 48.0, 42.0);
        check(Benchmark::MmluPro, 52.0, 45.0);
        check(Benchmark::MmluPro, 100.0, 95.0);
    }

    #[test]
    fn a_line_is_found_again() {
        let points: Vec<[f64; 3]> = (0..20)
            .map(|at| (f64::from(at % 7), f64::from(at % 3)))
            .map(|(size, age)| [size, age, 20.0 + 5.0 * size + 9.0 * age])
            .collect();
        let line = Line::through(&points).unwrap();
        assert!((line.a - 20.0).abs() < 1e-6 && (line.b - 5.0).abs() < 1e-6 && (line.c - 9.0).abs() < 1e-6, "{line:?}");
        assert!(line.spread < 1e-6);
        assert_eq!(Line::through(&points[..5]), None);
        assert_eq!(Line::through(&[[1.0, 1.0, 1.0]; 20]), None, "one point makes no line");
    }

    #[test]
    fn the_date_is_read_as_far_as_it_goes() {
        for (text, years) in [("2023-01-31", 0.0), ("2025-07-01", 2.5), ("", 0.0), ("soon", 0.0)] {
            assert!((age(text) - years).abs() < 0.01, "{text}: {}", age(text));
        }
    }
}
