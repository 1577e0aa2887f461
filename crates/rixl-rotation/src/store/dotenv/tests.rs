#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use proptest::prelude::*;

use super::{parse, read, replace};

const NAME: &str = "RIXL_API_KEY";

fn get(text: &str) -> Result<Option<String>, String> {
    read(text, NAME).map(|value| value.map(|value| value.to_string()))
}

fn put(text: &str, value: &str) -> Result<String, String> {
    replace(text, NAME, value).map(|text| text.to_string())
}

#[test]
fn only_the_value_changes() {
    // The file, what it holds, and the file afterwards.
    let cases = [
        ("RIXL_API_KEY=old\n", "old", "RIXL_API_KEY=new\n"),
        ("RIXL_API_KEY='old'\n", "old", "RIXL_API_KEY='new'\n"),
        ("RIXL_API_KEY=\"old\"", "old", "RIXL_API_KEY=\"new\""),
        (
            "# a\r\n\r\nexport  RIXL_API_KEY = old \t# why\r\nB=2",
            "old",
            "# a\r\n\r\nexport  RIXL_API_KEY = new \t# why\r\nB=2",
        ),
        ("\u{feff}A=1\n  RIXL_API_KEY=\"old\"\t#c'\nB=\n", "old", "\u{feff}A=1\n  RIXL_API_KEY=\"new\"\t#c'\nB=\n"),
        ("RIXL_API_KEY=old\nexport RIXL_API_KEY\n", "old", "RIXL_API_KEY=new\nexport RIXL_API_KEY\n"),
        ("RIXL_API_KEY=old\nA=$RIXL_API_KEY x\n", "old", "RIXL_API_KEY=new\nA=$RIXL_API_KEY x\n"),
        ("RIXL_API_KEY=\n", "", "RIXL_API_KEY=new\n"),
        ("RIXL_API_KEY=  # to be set\n", "", "RIXL_API_KEY=new  # to be set\n"),
        ("RIXL_API_KEY='old value'  \n", "old value", "RIXL_API_KEY='new'  \n"),
        ("RIXL_API_KEY=\"a\\\"b\\nc\"\n", "a\"b\nc", "RIXL_API_KEY=\"new\"\n"),
        (
            "A=\"x\nRIXL_API_KEY=no\n# y\"\nRIXL_API_KEY=old\n",
            "old",
            "A=\"x\nRIXL_API_KEY=no\n# y\"\nRIXL_API_KEY=new\n",
        ),
        ("A='\nRIXL_API_KEY=no'\nRIXL_API_KEY=old\n", "old", "A='\nRIXL_API_KEY=no'\nRIXL_API_KEY=new\n"),
        (
            "#RIXL_API_KEY=no\nXRIXL_API_KEY=no\nRIXL_API_KEY_2=no\nRIXL_API_KEY=old\n",
            "old",
            "#RIXL_API_KEY=no\nXRIXL_API_KEY=no\nRIXL_API_KEY_2=no\nRIXL_API_KEY=new\n",
        ),
        (
            "export=1\nJSON={\"a\": \"b\"}\nBARE\nA.B-C=d\nRIXL_API_KEY=old\n",
            "old",
            "export=1\nJSON={\"a\": \"b\"}\nBARE\nA.B-C=d\nRIXL_API_KEY=new\n",
        ),
    ];
    for (before, old, after) in cases {
        assert_eq!(get(before).unwrap().unwrap(), old, "{before:?}");
        assert_eq!(put(before, "new").unwrap(), after);
        assert_eq!(get(after).unwrap().unwrap(), "new");
    }
}

#[test]
fn what_is_not_there_is_added() {
    let cases = [
        ("", "RIXL_API_KEY=new\n"),
        ("\u{feff}A=1\n", "\u{feff}A=1\nRIXL_API_KEY=new\n"),
        ("A=1\n", "A=1\nRIXL_API_KEY=new\n"),
        ("A=1\r\n", "A=1\r\nRIXL_API_KEY=new\r\n"),
        ("A=1", "A=1\nRIXL_API_KEY=new"),
        ("A=1\r\nB=2", "A=1\r\nB=2\r\nRIXL_API_KEY=new"),
        ("# RIXL_API_KEY=no", "# RIXL_API_KEY=no\nRIXL_API_KEY=new"),
        ("A='\nRIXL_API_KEY=no'", "A='\nRIXL_API_KEY=no'\nRIXL_API_KEY=new"),
    ];
    for (before, after) in cases {
        assert_eq!(get(before).unwrap(), None, "{before:?}");
        assert_eq!(put(before, "new").unwrap(), after);
    }
    assert_eq!(put("", "a b").unwrap(), "RIXL_API_KEY='a b'\n");
}

