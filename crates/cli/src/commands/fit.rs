//! `snug fit` and `snug recommend`: which models suit this machine.

use api::{FitList, FitRow};

use crate::advice::{Advice, Parameters};
use crate::args::FitArgs;
use crate::failure::Failure;
use crate::printer::Printer;
use crate::table::{Column, Table};

/// What is shown at most where nobody asked for a number: a screenful.
const ROWS_DEFAULT: usize = 20;
/// The uses, as `recommend` goes through them.
const USE_CASES: [&str; 6] = ["general", "coding", "reasoning", "chat", "multimodal", "embedding"];

/// Lists models.
pub(crate) async fn run(args: &FitArgs, advice: &Advice, printer: &Printer) -> Result<(), Failure> {
    let all_wanted = args.csv || printer.is_json();
    let list = advice.fit(&parameters(args, all_wanted)).await?;
    if args.csv {
        return Ok(printer.raw(&csv(&list.models))?);
    }
    printer.table(&list, &table(&list.models))?;
    if list.models.is_empty() {
        printer.note("no model passes these filters; --all shows those that do not run here, too");
    } else if list.returned_models < list.total_models {
        printer.note(&format!("{} of {} models; -n shows more", list.returned_models, list.total_models));
    }
    Ok(())
}

/// The best few for one use, or for each.
pub(crate) async fn recommend(
    use_case: Option<&str>,
    limit: usize,
    advice: &Advice,
    printer: &Printer,
) -> Result<(), Failure> {
    let use_cases: Vec<&str> = use_case.map_or_else(|| USE_CASES.to_vec(), |use_case| vec![use_case]);
    let mut lists: Vec<(&str, FitList)> = vec![];
    for use_case in use_cases {
        let parameters = [("use_case", use_case.to_owned()), ("limit", limit.to_string())];
        let parameters: Parameters = parameters.map(|(name, value)| (name.to_owned(), value)).to_vec();
        lists.push((use_case, advice.top(&parameters).await?));
    }
    let object: serde_json::Map<String, serde_json::Value> =
        lists.iter().map(|(use_case, list)| ((*use_case).to_owned(), serde_json::json!(list.models))).collect();
    if printer.is_json() {
        return Ok(printer.data(&object, String::new)?);
    }
    for (use_case, list) in &lists {
        printer.raw(&format!("{use_case}\n"))?;
        if list.models.is_empty() {
            printer.raw("  nothing runs here\n")?;
        }
        for model in &list.models {
            printer.raw(&line(model))?;
        }
    }
    Ok(())
}

/// Two lines that say what to run and why.
fn line(model: &FitRow) -> String {
    let quant = model.best_quant.as_deref().map(|quant| format!(":{quant}")).unwrap_or_default();
    format!(
        "  {}{quant}\n      {} parameters, {:.1} GiB of {:.1} on {}, about {:.0} tok/s, score {:.0}\n",
        model.name,
        model.parameter_count,
        model.memory_required_gb,
        model.memory_available_gb,
        model.run_mode_label,
        model.estimated_tps,
        model.score
    )
}

fn parameters(args: &FitArgs, all_wanted: bool) -> Parameters {
    let mut parameters: Parameters = vec![];
    let mut add = |name: &str, value: Option<String>| {
        parameters.extend(value.map(|value| (name.to_owned(), value)));
    };
    let limit = args.limit.or((!all_wanted).then_some(ROWS_DEFAULT));
    add("limit", limit.map(|limit| limit.to_string()));
    add("perfect", args.perfect.then(|| "true".to_owned()));
    add("min_fit", args.min_fit.clone());
    if args.min_fit.is_none() || args.all {
        add("include_too_tight", Some(args.all.to_string()));
    }
    add("use_case", args.use_case.clone());
    add("provider", args.provider.clone());
    add("runtime", args.runtime.clone());
    add("license", args.license.clone());
    add("sort", args.sort.clone());
    add("max_context", args.max_context.map(|tokens| tokens.to_string()));
    add("search", Some(args.search.join(" ")).filter(|words| !words.is_empty()));
    parameters
}

fn table(models: &[FitRow]) -> Table {
    let mut table = Table::new(&[
        ("MODEL", Column::Name),
        ("QUANT", Column::Text),
        ("FIT", Column::Text),
        ("TOK/S", Column::Number),
        ("GIB", Column::Number),
        ("SCORE", Column::Number),
        ("RUNS ON", Column::Text),
        ("CONTEXT", Column::Number),
        ("USE", Column::Text),
        ("RELEASED", Column::Text),
    ]);
    for model in models {
        table.row([
            model.name.clone(),
            model.best_quant.clone().unwrap_or_else(|| "-".to_owned()),
            model.fit_label.clone(),
            // Four figures say enough of a speed.
            format!("{:.*}", usize::from(model.estimated_tps < 1000.0), model.estimated_tps),
            format!("{:.1}", model.memory_required_gb),
            format!("{:.1}", model.score),
            model.run_mode_label.clone(),
            model.context_length.to_string(),
            model.category.clone(),
            model.release_date.clone().unwrap_or_default(),
        ]);
    }
    table
}

/// RFC 4180, with a heading.
fn csv(models: &[FitRow]) -> String {
    let mut text = "name,provider,params_b,active_params_b,quant,runtime,fit_level,run_mode,score,estimated_tps,\
                    memory_required_gb,memory_available_gb,utilization_pct,context_length,usable_context,category,\
                    release_date,license\n"
        .to_owned();
    for model in models {
        let cells = [
            model.name.clone(),
            model.provider.clone(),
            model.params_b.to_string(),
            model.active_params_b.to_string(),
            model.best_quant.clone().unwrap_or_default(),
            model.runtime.clone(),
            model.fit_level.clone(),
            model.run_mode.clone(),
            model.score.to_string(),
            model.estimated_tps.to_string(),
            model.memory_required_gb.to_string(),
            model.memory_available_gb.to_string(),
            model.utilization_pct.to_string(),
            model.context_length.to_string(),
            model.usable_context.to_string(),
            model.category.clone(),
            model.release_date.clone().unwrap_or_default(),
            model.license.clone().unwrap_or_default(),
        ];
        text.push_str(&cells.map(|cell| quoted(&cell)).join(","));
        text.push('\n');
    }
    text
}

fn quoted(cell: &str) -> String {
    if cell.contains([',', '"', '\n', '\r']) { format!("\"{}\"", cell.replace('"', "\"\"")) } else { cell.to_owned() }
}

#[cfg(test)]
mod tests {
    #[test]
    fn cells_are_quoted_where_they_must() {
        for (cell, expected) in [("a", "a"), ("a,b", "\"a,b\""), ("say \"x\"", "\"say \"\"x\"\"\"")] {
            assert_eq!(super::quoted(cell), expected);
        }
    }
}
