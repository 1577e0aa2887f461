//! Writes what was found, always in the same order.

use std::{collections::BTreeMap, fmt::Write as _};

use serde_json::{Value, json};

use super::change::{Class, Drift, code, plain};
use crate::document::Object;

type Names<'a> = (&'a str, &'a str);

impl Drift {
    /// For the terminal, the worst place first.
    pub fn table(&self, (old, new): Names<'_>) -> String {
        let mut by_place = BTreeMap::<&str, Vec<_>>::new();
        for change in &self.changes {
            by_place.entry(&change.place).or_default().push(change);
        }
        // The worst place first, then by path.
        let mut places: Vec<_> = by_place.into_iter().collect();
        places.sort_by_key(|(place, changes)| {
            (changes.first().map(|change| change.class), path(place).to_owned(), (*place).to_owned())
        });
        let mut text = String::new();
        for (place, changes) in places {
            let _ = writeln!(text, "{}", plain(place));
            for change in changes {
                let _ = writeln!(text, "  {:<21}  {}", change.class.name(), change.what);
            }
        }
        let _ = writeln!(text, "\n{} -> {}: {}", code(old), code(new), summary(self));
        for class in Class::ALL {
            let _ = writeln!(text, "{:>6}  {}", count(self, class), class.name());
        }
        text
    }

    /// For programs.
    pub fn json(&self, (old, new): Names<'_>) -> Value {
        let changes: Vec<_> = self
            .changes
            .iter()
            .map(|change| json!({ "class": change.class.name(), "operation": change.place, "what": change.what }))
            .collect();
        json!({
            "old": old,
            "new": new,
            "is_breaking": self.is_breaking(),
            "operations": {
                "old": self.old_operations, "new": self.new_operations, "same_place": self.same_place,
                "moved": self.moved, "gone": self.gone, "added": self.added,
            },
            "counts": Object::from_iter(Class::ALL.map(|class| (class.name().to_owned(), json!(count(self, class))))),
            "changes": changes,
        })
    }

    /// For a pull request.
    pub fn markdown(&self, (old, new): Names<'_>) -> String {
        let mut text = format!("## API drift: {} to {}\n\n{}\n\n", code(old), code(new), summary(self));
        text += "| class | changes |\n| --- | ---: |\n";
        for class in Class::ALL {
            let _ = writeln!(text, "| {} | {} |", class.name(), count(self, class));
        }
        for class in Class::ALL {
            let sentences = self.sentences(class);
            if sentences.is_empty() {
                continue;
            }
            let is_folded = !class.is_breaking() && sentences.len() > NAMED;
            let _ = writeln!(text, "\n### {}\n", capital(class.name()));
            if is_folded {
                let _ = writeln!(text, "<details><summary>{} changes</summary>\n", count(self, class));
            }
            let mut hidden = 0;
            for (what, places) in sentences {
                let list = places.iter().map(|place| code(place)).collect::<Vec<_>>().join(", ");
                let line = match places.len() {
                    ..=NAMED => format!("- {list}: {what}\n"),
                    many => {
                        format!("- {many} operations: {what} <details><summary>which</summary>{list}</details>\n")
                    }
                };
                if text.len() + line.len() > MAX_MARKDOWN {
                    hidden += places.len();
                } else {
                    text += &line;
                }
            }
            if hidden > 0 {
                let _ = writeln!(text, "- {hidden} more, which `--format table` lists");
            }
            if is_folded {
                text += "\n</details>\n";
            }
        }
        text
    }

    /// For a workflow of GitHub's: an annotation of the new document for each sentence. Words are counted alone.
    pub fn github(&self, (old, new): Names<'_>) -> String {
        let annotation = |level: &str, title: &str, message: &str| {
            let file = if new == "-" { String::new() } else { format!("file={},", escaped(new, true)) };
            format!("::{level} {file}title={}::{}\n", escaped(title, true), escaped(message, false))
        };
        let mut text = String::new();
        for class in Class::ALL {
            let level = match class {
                Class::Callers | Class::Decoding => "error",
                Class::Unjudged => "warning",
                Class::Additive => "notice",
                Class::Wording => continue,
            };
            for (what, places) in self.sentences(class) {
                let first = plain(places.first().copied().unwrap_or_default());
                let place = match places.len() {
                    1 => first,
                    many => format!("{many} operations, the first of them {first}"),
                };
                text += &annotation(level, class.name(), &format!("{place}: {what}"));
            }
        }
        let counts: Vec<_> =
            Class::ALL.iter().map(|class| format!("{} {}", count(self, *class), class.name())).collect();
        let message = format!("{} to {}: {} Changes: {}.", code(old), code(new), summary(self), counts.join(", "));
        text + &annotation("notice", "API drift", &message)
    }

