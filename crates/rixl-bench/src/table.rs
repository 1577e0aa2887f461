//! Tables in Markdown.

/// A table of which the first columns are texts, and all others numbers.
pub fn table<const N: usize>(head: [&str; N], texts: usize, rows: impl IntoIterator<Item = [String; N]>) -> String {
    let rows: Vec<_> = [head.map(str::to_owned)].into_iter().chain(rows).collect();
    let widths: Vec<_> =
        (0..N).map(|column| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default()).collect();
    let mut text = String::new();
    for (number, row) in rows.iter().enumerate() {
        for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
            text += &if column < texts { format!("| {cell:width$} ") } else { format!("| {cell:>width$} ") };
        }
        text += "|\n";
        if number == 0 {
            for (column, width) in widths.iter().enumerate() {
                let dashes = "-".repeat(width + 1);
                text += &format!("|{dashes}{}", if column < texts { "-" } else { ":" });
            }
            text += "|\n";
        }
    }
    text
}

/// A readable number: digits in groups of three, and a sensible number of decimals.
pub fn count(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place) % 3 == 0 && !text.ends_with('-') {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

pub fn times(ratio: f64) -> String {
    format!("{ratio:.2}")
}

/// What was not measured.
pub fn or_dash(text: Option<String>) -> String {
    text.unwrap_or_else(|| "–".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_markdown() {
        let rows = [["a".to_owned(), "1".to_owned()], ["bb".to_owned(), "22".to_owned()]];
        assert_eq!(table(["name", "n"], 1, rows), "| name |  n |\n|------|---:|\n| a    |  1 |\n| bb   | 22 |\n");
    }

    #[test]
    fn digits_come_in_groups() {
        let texts = [0.0, 12.4, 999.9, 1_234.0, 1_234_567.0, -1_234.0, -123.0].map(count);
        assert_eq!(texts, ["0", "12", "1,000", "1,234", "1,234,567", "-1,234", "-123"]);
    }
}
