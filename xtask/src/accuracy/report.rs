//! Tables of errors.

use std::collections::BTreeMap;

use fit::speed::Constants;

use super::layout::Kind;
use super::{Case, Expected};

/// Prints all sets.
#[expect(clippy::print_stdout, reason = "the report is what this command is for")]
pub(super) fn print(cases: &[Case], left_out: &[(&'static str, bool)], constants: &Constants) {
    println!(
        "{:<34} {:>5} {:>8} {:>8} {:>9} {:>7} {:>9}",
        "set", "n", "median", "p90", "est/meas", "<25 %", "interval"
    );
    let line = |name: &str, keep: &dyn Fn(&Case) -> bool| {
        let pairs = cases.iter().filter(|case| keep(case)).map(|case| (case, case.expected(constants)));
        if let Some(figures) = Figures::of(pairs) {
            println!("{name:<34} {figures}");
        }
    };
    let anchor = |case: &Case| case.row.in_anchor_set;
    line("all usable", &|_| true);
    line("anchor set", &anchor);
    line("anchor, dense", &|case| anchor(case) && !case.setup.size.experts);
    line("anchor, experts", &|case| anchor(case) && case.setup.size.experts);
    line("model in the catalogue", &|case| case.setup.model_is_known);
    line("model by rules of thumb", &|case| !case.setup.model_is_known);
    line("quantisation unknown, Q4_K_M taken", &|case| !case.setup.quantization_is_said);
    line("dense", &|case| !case.setup.size.experts);
    line("experts", &|case| case.setup.size.experts);
    line("on accelerators", &|case| case.setup.kind == Kind::Accelerator);
    line("offloaded in part", &|case| case.setup.kind == Kind::Mixed);
    line("on the processor", &|case| case.setup.kind == Kind::Cpu);
    for vendor in ["NVIDIA", "AMD", "Apple", "Intel", "CPU"] {
        line(&format!("vendor {vendor}"), &|case| self::vendor(&case.row.hardware) == vendor);
    }
    let engines: std::collections::BTreeSet<&str> = cases.iter().map(|case| case.row.runtime.as_str()).collect();
    for engine in engines {
        line(&format!("engine {engine}"), &|case| case.row.runtime == engine);
    }
    let prefill = cases.iter().filter_map(|case| {
        let measured =
            case.row.measured_prefill_tps.filter(|_| case.row.prompt_tokens.is_some_and(|tokens| tokens >= 256.0))?;
        Some(case.expected(constants).prefill / measured)
    });
    if let Some(figures) = Figures::of_ratios(prefill.collect(), None) {
        println!("{:<34} {figures}", "prefill, prompts from 256 tokens");
    }
    let mut reasons: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    for (reason, in_anchor) in left_out {
        let count = reasons.entry(reason).or_default();
        count.0 += 1;
        count.1 += usize::from(*in_anchor);
    }
    println!(
        "\nleft out: {} rows ({} of the anchor set)",
        left_out.len(),
        left_out.iter().filter(|(_, anchor)| *anchor).count()
    );
    for (reason, (count, in_anchor)) in reasons {
        println!("{count:>6} ({in_anchor}) {reason}");
    }
}

/// Prints the rows that are farthest off, for those who look for the reason.
#[expect(clippy::print_stdout, reason = "the report is what this command is for")]
pub(super) fn print_worst(cases: &[Case], count: usize, constants: &Constants) {
    let mut rows: Vec<(f64, &Case)> = cases
        .iter()
        .filter_map(|case| {
            let measured = case.row.measured_decode_tps?;
            Some(((case.expected(constants).decode / measured).ln(), case))
        })
        .collect();
    rows.sort_by(|(a, _), (b, _)| b.abs().total_cmp(&a.abs()));
    for (error, case) in rows.into_iter().take(count) {
        let row = &case.row;
        println!(
            "{:>6.2} {:>8.2} {} {:<28.28} x{} {:<10} {:<44.44} {:<10} {:?} depth {:.0}",
            error.exp(),
            row.measured_decode_tps.unwrap_or_default(),
            u8::from(row.in_anchor_set),
            row.hardware,
            row.cards(),
            row.runtime,
            row.model_tag,
            row.quant,
            case.setup.kind,
            row.prompt_tokens.unwrap_or(0.0),
        );
    }
}

/// Who made the hardware of a row.
pub(super) fn vendor(hardware: &str) -> &'static str {
    let name = hardware.to_lowercase();
    let says = |words: &[&str]| words.iter().any(|word| name.contains(word));
    if name.starts_with("cpu:") {
        "CPU"
    } else if says(&["apple"]) {
        "Apple"
    } else if says(&["intel"]) {
        "Intel"
    } else if says(&["amd", "radeon", "rx "]) {
        "AMD"
    } else {
        "NVIDIA"
    }
}

/// How a set of estimates lies about its measurements.
pub(super) struct Figures {
    count: usize,
    /// Of |estimate − measured| / measured.
    median: f64,
    p90: f64,
    /// Median of estimate / measured.
    bias: f64,
    within_quarter: f64,
    /// Of measurements inside their interval.
    inside: Option<f64>,
}

impl Figures {
    pub(super) fn of<'a>(pairs: impl Iterator<Item = (&'a Case, Expected)>) -> Option<Self> {
        let mut inside = 0;
        let ratios = pairs
            .filter_map(|(case, expected)| {
                let measured = case.row.measured_decode_tps?;
                inside += usize::from((expected.low..=expected.high).contains(&measured));
                Some(expected.decode / measured)
            })
            .collect();
        Self::of_ratios(ratios, Some(inside))
    }

    fn of_ratios(mut ratios: Vec<f64>, inside: Option<usize>) -> Option<Self> {
        if ratios.is_empty() {
            return None;
        }
        let mut errors: Vec<f64> = ratios.iter().map(|ratio| (ratio - 1.0).abs()).collect();
        #[expect(clippy::cast_precision_loss, reason = "a count of rows")]
        let share = |count: usize| count as f64 / errors.len() as f64;
        let (within_quarter, inside) =
            (share(errors.iter().filter(|error| **error <= 0.25).count()), inside.map(share));
        Some(Self {
            count: ratios.len(),
            median: quantile(&mut errors, 0.5),
            p90: quantile(&mut errors, 0.9),
            bias: quantile(&mut ratios, 0.5),
            within_quarter,
            inside,
        })
    }
}

impl std::fmt::Display for Figures {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{:>5} {:>6.1} % {:>6.1} % {:>9.2} {:>5.0} %",
            self.count,
            self.median * 100.0,
            self.p90 * 100.0,
            self.bias,
            self.within_quarter * 100.0,
        )?;
        self.inside.map_or(Ok(()), |inside| write!(f, " {:>7.0} %", inside * 100.0))
    }
}

/// The value that `share` of all values do not exceed.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "an index into a list in memory"
)]
pub(super) fn quantile(values: &mut [f64], share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let at = ((values.len() - 1) as f64 * share).round() as usize;
    values[at]
}
