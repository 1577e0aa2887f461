//! Names that are safe in Rust, whatever the document says: plain ASCII, no keyword, short, and each used once.

use std::collections::BTreeSet;

use heck::{ToPascalCase as _, ToSnakeCase as _};

/// Long enough for RIXL's, short enough for a line.
const MAX_LENGTH: usize = 80;

/// Not to be hidden by a generated type.
const TYPES: &str = "Self Result Option String Vec Box Ok Err Some None From Into Default Clone Debug Error";

/// The methods of the generated client, its fields' accessors and its hooks; and what Rust keeps for itself.
const FUNCTIONS: &str = "new new_with_client api_version baseurl client inner pre post exec clone fmt from into as async \
    await break const continue crate dyn else enum extern false fn for gen if impl in let loop match mod \
    move mut pub ref return self static struct super trait true type union unsafe use where while \
    abstract become box do final macro override priv try yield";

fn plain(name: &str) -> String {
    name.chars().map(|letter| if letter.is_ascii_alphanumeric() { letter } else { '_' }).take(4 * MAX_LENGTH).collect()
}

/// Names of types stay apart from what starts with a digit, is empty, or is too long.
pub(super) fn type_name(name: &str) -> String {
    let name = plain(name).to_pascal_case();
    match name.chars().next() {
        None => "Unnamed".into(),
        Some(first) if first.is_ascii_digit() => shortened(&format!("N{name}")),
        _ if TYPES.split(' ').any(|taken| taken == name) => format!("{name}Schema"),
        _ => shortened(&name),
    }
}

pub(super) fn shortened(name: &str) -> String {
    name.chars().take(MAX_LENGTH).collect()
}

/// The name of a function or an argument, the same after `to_snake_case`.
pub(super) fn function_name(name: &str, kind: &str) -> String {
    let name = shortened(&plain(name).to_snake_case()).trim_end_matches('_').to_owned();
    match name.chars().next() {
        None => kind.into(),
        Some(first) if first.is_ascii_digit() => format!("{kind}_{name}").to_snake_case(),
        _ if FUNCTIONS.split(' ').any(|taken| taken == name) => format!("{name}_{kind}"),
        _ => name.to_snake_case(),
    }
}

/// What typify makes of a property's name, near enough to find two that would be one.
pub(super) fn field_name(name: &str) -> String {
    name.replace("+1", "plus1").replace("-1", "minus1").to_snake_case()
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
            ("a.b.RotateKey", "ABRotateKey", "a_b_rotate_key"),
        ] {
            assert_eq!((type_name(name).as_str(), function_name(name, "operation").as_str()), (ty, function), "{name}");
        }
        let long = "x".repeat(1000);
        assert_eq!((type_name(&long).len(), function_name(&long, "operation").len()), (80, 80));
    }

    #[test]
    fn each_name_is_given_once() {
        let mut taken = BTreeSet::new();
        let names: Vec<_> = ["A", "A", "A2", "A"].map(|name| unique(name.into(), &mut taken)).into();
        assert_eq!(names, ["A", "A2", "A22", "A3"]);
    }
}
