//! The page `compared` counts its own lines.

use std::collections::BTreeMap;

const PAGE: &str = include_str!("../../src/compared.rs");
const STORE: &str = include_str!("../../examples/store.rs");
/// In the order of the table's columns.
const LIBRARIES: [&str; 5] =
    ["azure_security_keyvault_secrets", "vaultrs", "aws-sdk-secretsmanager", "octocrab", "ours"];

fn is_code(line: &str) -> bool {
    let line = line.trim();
    !(line.is_empty() || line.starts_with("//") || line == "#" || line.starts_with("# "))
}

/// The lines of each library's code, by the task's heading.
fn counted() -> BTreeMap<(String, &'static str), usize> {
    let mut counts = BTreeMap::new();
    let (mut task, mut block) = (String::new(), None::<Vec<&str>>);
    for line in PAGE.lines().map(|line| line.strip_prefix("//!").unwrap().strip_prefix(' ').unwrap_or_default()) {
        match &mut block {
            None => match line.strip_prefix("# ") {
                Some(heading) => task = heading.to_lowercase(),
                None if line.starts_with("```") => block = Some(Vec::new()),
                None => {}
            },
            Some(lines) if line == "```" => {
                let named = lines[0].strip_prefix("// ").unwrap_or("ours");
                let library = LIBRARIES.into_iter().find(|library| *library == named).unwrap();
                let count = lines.iter().filter(|line| is_code(line)).count();
                assert_eq!(counts.insert((task.clone(), library), count), None, "{task}, {library}");
                block = None;
            }
            Some(lines) => lines.push(line),
        }
    }
    let (_, rest) = STORE.split_once("/// One parameter that holds the secret of one key.\n").unwrap();
    let (parameter, _) = rest.split_once("#[tokio::main]").unwrap();
    counts.insert(("a store of one's own".into(), "ours"), parameter.lines().filter(|line| is_code(line)).count());
    counts
}

#[test]
fn the_table_says_what_the_page_shows() {
    let mut counts = counted();
    let rows: Vec<Vec<&str>> = PAGE
        .lines()
        .filter_map(|line| line.strip_prefix("//! | ["))
        .map(|row| row.trim_end_matches(" |").split(" | ").collect())
        .collect();
    assert_eq!(rows.len(), 6);
    for row in rows {
        let task = row[0].split(']').next().unwrap().to_lowercase();
        for (cell, library) in row[1..].iter().zip(LIBRARIES) {
            let number = cell.split(|letter: char| !letter.is_ascii_digit()).find_map(|word| word.parse().ok());
            assert_eq!(number, counts.remove(&(task.clone(), library)), "{task}, {library}");
            assert_eq!(number.is_none(), *cell == "–", "{task}, {library}");
        }
    }
    assert_eq!(counts, BTreeMap::new());
}