#[test]
fn quotes_are_kept_or_found() {
    // The value before, the secret, the value afterwards; `None` when it is refused.
    let cases = [
        ("old", "a-b_c.d/e:f+g=@%,h", Some("a-b_c.d/e:f+g=@%,h")),
        ("old", "a#b", Some("'a#b'")),
        ("old", " a b ", Some("' a b '")),
        ("old", "a'b", Some("\"a'b\"")),
        ("old", "~a", Some("'~a'")),
        ("old", "é", Some("'é'")),
        ("\"old\"", "a b#c", Some("\"a b#c\"")),
        ("\"old\"", "a\"b", Some("'a\"b'")),
        ("\"old\"", "a`b", Some("'a`b'")),
        ("'old'", "a'b", Some("\"a'b\"")),
        ("'old'", "é", Some("'é'")),
        ("old", "a$b", None),
        ("'old'", "a\\b", None),
        ("'old'", "a'b\"c", None),
        ("\"old\"", "a\nb", None),
        ("\"old\"", "a\rb", None),
        ("old", "a\tb", None),
        ("old", "a\0b", None),
        ("'old'", "a\u{2028}b", None),
    ];
    for (before, secret, after) in cases {
        let text = put(&format!("RIXL_API_KEY={before} # c\n"), secret);
        match after {
            Some(after) => {
                let text = text.unwrap();
                assert_eq!(text, format!("RIXL_API_KEY={after} # c\n"));
                assert_eq!(get(&text).unwrap().unwrap(), secret);
            }
            None => assert!(!text.unwrap_err().contains(secret)),
        }
    }
}

