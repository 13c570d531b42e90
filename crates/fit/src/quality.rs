//! How good a model is, 0 to 100, from public evaluations; where there are few, from its kin, its size and its age.
//!
//! Each evaluation is put on one scale by points that link its results to those of well-known models (8: a coin toss,
//! 42: Llama 3.1 8B, 62: Llama 3.3 70B, 80: DeepSeek R1, 95: the best open models of 2026), and linearly between them.
//! A model's quality for a use is the weighted mean of what was measured that says something about the use, and of what
//! would be expected of it unmeasured, as one more, weak, piece of evidence: one figure alone moves it only so far.
//! What is expected comes from the trend of size and age, with caution, as those who publish figures are the better
//! ones; a fine-tune is not expected to excel the evaluated models of its shape, and a maker's later model of the same
//! shape is expected to be as good as the one before. The trend is a least-squares line through the catalogue's own
//! evaluated models, so there is nothing here to keep up to date but the rows. `docs/quality.md` tells it at length.

use std::collections::HashMap;

use catalog::catalogue::{Benchmark, Capability, Evaluation, Model, UseCase};
use catalog::quantization::Quantization;

/// What is expected counts as much as a measurement of this weight.
const EXPECTED_WEIGHT: f64 = 2.0;
/// A model is expected to lie so many standard deviations below the trend of those that were evaluated, and below the
/// best of them that are no larger.
const CAUTION: f64 = 0.8;
/// What a model that only makes vectors, only orders texts, or only hears or speaks, is worth among those that the fit
/// API lists it with.
const NARROW: [(UseCase, f64); 3] = [(UseCase::Embedding, 0.8), (UseCase::Rerank, 0.7), (UseCase::Speech, 0.7)];
/// What any other model is worth that does not converse: it was only pretrained, or does one narrow thing, such as
/// reading documents, translating, or judging what others say.
const NOT_TAUGHT_TO_CHAT: f64 = 0.6;

/// How good a model is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Quality {
    /// 0 to 100.
    pub index: f64,
    /// How many evaluations it rests on; 0 where it is the trend's alone.
    pub evaluations: usize,
}

/// What is expected of a model by its size and age, and by its kin.
#[derive(Clone, Debug, PartialEq)]
pub struct Trend {
    language: Expectation,
    vectors: Expectation,
    speech: Expectation,
    /// The evaluated models of each shape.
    kin: HashMap<String, Vec<Kin>>,
}

/// An evaluated model, seen by others of its shape.
#[derive(Clone, Debug, PartialEq)]
struct Kin {
    provider: String,
    released: String,
    index: f64,
}

/// `ln(index / (100 - index)) = a + b · log2(billions of effective parameters) + c · years since 2023`: a line that
/// nears 100 and does not pass it.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Line {
    a: f64,
    b: f64,
    c: f64,
    /// Standard deviation of the evaluated models around it.
    spread: f64,
}

/// A line, and what bounds it.
#[derive(Clone, Debug, PartialEq)]
struct Expectation {
    line: Line,
    /// Sizes and log odds, both rising: nothing that was evaluated at this size or below is better. Lines know that
    /// models become better by the year, but not that those of which nobody says so hardly do.
    best: Vec<(f64, f64)>,
}

/// Of few or like models no line can be drawn; then these, read off models of 2023-2026 by eye.
const LANGUAGE: Line = Line { a: -2.2, b: 0.25, c: 0.75, spread: 0.4 };
const VECTORS: Line = Line { a: 0.4, b: 0.1, c: 0.3, spread: 0.3 };
const SPEECH: Line = Line { a: 0.8, b: 0.2, c: 0.2, spread: 0.3 };
/// Fewer evaluated models than this make no line.
const LINE_MODELS_MIN: usize = 12;

impl Trend {
    /// The trend of these models.
    pub fn of(models: &[Model]) -> Self {
        let expectation = |kind: fn(UseCase) -> bool, otherwise: Line| {
            let points = models.iter().filter(|model| kind(model.use_case)).filter_map(|model| {
                let (index, weight) = measured(&model.evaluations, model.use_case);
                (weight > 0.0).then(|| [size(model), age(&model.released), log_odds(index)])
            });
            Expectation::of(points.collect(), otherwise)
        };
        let mut trend = Self {
            language: expectation(|use_case| !is_vectors(use_case) && use_case != UseCase::Speech, LANGUAGE),
            vectors: expectation(is_vectors, VECTORS),
            speech: expectation(|use_case| use_case == UseCase::Speech, SPEECH),
            kin: HashMap::new(),
        };
        for model in models {
            let (index, weight) = measured(&model.evaluations, model.use_case);
            if weight > 0.0 {
                let index = blend(index, weight, trend.by_size_and_age(model));
                let kin = Kin { provider: model.provider.clone(), released: model.released.clone(), index };
                trend.kin.entry(model.shape.name.clone()).or_default().push(kin);
            }
        }
        trend
    }

