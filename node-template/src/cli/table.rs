//! Tables, as aligned text for a terminal.

use std::fmt;

/// Rows under a heading, in columns that are aligned to the left.
#[derive(Debug, Clone)]
pub(crate) struct Table {
    /// The heading comes first.
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with a heading and no rows yet.
    pub(crate) fn new(heading: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self { rows: vec![heading.into_iter().map(Into::into).collect()] }
    }

    /// Adds a row, which has a cell for each column.
    pub(crate) fn push(&mut self, cells: impl IntoIterator<Item = impl Into<String>>) {
        self.rows.push(cells.into_iter().map(Into::into).collect());
    }

    fn widths(&self) -> Vec<usize> {
        let width =
            |column: usize| self.rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or_default();
        (0..columns).map(|column| width(column).unwrap_or_default()).collect()
    }
}

/// Aligned columns, two blanks apart, without blanks at the ends of lines, and without a line end
/// after the last row.
impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let widths = self.widths();
        for (number, row) in self.rows.iter().enumerate() {
            let cells: Vec<_> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
            let end = if number == 0 { "" } else { "\n" };
            write!(f, "{end}{}", cells.join("  ").trim_end())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let mut table = Table::new(["name", "n", ""]);
        table.push(["é", "10", ""]);
        table.push(["a|b", "7", "ok"]);
        assert_eq!(table.to_string(), "name  n\né     10\na|b   7   ok");
        assert_eq!(Table::new(["a", "b"]).to_string(), "a  b");
    }
}
