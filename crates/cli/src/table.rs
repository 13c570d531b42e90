//! Tables for people: aligned, as narrow as the terminal, without lines to get in the way of `awk`.

use console::{Style, measure_text_width, truncate_str};

/// Between two columns.
const GAP: &str = "  ";

/// How a column behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Column {
    /// Left-aligned words; never left out.
    Name,
    /// Left-aligned words.
    Text,
    /// Right-aligned numbers.
    Number,
}

/// Long names are cut to this in a narrow terminal before a column is left out: what is cut still shows which one it is.
const NAME_WIDTH_MIN: usize = 34;

/// Rows under headings. In a narrow terminal the last columns are left out first: put the least wanted there.
#[derive(Debug)]
pub(crate) struct Table {
    columns: Vec<(&'static str, Column)>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn new(columns: &[(&'static str, Column)]) -> Self {
        Self { columns: columns.to_vec(), rows: Vec::new() }
    }

    /// Adds a row, one cell per column.
    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        let row: Vec<String> = cells.into_iter().collect();
        assert_eq!(row.len(), self.columns.len(), "a cell for every column");
        self.rows.push(row);
    }

    /// The table as text; nothing if it has no rows.
    pub(crate) fn render(&self, width: Option<usize>, heading: &Style) -> String {
        if self.rows.is_empty() {
            return String::new();
        }
        let mut widths: Vec<usize> =
            self.columns.iter().enumerate().map(|(at, column)| self.width(at, column.0)).collect();
        let natural = widths[0];
        let total = |shown: usize, first: usize| {
            first + widths[1..shown].iter().sum::<usize>() + GAP.len() * shown.saturating_sub(1)
        };
        let width = width.unwrap_or(usize::MAX);
        let fewest = self.columns.iter().take_while(|(_, column)| *column == Column::Name).count().max(1);
        let shown = (fewest..=self.columns.len())
            .rev()
            .find(|shown| total(*shown, natural.min(NAME_WIDTH_MIN)) <= width)
            .unwrap_or(fewest);
        widths[0] = natural.min(width.saturating_sub(total(shown, 0)).max(NAME_WIDTH_MIN));

        let mut text = String::new();
        let headings: Vec<String> = self.columns.iter().map(|(name, _)| (*name).to_owned()).collect();
        let line = truncate_str(self.line(&headings, &widths, shown).trim_end(), width, "…").into_owned();
        text.push_str(&format!("{}\n", heading.apply_to(line)));
        for row in &self.rows {
            text.push_str(&truncate_str(self.line(row, &widths, shown).trim_end(), width, "…"));
            text.push('\n');
        }
        text
    }

    fn width(&self, at: usize, heading: &str) -> usize {
        self.rows.iter().map(|row| measure_text_width(&row[at])).chain([measure_text_width(heading)]).max().unwrap_or(0)
    }

    fn line(&self, cells: &[String], widths: &[usize], shown: usize) -> String {
        let mut line = String::new();
        for (at, cell) in cells.iter().enumerate().take(shown) {
            let cell = truncate_str(cell, widths[at], "…");
            let padding = " ".repeat(widths[at] - measure_text_width(&cell));
            let gap = if at == 0 { "" } else { GAP };
            match self.columns[at].1 {
                Column::Number => line.extend([gap, &padding, &*cell]),
                Column::Name | Column::Text => line.extend([gap, &*cell, &padding]),
            }
        }
        line
    }
}

/// How long, in one unit: `850 ms`, `12 s`, `3 min`, `5 h`, `2 d`.
pub(crate) fn duration(ms: u64) -> String {
    match ms / 1000 {
        0 => format!("{ms} ms"),
        seconds @ ..120 => format!("{seconds} s"),
        seconds @ ..7200 => format!("{} min", seconds / 60),
        seconds @ ..172_800 => format!("{} h", seconds / 3600),
        seconds => format!("{} d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_align_and_leave_when_it_is_narrow() {
        let mut table = Table::new(&[("MODEL", Column::Name), ("RAM", Column::Number), ("NOTE", Column::Text)]);
        table.row(["a".to_owned(), "9 MiB".to_owned(), "new".to_owned()]);
        table.row(["modèle".to_owned(), "12 MiB".to_owned(), String::new()]);
        let render = |width| table.render(width, &Style::new());
        assert_eq!(render(None), "MODEL      RAM  NOTE\na        9 MiB  new\nmodèle  12 MiB\n");
        assert_eq!(render(Some(16)), "MODEL      RAM\na        9 MiB\nmodèle  12 MiB\n");
        assert_eq!(render(Some(4)), "MOD…\na\nmod…\n");
        let mut table = Table::new(&[("MODEL", Column::Name), ("QUANT", Column::Text), ("TOK/S", Column::Number)]);
        table.row(["an-organisation/a-model-with-a-long-name".to_owned(), "Q4_K_M".to_owned(), "12.3".to_owned()]);
        let render = |width| table.render(Some(width), &Style::new());
        assert_eq!(
            render(49),
            "MODEL                               QUANT   TOK/S\nan-organisation/a-model-with-a-lo…  Q4_K_M   12.3\n"
        );
        assert_eq!(
            render(48),
            "MODEL                                     QUANT\nan-organisation/a-model-with-a-long-name  Q4_K_M\n"
        );
        assert_eq!(Table::new(&[("MODEL", Column::Name)]).render(None, &Style::new()), "");
    }

    #[test]
    fn durations_have_one_unit() {
        for (ms, expected) in [(0, "0 ms"), (999, "999 ms"), (1000, "1 s"), (120_000, "2 min"), (7_200_000, "2 h")] {
            assert_eq!(duration(ms), expected);
        }
        assert_eq!(duration(200_000_000), "2 d");
    }
}
