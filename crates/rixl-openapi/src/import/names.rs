//! Names that are safe in Rust, whatever the document says: plain ASCII, no keyword, short, each used once, and such that
//! the generator leaves them as they are.

use std::collections::BTreeSet;

use heck::{ToPascalCase as _, ToSnakeCase as _};

use crate::secret::is_one_of;

/// Long enough for RIXL's, short enough for a line.
const MAX_LENGTH: usize = 80;

/// Not to be hidden by a generated type.
const TYPES: &str = "Self Result Option String Vec Box Ok Err Some None From Into Default Clone Debug Error";

/// The methods of the generated client, its fields' accessors and its hooks.
const FUNCTIONS: &str = "new new_with_client api_version baseurl client inner pre post exec clone fmt from into union";

/// What typify takes for no identifier, and gives a `_` at its end.
const KEYWORDS: &str = "abstract as async await become box break const continue crate do dyn else enum extern false final fn \
    for gen if impl in let loop macro match mod move mut override priv pub ref return Self self static struct super trait \
    true try type typeof unsafe unsized use virtual where while yield";

/// What the generator makes of the name of a property, and of an argument that is no part of the path.
pub(super) fn field_name(name: &str) -> String {
    let name = match name {
        "+1" => "plus1".to_owned(),
        "-1" => "minus1".to_owned(),
        _ => {
            let letter = |letter| if unicode_ident::is_xid_continue(letter) { letter } else { '-' };
            name.replace('\'', "").chars().map(letter).collect::<String>().to_snake_case()
        }
    };
    match name.chars().next() {
        None => "x".into(),
        Some(first) if !unicode_ident::is_xid_start(first) => format!("x{name}"),
        Some(_) if is_one_of(KEYWORDS, &name) => format!("{name}_"),
        Some(_) => name,
    }
}

fn plain(name: &str) -> String {
    name.chars().map(|letter| if letter.is_ascii_alphanumeric() { letter } else { '_' }).take(4 * MAX_LENGTH).collect()
}

/// A name that is in this case already, and no longer than a line: making it may take more than once, as `AB` is `Ab`.
fn settled(name: &str, case: fn(&str) -> String) -> String {
    let mut name = name.to_owned();
    loop {
        let next = case(&name).chars().take(MAX_LENGTH).collect::<String>();
        if next == name {
            return name;
        }
        name = next;
    }
}

/// Names of types stay apart from what starts with a digit, is empty, or is too long.
pub(super) fn type_name(name: &str) -> String {
    let name = settled(&plain(name), str::to_pascal_case);
    match name.chars().next() {
        None => "Unnamed".into(),
        Some(first) if first.is_ascii_digit() => settled(&format!("N{name}"), str::to_pascal_case),
        _ if is_one_of(TYPES, &name) => format!("{name}Schema"),
        _ => name,
    }
}

/// The name of a function or an argument.
pub(super) fn function_name(name: &str, kind: &str) -> String {
    let snake = |name: &str| settled(name, str::to_snake_case);
    let name = snake(&plain(name));
    match name.chars().next() {
        None => kind.into(),
        Some(first) if first.is_ascii_digit() => snake(&format!("{kind}_{name}")),
        _ if is_one_of(FUNCTIONS, &name) || is_one_of(KEYWORDS, &name) => format!("{name}_{kind}"),
        _ => name,
    }
}

pub(super) fn unique(name: String, taken: &mut BTreeSet<String>) -> String {
    let mut fresh = name.clone();
    let mut number = 2;
    while !taken.insert(fresh.clone()) {
        fresh = format!("{name}{number}");
        number += 1;
    }
    fresh
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_names_become_safe_ones() {
        for (name, ty, function) in [
            ("\"; fn main(){}", "FnMain", "fn_main"),
            ("../../etc/passwd", "EtcPasswd", "etc_passwd"),
            ("type", "Type", "type_operation"),
            ("exec", "Exec", "exec_operation"),
            ("self", "SelfSchema", "self_operation"),
            ("größe", "GrE", "gr_e"),
            ("\u{202e}日本", "Unnamed", "operation"),
            ("", "Unnamed", "operation"),
            ("3d", "N3d", "operation_3d"),
            ("a.b.RotateKey", "AbRotateKey", "a_b_rotate_key"),
            ("a.b", "Ab", "a_b"),
        ] {
            assert_eq!((type_name(name).as_str(), function_name(name, "operation").as_str()), (ty, function), "{name}");
        }
        let long = "x".repeat(1000);
        assert_eq!((type_name(&long).len(), function_name(&long, "operation").len()), (80, 80));
    }

    #[test]
    fn fields_are_what_typify_makes_of_them() {
        for (name, field) in [
            ("it's", "its"),
            ("2fa", "x2fa"),
            ("type", "type_"),
            ("!", "x"),
            ("+1", "plus1"),
            ("größe", "größe"),
            ("a\u{b2}b", "a_b"),
            ("a-B", "a_b"),
        ] {
            assert_eq!(field_name(name), field, "{name}");
        }
    }

    #[test]
    fn each_name_is_given_once() {
        let mut taken = BTreeSet::new();
        let names: Vec<_> = ["A", "A", "A2", "A"].map(|name| unique(name.into(), &mut taken)).into();
        assert_eq!(names, ["A", "A2", "A22", "A3"]);
    }
}
