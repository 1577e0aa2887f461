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

    /// How many rows it has, with the header.
    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    pub(crate) fn remove(&mut self, row: usize) {
        if row < self.rows.len() {
            self.rows.remove(row);
        }
    }

    /// Its text, or none if there is only the header.
    pub(crate) fn take_rows(&mut self) -> String {
        if self.rows.len() > 1 { self.take() } else { String::new() }
    }

    /// Its text so far. What is added from now on has no header, and columns that are at least as wide.
    pub(crate) fn take(&mut self) -> String {
        let text = self.to_string();
        self.rows.clear();
        text
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
        // What follows what was taken stands below it.
        assert_eq!((table.take().lines().count(), table.len()), (3, 0));
        table.add(["new", "3 d"]);
        assert_eq!(table.take(), "new      3 d\n");
    }
}
