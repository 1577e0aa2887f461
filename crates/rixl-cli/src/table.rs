//! Plain tables.

use std::fmt;

use unicode_width::UnicodeWidthStr as _;

use crate::text::shown;

/// Rows under a header, aligned by spaces. What goes in is made safe for a terminal.
#[derive(Debug)]
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
    widths: Vec<usize>,
}

impl Table {
    pub(crate) fn new<const COLUMNS: usize>(header: [&str; COLUMNS]) -> Self {
        let mut table = Self { rows: Vec::new(), widths: vec![0; COLUMNS] };
        table.add(header);
        table
    }

    pub(crate) fn add<'a>(&mut self, cells: impl IntoIterator<Item = &'a str>) {
        let cells: Vec<_> = cells.into_iter().map(|cell| shown(cell).into_owned()).collect();
        for (width, cell) in self.widths.iter_mut().zip(&cells) {
            *width = (*width).max(cell.width());
        }
        self.rows.push(cells);
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for row in &self.rows {
            let mut padding = 0;
            for (cell, width) in row.iter().zip(&self.widths) {
                // Before the next cell, so that no line ends in spaces.
                write!(f, "{:padding$}{cell}", "")?;
                padding = width.saturating_sub(cell.width()) + 2;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_they_look() {
        let mut table = Table::new(["name", "age"]);
        table.add(["課金", "1 d"]);
        table.add(["billing", "20 d"]);
        assert_eq!(table.to_string(), "name     age\n課金     1 d\nbilling  20 d\n");
    }
}
