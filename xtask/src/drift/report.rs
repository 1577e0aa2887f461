//! Prints what was found, always in the same order.

use std::{collections::BTreeMap, fmt::Write as _};

use serde_json::{Value, json};

use super::{Class, Drift, code};

type Names = (String, String);

fn summary(drift: &Drift) -> String {
    format!(
        "{} operations before, {} now: {} at the same place, {} moved, {} gone, {} new.",
        drift.old_operations, drift.new_operations, drift.same_place, drift.moved, drift.gone, drift.added
    )
}

fn count(drift: &Drift, class: Class) -> usize {
    drift.changes.iter().filter(|change| change.class == class).count()
}

pub(super) fn table(drift: &Drift, (old, new): &Names) -> String {
    let mut by_place = BTreeMap::<&str, Vec<_>>::new();
    for change in &drift.changes {
        by_place.entry(&change.place).or_default().push(change);
    }
    // The worst place first, then by path.
    let mut places: Vec<_> = by_place.into_iter().collect();
    places.sort_by_key(|(place, changes)| {
        (changes.first().map(|change| change.class), path(place).to_owned(), (*place).to_owned())
    });
    let mut text = String::new();
    for (place, changes) in places {
        let _ = writeln!(text, "{}", code(place).trim_matches('`'));
        for change in changes {
            let _ = writeln!(text, "  {:<21}  {}", change.class.name(), change.what);
        }
    }
    let _ = writeln!(text, "\n{} -> {}: {}", code(old), code(new), summary(drift));
    for class in Class::ALL {
        let _ = writeln!(text, "{:>6}  {}", count(drift, class), class.name());
    }
    text
}

fn path(place: &str) -> &str {
    place.split_once(' ').map_or(place, |(_, path)| path)
}

pub(super) fn json(drift: &Drift, (old, new): &Names) -> Value {
    let changes: Vec<_> = drift
        .changes
        .iter()
        .map(|change| json!({ "class": change.class.name(), "operation": change.place, "what": change.what }))
        .collect();
    json!({
        "old": old,
        "new": new,
        "is_breaking": drift.changes.iter().any(|change| change.class.is_breaking()),
        "operations": {
            "old": drift.old_operations, "new": drift.new_operations, "same_place": drift.same_place,
            "moved": drift.moved, "gone": drift.gone, "added": drift.added,
        },
        "counts": Class::ALL.map(|class| (class.name().to_owned(), json!(count(drift, class)))).into_iter().collect::<serde_json::Map<_, _>>(),
        "changes": changes,
    })
}

/// More operations than this are counted, and listed where they can be folded away.
const NAMED: usize = 5;

pub(super) fn markdown(drift: &Drift, (old, new): &Names) -> String {
    let mut text = format!("## API drift: {} to {}\n\n{}\n\n", code(old), code(new), summary(drift));
    text += "| class | changes |\n| --- | ---: |\n";
    for class in Class::ALL {
        let _ = writeln!(text, "| {} | {} |", class.name(), count(drift, class));
    }
    for class in Class::ALL {
        // Operations share schemas: one sentence may be of many.
        let mut by_what = BTreeMap::<&str, Vec<&str>>::new();
        for change in drift.changes.iter().filter(|change| change.class == class) {
            by_what.entry(&change.what).or_default().push(&change.place);
        }
        if by_what.is_empty() {
            continue;
        }
        let mut sentences: Vec<_> = by_what.into_iter().collect();
        sentences
            .sort_by_key(|(what, places)| (places.first().map(|place| path(place).to_owned()), (*what).to_owned()));
        let is_folded = !class.is_breaking() && sentences.len() > NAMED;
        let _ = writeln!(text, "\n### {}\n", capital(class.name()));
        if is_folded {
            let _ = writeln!(text, "<details><summary>{} changes</summary>\n", count(drift, class));
        }
        for (what, places) in sentences {
            let named = places.iter().map(|place| code(place)).collect::<Vec<_>>();
            match named.as_slice() {
                few if few.len() <= NAMED => {
                    let _ = writeln!(text, "- {}: {what}", few.join(", "));
                }
                many => {
                    let _ = writeln!(
                        text,
                        "- {} operations: {what} <details><summary>which</summary>{}</details>",
                        many.len(),
                        many.join(", ")
                    );
                }
            }
        }
        if is_folded {
            text += "\n</details>\n";
        }
    }
    text
}

fn capital(name: &str) -> String {
    let mut letters = name.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::{super::Change, *};

    fn drift() -> Drift {
        let change = |class, place: &str, what: &str| Change { class, place: place.into(), what: what.into() };
        let changes = vec![
            change(Class::Callers, "POST /b", "gone"),
            change(Class::Additive, "GET /a", "new"),
            change(Class::Additive, "GET /c", "new"),
        ];
        Drift { changes, old_operations: 1, new_operations: 2, gone: 1, added: 2, ..Drift::default() }
    }

    fn names() -> Names {
        ("old.json".into(), "new.yaml".into())
    }

    #[test]
    fn the_table_has_the_worst_first() {
        assert_eq!(
            table(&drift(), &names()),
            "\
POST /b
  breaking for callers   gone
GET /a
  additive               new
GET /c
  additive               new

`old.json` -> `new.yaml`: 1 operations before, 2 now: 0 at the same place, 0 moved, 1 gone, 2 new.
     1  breaking for callers
     0  breaking for decoding
     2  additive
     0  wording
"
        );
    }

    #[test]
    fn markdown_says_one_sentence_once() {
        assert_eq!(
            markdown(&drift(), &names()),
            "\
## API drift: `old.json` to `new.yaml`

1 operations before, 2 now: 0 at the same place, 0 moved, 1 gone, 2 new.

| class | changes |
| --- | ---: |
| breaking for callers | 1 |
| breaking for decoding | 0 |
| additive | 2 |
| wording | 0 |

### Breaking for callers

- `POST /b`: gone

### Additive

- `GET /a`, `GET /c`: new
"
        );
    }

    #[test]
    fn json_has_it_all() {
        let json = json(&drift(), &names());
        assert_eq!(
            json["changes"][0],
            json!({ "class": "breaking for callers", "operation": "POST /b", "what": "gone" })
        );
        assert_eq!((&json["is_breaking"], &json["counts"]["additive"]), (&json!(true), &json!(2)));
    }
}
