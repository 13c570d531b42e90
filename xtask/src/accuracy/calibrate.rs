//! The procedure that fits the constants. Deterministic: the same file gives the same constants.

use std::collections::BTreeMap;

use fit::speed::{Constants, Platform, Rates, Spread};

use super::Case;
use super::layout::Kind;
use super::report::Figures;

/// Fits, checks on rows the fit has not seen, and prints the table.
#[expect(clippy::print_stdout, reason = "the constants are what this command is for")]
pub(super) fn run(cases: &[Case]) {
    let all: Vec<&Case> = cases.iter().collect();
    let start = prior();
    let keys: [(&str, Key); 3] = [
        ("hardware", |case| &case.row.hardware),
        ("model", |case| &case.row.model_tag),
        ("source", |case| &case.row.source),
    ];
    for (what, key) in keys {
        const FOLDS: u64 = 4;
        let mut unseen = Vec::new();
        for fold in 0..FOLDS {
            let (test, train): (Vec<&Case>, Vec<&Case>) =
                all.iter().partition(|case| bucket(key(case)) % FOLDS == fold);
            let fitted = fit(&train, start.clone());
            unseen.extend(test.into_iter().map(|case| (case, case.expected(&fitted))));
        }
        let (anchor, rest): (Vec<_>, Vec<_>) = unseen.into_iter().partition(|(case, _)| case.row.in_anchor_set);
        for (set, pairs) in [("anchor set", anchor), ("the rest", rest)] {
            if let Some(figures) = Figures::of(pairs.into_iter()) {
                println!("// held out by {what:<9} {set:<12} {figures}");
            }
        }
    }
    let fitted = fit(&all, start);
    if let Some(figures) = Figures::of(cases.iter().map(|case| (case, case.expected(&fitted)))) {
        println!("// all rows, in sample              {figures}");
    }
    print(&fitted);
}

/// What rows have in common that must not be seen while fitting.
type Key = fn(&Case) -> &str;

/// FNV-1a: rows of one key stay together, on every machine and with every compiler.
fn bucket(key: &str) -> u64 {
    key.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// Where fitting starts and what it is drawn to where measurements are few.
fn prior() -> Constants {
    let rates = Rates {
        efficiency: 0.75,
        experts: 0.85,
        kv_efficiency: 0.6,
        per_token: 0.3e-3,
        per_layer: 20e-6,
        per_expert_layer: 20e-6,
        prefill: 0.3,
        first_token: 0.02,
        spread: Spread { low: 0.7, high: 1.4 },
        measurements: 0,
    };
    let mut constants = Constants {
        rates: [rates; Platform::ALL.len()],
        quant_on_accelerator: [1.0; 8],
        quant_on_cpu: [1.0; 8],
        prefill_experts: 0.4,
        core_flops: 30e9,
        hop: 0.2e-3,
        all_reduce: 15e-6,
        draft_gain: 1.6,
        mixed: Spread { low: 0.5, high: 1.6 },
    };
    let cpu = &mut constants.rates[Platform::Cpu as usize];
    (cpu.efficiency, cpu.per_layer, cpu.prefill) = (0.6, 10e-6, 3.0);
    constants
}

fn fit(cases: &[&Case], start: Constants) -> Constants {
    let mut best = start.clone();
    let priors = values(&mut start.clone());
    let cases = &weighted(cases);
    let mut best_loss = loss(cases, &best, &priors);
    let mut steps = vec![0.25_f64; priors.len()];
    // A pattern search, one constant at a time on a logarithmic scale: no derivatives, no chance.
    for _ in 0..60 {
        for (index, step) in steps.iter_mut().enumerate() {
            let mut improved = false;
            for direction in [1.0, -1.0] {
                let mut trial = best.clone();
                let (value, limits) = &mut parameters(&mut trial)[index];
                **value = (**value * (direction * *step).exp()).clamp(limits.0, limits.1);
                let trial_loss = loss(cases, &trial, &priors);
                if trial_loss < best_loss - 1e-9 {
                    (best, best_loss, improved) = (trial, trial_loss, true);
                    break;
                }
            }
            *step = if improved { (*step * 1.3).min(0.5) } else { (*step * 0.6).max(0.004) };
        }
    }
    set_spreads(&mut best, &cases.iter().map(|(_, case)| *case).collect::<Vec<_>>());
    best
}

/// Each case with its weight, about 1 on average: many rows of one part count together as the square root of their
/// number, so that a part that many people have does not speak for those that few have.
fn weighted<'a>(cases: &[&'a Case]) -> Vec<(f64, &'a Case)> {
    let mut rows: BTreeMap<&str, f64> = BTreeMap::new();
    for case in cases {
        *rows.entry(&case.row.hardware).or_default() += 1.0;
    }
    let all: f64 = rows.values().sum();
    let weighed: f64 = rows.values().map(|rows| rows.sqrt()).sum();
    cases.iter().map(|case| (all / weighed / rows[case.row.hardware.as_str()].sqrt(), *case)).collect()
}

