//! Tables, as aligned text for a terminal or as Markdown for a document.

use std::fmt;

/// How a table is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Aligned columns, two blanks apart, without blanks at the ends of lines.
    Text,
    /// A Markdown table, which is aligned in its source too.
    Markdown,
}

/// Rows under a heading. Columns are aligned to the left unless [`Table::right`] says otherwise.
#[derive(Debug, Clone)]
pub struct Table {
    /// The heading comes first.
    rows: Vec<Vec<String>>,
    /// Whether each column is aligned to the right.
    right: Vec<bool>,
}

impl Table {
    /// A table with a heading and no rows yet.
    pub fn new(heading: impl IntoIterator<Item = impl Into<String>>) -> Self {
        let heading: Vec<String> = heading.into_iter().map(Into::into).collect();
        Self { right: vec![false; heading.len()], rows: vec![heading] }
    }

    /// Aligns these columns to the right, as suits numbers.
    #[must_use]
    pub fn right(mut self, columns: impl IntoIterator<Item = usize>) -> Self {
        for column in columns {
            self.right[column] = true;
        }
        self
    }

    /// Adds a row, which has a cell for each column.
    pub fn push(&mut self, cells: impl IntoIterator<Item = impl Into<String>>) {
        self.rows.push(cells.into_iter().map(Into::into).collect());
    }

    /// The text, without a line end after the last row.
    pub fn show(&self, format: Format) -> String {
        match format {
            Format::Text => {
                self.aligned(&self.rows).map(|cells| cells.join("  ").trim_end().to_owned()).collect::<Vec<_>>()
            }
            Format::Markdown => self.markdown(),
        }
        .join("\n")
    }

    fn markdown(&self) -> Vec<String> {
        let escape = |row: &Vec<String>| row.iter().map(|cell| cell.replace('|', "\\|")).collect();
        let rows: Vec<Vec<String>> = self.rows.iter().map(escape).collect();
        let mut lines: Vec<_> = self.aligned(&rows).map(|cells| format!("| {} |", cells.join(" | "))).collect();
        let rule = |(width, right): (usize, &bool)| {
            if *right { "-".repeat(width + 1) + ":" } else { ":".to_owned() + &"-".repeat(width + 1) }
        };
        let rules: Vec<_> = self.widths(&rows).into_iter().zip(&self.right).map(rule).collect();
        lines.insert(1, format!("|{}|", rules.join("|")));
        lines
    }

    fn aligned<'a>(&'a self, rows: &'a [Vec<String>]) -> impl Iterator<Item = Vec<String>> + 'a {
        let widths = self.widths(rows);
        rows.iter().map(move |row| {
            let columns = row.iter().zip(&widths).zip(&self.right);
            let pad = |((cell, width), right): ((&String, &usize), &bool)| {
                if *right { format!("{cell:>width$}") } else { format!("{cell:<width$}") }
            };
            columns.map(pad).collect()
        })
    }

    fn widths(&self, rows: &[Vec<String>]) -> Vec<usize> {
        let width =
            |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
        (0..self.right.len()).map(|column| width(column).unwrap_or_default()).collect()
    }
}

/// As text.
impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.show(Format::Text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let mut table = Table::new(["name", "n", ""]).right([1]);
        table.push(["é", "10", ""]);
        table.push(["a|b", "7", "ok"]);
        assert_eq!(table.show(Format::Text), "name   n\né     10\na|b    7  ok");
        assert_eq!(
            table.show(Format::Markdown),
            "| name |  n |    |\n|:-----|---:|:---|\n| é    | 10 |    |\n| a\\|b |  7 | ok |"
        );
    }

    #[test]
    fn a_heading_alone_is_a_table() {
        assert_eq!(Table::new(["a", "b"]).to_string(), "a  b");
        assert_eq!(Table::new(["a", "b"]).show(Format::Markdown), "| a | b |\n|:--|:--|");
    }
}
