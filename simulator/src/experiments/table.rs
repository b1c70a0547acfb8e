//! A table of figures: in columns for a terminal, or in Markdown.

/// Rows of cells under a header.
#[derive(Debug)]
pub struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table without rows.
    pub fn new(header: &[&str]) -> Self {
        Self { rows: vec![header.iter().map(|cell| (*cell).to_owned()).collect()] }
    }

    /// Adds a row.
    pub fn push(&mut self, row: Vec<String>) {
        self.rows.push(row);
    }

    /// The table in right-aligned columns.
    pub fn text(&self) -> String {
        let columns = self.rows[0].len();
        let width = |column: usize| self.rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.len()).max();
        let widths: Vec<_> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
        let line = |row: &Vec<String>| {
            let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:>width$}"));
            cells.collect::<Vec<_>>().join("  ") + "\n"
        };
        self.rows.iter().map(line).collect()
    }

    /// The table in Markdown.
    pub fn markdown(&self) -> String {
        let line = |row: &Vec<String>| format!("| {} |\n", row.join(" | "));
        let mut text = line(&self.rows[0]);
        text += &format!("|{}\n", "---:|".repeat(self.rows[0].len()));
        text + &self.rows[1..].iter().map(line).collect::<String>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_have_all_cells() {
        let mut table = Table::new(&["nodes", "copies"]);
        table.push(vec!["12".to_owned(), "1.00".to_owned()]);
        assert_eq!(table.text(), "nodes  copies\n   12    1.00\n");
        assert_eq!(table.markdown(), "| nodes | copies |\n|---:|---:|\n| 12 | 1.00 |\n");
    }
}