/// Sum of the absolute errors of the logarithm, each row's bounded so that wrong labels do not lead; plus what keeps
/// constants near their priors, worth a few rows.
fn loss(cases: &[(f64, &Case)], constants: &Constants, priors: &[f64]) -> f64 {
    /// What a prefill rate counts beside a decode rate.
    const PREFILL: f64 = 0.3;
    /// Rows that a constant's distance from its prior by a factor of e is worth. Chosen for parts that the fit has not seen:
    /// with 0.3 rows known parts are met a little better, unknown ones worse.
    const PULL: f64 = 2.0;
    let mut sum = 0.0;
    for (weight, case) in cases {
        let expected = case.expected(constants);
        if let Some(measured) = case.row.measured_decode_tps {
            sum += weight * bounded((expected.decode / measured).ln());
        }
        if let Some(measured) = prefill(case) {
            sum += weight * PREFILL * bounded((expected.prefill / measured).ln());
        }
    }
    let pull: f64 =
        values(&mut constants.clone()).iter().zip(priors).map(|(value, prior)| (value / prior).ln().powi(2)).sum();
    sum + PULL * pull
}

fn bounded(error: f64) -> f64 {
    const BOUND: f64 = 0.6;
    let error = error.abs();
    error / (1.0 + error / BOUND)
}

/// The prefill rate of a row, where its prompt was long enough to measure one.
fn prefill(case: &Case) -> Option<f64> {
    case.row.measured_prefill_tps.filter(|_| case.row.prompt_tokens.is_some_and(|tokens| tokens >= 256.0))
}

/// What is fitted, with its limits.
fn parameters(constants: &mut Constants) -> Vec<(&mut f64, (f64, f64))> {
    const SHARE: (f64, f64) = (0.05, 0.95);
    let mut all: Vec<(&mut f64, (f64, f64))> = Vec::new();
    for rates in &mut constants.rates {
        all.push((&mut rates.efficiency, SHARE));
        all.push((&mut rates.experts, (0.2, 1.2)));
        all.push((&mut rates.kv_efficiency, (0.1, 0.95)));
        all.push((&mut rates.per_token, (1e-5, 5e-3)));
        all.push((&mut rates.per_layer, (1e-6, 1e-3)));
        all.push((&mut rates.per_expert_layer, (1e-6, 1e-3)));
        all.push((&mut rates.prefill, (0.01, 10.0)));
    }
    // K-quants are what the others are measured against.
    all.extend(constants.quant_on_accelerator.iter_mut().skip(1).map(|factor| (factor, (0.4, 1.3))));
    all.extend(constants.quant_on_cpu.iter_mut().skip(1).map(|factor| (factor, (0.3, 1.5))));
    all.push((&mut constants.prefill_experts, (0.05, 1.0)));
    all.push((&mut constants.hop, (1e-5, 5e-3)));
    all.push((&mut constants.all_reduce, (1e-6, 1e-4)));
    all.push((&mut constants.draft_gain, (1.0, 3.0)));
    all
}

fn values(constants: &mut Constants) -> Vec<f64> {
    parameters(constants).into_iter().map(|(value, _)| *value).collect()
}