    /// What is expected of a model that nobody evaluated.
    fn expected(&self, model: &Model) -> f64 {
        let by_size_and_age = self.by_size_and_age(model);
        let kin = self.kin.get(&model.shape.name).map_or(&[][..], Vec::as_slice);
        let best = |kin: &mut dyn Iterator<Item = &Kin>| kin.map(|kin| kin.index).reduce(f64::max);
        let before = |kin: &&Kin| kin.provider == model.provider && kin.released <= model.released;
        match best(&mut kin.iter().filter(before)) {
            Some(predecessor) => predecessor,
            None => best(&mut kin.iter()).map_or(by_size_and_age, |kin| kin.min(by_size_and_age)),
        }
    }

    fn by_size_and_age(&self, model: &Model) -> f64 {
        let expectation = match model.use_case {
            UseCase::Speech => &self.speech,
            use_case if is_vectors(use_case) => &self.vectors,
            _ => &self.language,
        };
        expectation.at(size(model), age(&model.released))
    }
}

/// How good `model` is for its own use.
pub fn quality(model: &Model, trend: &Trend) -> Quality {
    let (index, weight) = measured(&model.evaluations, model.use_case);
    let index = if weight > 0.0 { blend(index, weight, trend.by_size_and_age(model)) } else { trend.expected(model) };
    let narrow = NARROW.iter().find(|(use_case, _)| *use_case == model.use_case).map(|(_, share)| *share);
    let converses = model.capabilities.contains(&Capability::Chat);
    let share = narrow.unwrap_or(if converses { 1.0 } else { NOT_TAUGHT_TO_CHAT });
    Quality { index: (index * share).clamp(1.0, 99.0), evaluations: model.evaluations.len() }
}

/// What was measured, with its weight, and what is expected, together.
fn blend(measured: f64, weight: f64, expected: f64) -> f64 {
    (measured * weight + expected * EXPECTED_WEIGHT) / (weight + EXPECTED_WEIGHT)
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

impl Expectation {
    /// Of evaluated models: size, age and log odds of each.
    fn of(mut points: Vec<[f64; 3]>, otherwise: Line) -> Self {
        let line = Line::through(&points).unwrap_or(otherwise);
        points.sort_by(|one, other| one[0].total_cmp(&other[0]));
        let mut best: Vec<(f64, f64)> = vec![];
        for [size, _, log_odds] in points {
            if best.last().is_none_or(|&(_, before)| log_odds > before) {
                best.push((size, log_odds));
            }
        }
        Self { line, best }
    }

    /// The index that is expected at a size and age, with [`CAUTION`].
    fn at(&self, size: f64, age: f64) -> f64 {
        let no_larger = self.best.partition_point(|&(other, _)| other <= size);
        let bound = no_larger.checked_sub(1).map_or(f64::INFINITY, |last| self.best[last].1);
        let log_odds = self.line.at(size, age).min(bound) - CAUTION * self.line.spread;
        100.0 / (1.0 + (-log_odds).exp())
    }
}

impl Line {
    fn at(&self, size: f64, age: f64) -> f64 {
        self.a + self.b * size + self.c * age
    }

    /// The least-squares line through points of size, age and log odds; `None` where there are too few, or where they lie
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

/// The logarithm of the odds of an index; finite at the ends of the scale.
fn log_odds(index: f64) -> f64 {
    let index = index.clamp(1.0, 99.0);
    (index / (100.0 - index)).ln()
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
            .map(|(size, age)| [size, age, -2.0 + 0.3 * size + 0.7 * age])
            .collect();
        let line = Line::through(&points).unwrap();
        assert!((line.a + 2.0).abs() < 1e-6 && (line.b - 0.3).abs() < 1e-6 && (line.c - 0.7).abs() < 1e-6, "{line:?}");
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