#[test]
fn what_readers_take_differently_is_refused() {
    let cases = [
        ("RIXL_API_KEY=a\nRIXL_API_KEY=b\n", "RIXL_API_KEY is set twice, in lines 1 and 2: remove one"),
        ("RIXL_API_KEY=a\nRIXL_API_KEY\n", "twice"),
        ("export RIXL_API_KEY\n", "line 1: RIXL_API_KEY has no `=`"),
        ("\u{feff}", "byte order mark"),
        ("\u{feff}# A=1\nRIXL_API_KEY=a\n", "byte order mark"),
        ("A=1\nB\n\n# c\nRIXL_API_KEY=a\n", "line 2: it begins with a blank or has no `=`"),
        ("export RIXL_API_KEY\nRIXL_API_KEY=a\n", "line 1: it begins with a blank or has no `=`"),
        ("A='1'\n  # c\nRIXL_API_KEY=a\n", "line 2: it begins with a blank"),
        ("A='1'\n\n  ", "line 3: it begins with a blank"),
        ("A=1\nB\n", "line 2: it begins with a blank or has no `=`"),
        ("export RIXL_API_KEY=a DB_PASSWORD=hunter2\n", "line 1: a blank without quotes"),
        ("RIXL_API_KEY=a value\n", "line 1: a blank without quotes"),
        ("RIXL_API_KEY=a; export RIXL_API_KEY\n", "line 1: `;` without quotes"),
        ("RIXL_API_KEY=a;DB=1\n", "line 1: `;` without quotes"),
        ("RIXL_API_KEY=a && DB=1\n", "line 1: a blank without quotes"),
        ("RIXL_API_KEY=a&&DB=1\n", "line 1: `&` without quotes"),
        ("RIXL_API_KEY=a|b\n", "line 1: `|` without quotes"),
        ("RIXL_API_KEY=a>b\n", "line 1: `>` without quotes"),
        ("RIXL_API_KEY=(a)\n", "line 1: `(` without quotes"),
        ("RIXL_API_KEY=~a\n", "line 1: readers differ on a value with `~`"),
        ("\n\nexport DB=1 RIXL_API_KEY=a\n", "line 3: a shell would read RIXL_API_KEY there"),
        ("RIXL_API_KEY=a\nDB=1;RIXL_API_KEY+=b\n", "line 2: a shell would read RIXL_API_KEY there"),
        ("A=1\nRIXL_API_KEY\n", "line 2: RIXL_API_KEY has no `=`"),
        ("A='\n\nRIXL_API_KEY=a\n", "line 1: its quote is not closed"),
        ("A=\"x\\\"\nRIXL_API_KEY=a\n", "line 1: its quote is not closed"),
        ("A=it's\nRIXL_API_KEY=a\n", "line 1: a quote is not closed"),
        ("A=`x\nRIXL_API_KEY=a\n", "line 1: a quote is not closed"),
        ("A=x\\\nRIXL_API_KEY=a\n", "line 1: a quote is not closed, or there is a backslash at the end"),
        ("A=\"C:\\\\\"\nRIXL_API_KEY=a\n", "line 1: readers differ on a backslash before the closing quote"),
        ("A='C:\\'\nRIXL_API_KEY=a\n", "line 1: readers differ on a backslash before the closing quote"),
        ("A=\"x\"y\nRIXL_API_KEY=a\n", "line 1: something follows the closing quote"),
        ("RIXL_API_KEY='a'#c\n", "line 1: something follows the closing quote"),
        ("RIXL_API_KEY: a\n", "line 1: it is not of the form `NAME=value`"),
        ("'RIXL_API_KEY'=a\n", "line 1: it is not of the form `NAME=value`"),
        ("A=1\n=a\n", "line 2: it is not of the form `NAME=value`"),
        ("set RIXL_API_KEY=a\n", "line 1: it is not of the form `NAME=value`"),
        ("RIXL_API_KEY=a\rB=2\n", "line 1: a carriage return"),
        ("A=1\n#\0\n", "line 2: it has a control character"),
        ("A=x\u{2028}RIXL_API_KEY=a\n", "line 1: it has a control character"),
        ("RIXL_API_KEY=a#b\n", "line 1: readers differ on a value with `#`"),
        ("RIXL_API_KEY=#b\n", "line 1: readers differ on a value with `#`"),
        ("RIXL_API_KEY=a'b'c\n", "line 1: readers differ"),
        ("RIXL_API_KEY=$OTHER\n", "line 1: readers differ on a value with `$`"),
        ("RIXL_API_KEY=\"${OTHER}\"\n", "line 1: readers differ"),
        ("RIXL_API_KEY='a\\b'\n", "line 1: readers differ on a value with a backslash in single quotes"),
        ("RIXL_API_KEY=\"a\\qb\"\n", "line 1: readers differ on a value with such an escape"),
    ];
    for (text, reason) in cases {
        let error = get(text).unwrap_err();
        assert!(error.contains(reason), "{text:?}: {error}");
    }
}

/// With a second look at the whole text for each line, this would take longer than a test may.
#[test]
fn a_file_of_the_largest_size_is_read_once() {
    let text = "A=1\n# c\n".repeat(128 * 1024 - 8) + "RIXL_API_KEY=old\nB=it's";
    assert!(put(&text, "new").unwrap_err().starts_with("line 262130: a quote is not closed"));
    let text = text.replace("it's", "'it'");
    assert_eq!(put(&text, "new").unwrap(), text.replace("=old", "=new"));
}

/// A line of a realistic file other than the one that is looked for, without its ending.
fn line() -> impl Strategy<Value = String> {
    let value = prop_oneof![
        "[A-Za-z0-9_./:-]{0,12}",
        "[a-z]{1,5}( [a-z#]{1,5}){0,2}".prop_map(|text| text + " "),
        "'[ -&(-\\[\\]-~é\n]{0,20}'",
        "\"([ !#-\\[\\]-~é\n]|\\\\[nt\"$]){0,20}[ !#-\\[\\]-~]\"",
        Just("\"x\nRIXL_API_KEY=fake\n\"".to_owned()),
        Just("'\nexport RIXL_API_KEY=fake\n# '".to_owned()),
        Just("{\"json\": [1, \"two\"]}".to_owned()),
    ];
    prop_oneof![
        Just(String::new()),
        "#[ -~é]{0,20}",
        "#[ -~é]{0,20}",
        "[ \t]{0,3}",
        Just("# RIXL_API_KEY=fake 'not closed".to_owned()),
        ("(export )?", "[A-Z][A-Z0-9_]{0,8}|RIXL_API_KEY_2", "(=| = |= )", value, "(|  # [ -~]{0,10})")
            .prop_map(|(export, name, equals, value, comment)| format!("{export}{name}{equals}{value}{comment}")),
    ]
}