/// Intervals from the residuals: the 7 % and 93 % quantiles (wider than four of five, for rows unseen), drawn
/// to those of all platforms where rows are few.
fn set_spreads(constants: &mut Constants, cases: &[&Case]) {
    let residuals = |keep: &dyn Fn(&Case) -> bool| -> Vec<f64> {
        cases
            .iter()
            .filter(|case| keep(case))
            .filter_map(|case| Some((case.row.measured_decode_tps? / case.expected(constants).decode).ln()))
            .collect()
    };
    let everywhere = residuals(&|case| case.setup.kind != Kind::Mixed);
    let mixed = spread(residuals(&|case| case.setup.kind == Kind::Mixed), &everywhere);
    let spreads: Vec<(Spread, usize)> = Platform::ALL
        .into_iter()
        .map(|platform| {
            let own = residuals(&|case| case.setup.kind != Kind::Mixed && platform_of(case) == platform);
            let count = own.len();
            (spread(own, &everywhere), count)
        })
        .collect();
    constants.mixed = mixed;
    for (rates, (spread, count)) in constants.rates.iter_mut().zip(spreads) {
        rates.spread = spread;
        rates.measurements = u32::try_from(count).unwrap_or(u32::MAX);
    }
}

fn platform_of(case: &Case) -> Platform {
    match case.setup.kind {
        Kind::Cpu => Platform::Cpu,
        Kind::Accelerator | Kind::Mixed => case
            .setup
            .machine
            .accelerators
            .first()
            .map_or(Platform::Cpu, |card| Platform::of(case.setup.work().engine, card)),
    }
}

fn spread(mut own: Vec<f64>, everywhere: &[f64]) -> Spread {
    const SHARE: f64 = 0.07;
    /// Rows that the residuals of all platforms are worth beside a platform's own.
    const BORROWED: f64 = 8.0;
    let mut all = everywhere.to_vec();
    let quantile = super::report::quantile;
    let (all_low, all_high) = (quantile(&mut all, SHARE), quantile(&mut all, 1.0 - SHARE));
    let (low, high) =
        if own.is_empty() { (all_low, all_high) } else { (quantile(&mut own, SHARE), quantile(&mut own, 1.0 - SHARE)) };
    #[expect(clippy::cast_precision_loss, reason = "a count of rows")]
    let weight = own.len() as f64 / (own.len() as f64 + BORROWED);
    let blend = |own: f64, all: f64| (weight * own + (1.0 - weight) * all).exp();
    Spread { low: blend(low, all_low).min(0.95), high: blend(high, all_high).max(1.05) }
}

#[expect(clippy::print_stdout, reason = "the constants are what this command is for")]
fn print(constants: &Constants) {
    println!("/// The fitted values.");
    println!("pub static CONSTANTS: Constants = Constants {{\n    rates: [");
    for (platform, rates) in Platform::ALL.iter().zip(&constants.rates) {
        println!("        // {platform:?}\n        Rates {{");
        println!("            efficiency: {:.3},", rates.efficiency);
        println!("            experts: {:.3},", rates.experts);
        println!("            kv_efficiency: {:.3},", rates.kv_efficiency);
        println!("            per_token: {:.1}e-6,", rates.per_token * 1e6);
        println!("            per_layer: {:.1}e-6,", rates.per_layer * 1e6);
        println!("            per_expert_layer: {:.1}e-6,", rates.per_expert_layer * 1e6);
        println!("            prefill: {:.3},", rates.prefill);
        println!("            first_token: {:.3},", rates.first_token);
        println!("            spread: {},", text(rates.spread));
        println!("            measurements: {},\n        }},", rates.measurements);
    }
    println!("    ],");
    println!("    quant_on_accelerator: {:.3?},", constants.quant_on_accelerator);
    println!("    quant_on_cpu: {:.3?},", constants.quant_on_cpu);
    println!("    prefill_experts: {:.3},", constants.prefill_experts);
    println!("    core_flops: {:.1}e9,", constants.core_flops / 1e9);
    println!("    hop: {:.1}e-6,", constants.hop * 1e6);
    println!("    all_reduce: {:.1}e-6,", constants.all_reduce * 1e6);
    println!("    draft_gain: {:.3},", constants.draft_gain);
    println!("    mixed: {},\n}};", text(constants.mixed));
}

fn text(spread: Spread) -> String {
    format!("Spread {{ low: {:.2}, high: {:.2} }}", spread.low, spread.high)
}