    /// Each sentence with the operations that it is of: they share schemas, and so may be many.
    fn sentences(&self, class: Class) -> Vec<(&str, Vec<&str>)> {
        let mut by_what = BTreeMap::<&str, Vec<&str>>::new();
        for change in self.changes.iter().filter(|change| change.class == class) {
            by_what.entry(&change.what).or_default().push(&change.place);
        }
        let mut sentences: Vec<_> = by_what.into_iter().collect();
        sentences
            .sort_by_key(|(what, places)| (places.first().map(|place| path(place).to_owned()), (*what).to_owned()));
        sentences
    }
}

/// What GitHub would take for the end of a command's message, or of one of its properties.
fn escaped(text: &str, is_property: bool) -> String {
    let text = text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A");
    if is_property { text.replace(':', "%3A").replace(',', "%2C") } else { text }
}

fn summary(drift: &Drift) -> String {
    format!(
        "{} operations before, {} now: {} at the same place, {} moved, {} gone, {} new.",
        drift.old_operations, drift.new_operations, drift.same_place, drift.moved, drift.gone, drift.added
    )
}

fn count(drift: &Drift, class: Class) -> usize {
    drift.changes.iter().filter(|change| change.class == class).count()
}

fn path(place: &str) -> &str {
    place.split_once(' ').map_or(place, |(_, path)| path)
}

/// GitHub takes 65,536 characters in a pull request.
const MAX_MARKDOWN: usize = 58_000;

/// More operations than this are counted, and listed where they can be folded away.
const NAMED: usize = 5;

fn capital(name: &str) -> String {
    let mut letters = name.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::{super::change::Change, *};

    fn drift() -> Drift {
        let change = |class, place: &str, what: &str| Change { class, place: place.into(), what: what.into() };
        let changes = vec![
            change(Class::Callers, "POST /b", "gone"),
            change(Class::Additive, "GET /a", "new"),
            change(Class::Additive, "GET /c", "new"),
        ];
        Drift { changes, old_operations: 1, new_operations: 2, gone: 1, added: 2, ..Drift::default() }
    }

    const NAMES: Names<'_> = ("old.json", "new.yaml");

    #[test]
    fn the_table_has_the_worst_first() {
        assert_eq!(
            drift().table(NAMES),
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
     0  not compared
     2  additive
     0  wording
"
        );
    }

    #[test]
    fn markdown_says_one_sentence_once() {
        assert_eq!(
            drift().markdown(NAMES),
            "\
## API drift: `old.json` to `new.yaml`

1 operations before, 2 now: 0 at the same place, 0 moved, 1 gone, 2 new.

| class | changes |
| --- | ---: |
| breaking for callers | 1 |
| breaking for decoding | 0 |
| not compared | 0 |
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
    fn markdown_fits_into_a_pull_request() {
        let change =
            |index: usize| Change { class: Class::Callers, place: format!("GET /{index}"), what: format!("{index}") };
        let changes = (0..9000).map(change).collect();
        let text = Drift { changes, ..Drift::default() }.markdown(NAMES);
        assert!(text.len() < 60_000 && text.ends_with(" more, which `--format table` lists\n"), "{}", text.len());
    }

    #[test]
    fn github_gets_commands_that_nothing_ends_early() {
        let mut drift = drift();
        drift.changes.push(Change {
            class: Class::Unjudged,
            place: "GET /50%,\n::error::x".into(),
            what: "a: b%0Ac".into(),
        });
        drift.changes.push(Change { class: Class::Wording, place: "GET /a".into(), what: "words".into() });
        assert_eq!(
            drift.github(("old.json", "specs/a:b,c%\n.yaml")),
            "\
::error file=specs/a%3Ab%2Cc%25%0A.yaml,title=breaking for callers::POST /b: gone
::warning file=specs/a%3Ab%2Cc%25%0A.yaml,title=not compared::GET /50%25, ::error::x: a: b%250Ac
::notice file=specs/a%3Ab%2Cc%25%0A.yaml,title=additive::2 operations, the first of them GET /a: new
::notice file=specs/a%3Ab%2Cc%25%0A.yaml,title=API drift::`old.json` to `specs/a:b,c%25 .yaml`: 1 operations before, \
2 now: 0 at the same place, 0 moved, 1 gone, 2 new. Changes: 1 breaking for callers, 0 breaking for decoding, \
1 not compared, 2 additive, 1 wording.
"
        );
        assert!(drift.github(("old.json", "-")).starts_with("::error title="));
    }

    #[test]
    fn json_has_it_all() {
        let json = drift().json(NAMES);
        assert_eq!(
            json["changes"][0],
            json!({ "class": "breaking for callers", "operation": "POST /b", "what": "gone" })
        );
        assert_eq!((&json["is_breaking"], &json["counts"]["additive"]), (&json!(true), &json!(2)));
    }
}