#[derive(Clone, Debug)]
struct Sample {
    head: String,
    value: String,
    tail: String,
}

/// A file, cut around the value that is looked for.
fn sample() -> impl Strategy<Value = Sample> {
    let lines = || prop::collection::vec(line(), 0..5);
    let value = prop_oneof!["[A-Za-z0-9_]{0,12}", "'[ -&(-\\[\\]-~]{0,12}'", "\"[a-z #']{0,12}\""];
    let around = ("[ \t]{0,2}(export )?", "(=| = |= )", value, "(|[ \t]{1,2}|  #[ -~]{0,10})");
    let bom = prop::bool::weighted(0.1);
    (bom, any::<[bool; 2]>(), lines(), around, lines()).prop_map(|(bom, [crlf, ends], before, around, after)| {
        let ending = if crlf { "\r\n" } else { "\n" };
        let (export, equals, value, comment) = around;
        let join =
            |lines: Vec<String>| lines.iter().map(|line| line.replace('\n', ending) + ending).collect::<String>();
        let bom = if bom { "\u{feff}" } else { "" };
        // Without a value, it is put right after the `=`.
        let (equals, blank) = if value.is_empty() { equals.split_at(equals.trim_end().len()) } else { (&*equals, "") };
        let head = format!("{bom}{}{export}{NAME}{equals}", join(before));
        let mut tail = format!("{blank}{comment}{ending}{}", join(after));
        if !ends {
            tail.truncate(tail.trim_end_matches(['\r', '\n']).len());
        }
        Sample { head, value, tail }
    })
}

fn secret() -> impl Strategy<Value = String> {
    prop_oneof!["rxl_[A-Za-z0-9]{1,40}", "[ -~]{0,20}", "\\PC{0,10}", any::<String>()]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4, ..ProptestConfig::default() })]

    /// The generator is not so odd that nothing is tested.
    #[test]
    fn most_samples_are_taken(samples in prop::collection::vec(sample(), 30)) {
        let taken = samples.iter().filter(|one| put(&format!("{}{}{}", one.head, one.value, one.tail), "rxl_x").is_ok());
        prop_assert!(taken.count() > 15);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn the_span_of_the_value_alone_changes(sample in sample(), secret in secret()) {
        let Sample { head, value, tail } = sample;
        let text = format!("{head}{value}{tail}");
        // All that is generated can be parsed, but for rare chances such as a backslash that meets a quote.
        let Ok(before) = parse(&text) else { return Ok(()) };
        let Ok(new) = put(&text, &secret) else { return Ok(()) };
        prop_assert!(new.starts_with(&head), "{text:?} became {new:?}");
        prop_assert!(new.ends_with(&tail), "{text:?} became {new:?}");
        let span = &new[head.len()..new.len() - tail.len()];
        prop_assert!(span.contains(&secret) && span.len() <= secret.len() + 2);
        prop_assert_eq!(get(&new).unwrap().unwrap(), secret);
        let (before, after) = (before.all, parse(&new).unwrap().all);
        prop_assert_eq!(before.len(), after.len());
        for (before, after) in before.iter().zip(&after).filter(|(before, _)| before.name(&text) != NAME) {
            prop_assert_eq!(before.raw(&text), after.raw(&new));
        }
    }

    #[test]
    fn what_is_added_stands_at_the_end(lines in prop::collection::vec(line(), 0..5), secret in secret()) {
        let text = lines.join("\n");
        let Ok(new) = put(&text, &secret) else { return Ok(()) };
        prop_assert!(new.starts_with(&text));
        prop_assert_eq!(get(&new).unwrap().unwrap(), secret);
    }

    #[test]
    fn nothing_panics(text in any::<String>(), secret in any::<String>()) {
        let _ = (get(&text), put(&text, &secret));
    }

    #[test]
    fn nothing_panics_on_what_looks_like_a_file(text in "([A\"'`\\\\#=\n\r \t$é]|export |RIXL_API_KEY|\u{feff}){0,20}") {
        let _ = get(&text);
        if let Ok(new) = put(&text, "a b") {
            prop_assert_eq!(get(&new).unwrap().unwrap(), "a b");
        }
    }

    /// An independent reader sees the same, before and after.
    #[test]
    fn dotenvy_agrees(
        others in prop::collection::vec(
            ("(export )?", "[A-Z]{1,6}", prop_oneof!["[a-z0-9_./:-]{1,9}", "'[a-z #\"\n=$]{0,9}'", "\"[a-z #'\n=]{0,9}\""], "(| # c)"),
            0..4,
        ),
        at in 0_usize..4,
        value in prop_oneof!["[a-z0-9]{1,9}", "'[a-z #\"]{0,9}'", "\"[a-z #']{0,9}\""],
        secret in prop_oneof!["rxl_[A-Za-z0-9]{1,40}", "[ -~é]{1,20}"],
        ends in any::<bool>(),
    ) {
        let mut lines: Vec<_> = others
            .iter()
            .enumerate()
            // Each name once: the first wins here, the last elsewhere.
            .map(|(index, (export, name, value, comment))| format!("{export}{name}_{index}={value}{comment}"))
            .collect();
        lines.insert(at.min(lines.len()), format!("{NAME}={value}"));
        let text = lines.join("\n") + if ends { "\n" } else { "" };
        let theirs = |text: &str| -> Vec<(String, String)> {
            dotenvy::from_read_iter(text.as_bytes()).map(Result::unwrap).collect()
        };
        let ours = |text: &str| -> Vec<(String, String)> {
            let all = parse(text).unwrap().all;
            all.iter().map(|one| (one.name(text).to_owned(), one.value(text).unwrap().to_string())).collect()
        };
        let (Ok(before), true) = (parse(&text), theirs(&text) == ours(&text)) else {
            return Err(TestCaseError::fail(format!("{text:?}: {:?}, {:?}", theirs(&text), parse(&text).map(|_| ours(&text)))));
        };
        prop_assert!(before.find(&text, NAME).unwrap().is_some());
        if let Ok(new) = put(&text, &secret) {
            prop_assert_eq!(theirs(&new), ours(&new));
            prop_assert!(theirs(&new).contains(&(NAME.to_owned(), secret)));
        }
    }
}

/// What docker compose's own documentation says of its `.env` files: values without quotes and in double quotes are
/// interpolated, a `#` after a blank begins a comment, `VAR: VAL` is an assignment too, a lone name is taken from the
/// environment. Its reader is not run here.
#[test]
fn what_compose_documents_to_read_differently_is_refused() {
    let same = [
        ("K=a", "a"),
        ("K=a#b", "a#b"),
        ("K=a # b", "a"),
        ("K='a # b'", "a # b"),
        ("K=\"a # b\"", "a # b"),
        ("K='a' # b", "a"),
        ("export K=a", "a"),
        ("K=", ""),
    ];
    for (text, value) in same {
        let found = read(text, "K");
        // What is refused is not read differently.
        if let Ok(found) = &found {
            assert_eq!(found.as_ref().map(|found| found.as_str()), Some(value), "{text:?}");
        }
    }
    for text in ["K=$OTHER", "K=${OTHER}", "K=a$b", "K=\"a$b\"", "K=\"${OTHER:-b}\"", "K: a", "K:a", "K", "K: a\nA=b"] {
        let found = read(text, "K");
        assert!(found.is_err(), "{text:?}: {found:?}");
        let put = replace(text, "K", "rxl_NEW");
        assert!(put.is_err() || put.is_ok_and(|put| !put.contains(": ")), "{text:?}");
    }
    // What is written is read alike: no blank, no `#`, no `$` stands outside of quotes that keep it.
    for secret in ["rxl_a", "rxl a", "rxl#a", "rxl #a", "#a", "a'b", "a\"b", "a:b", "a=b", "a;b"] {
        for text in ["", "K=old\n", "K='old'\n", "K=\"old\"\n"] {
            let Ok(put) = replace(text, "K", secret) else { continue };
            let value = put.trim_end().strip_prefix("K=").unwrap();
            let is_quoted =
                ['\'', '"'].iter().any(|quote| value.len() > 1 && value.starts_with(*quote) && value.ends_with(*quote));
            assert!(is_quoted || !value.contains([' ', '#', '$', '\'', '"']), "{put:?}");
        }
    }
    for secret in ["a$b", "${a}", "a\\b"] {
        assert!(replace("K=old\n", "K", secret).is_err(), "{secret:?}");
    }
}
