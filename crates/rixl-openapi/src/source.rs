//! Reads a document, JSON or YAML, from a file or from stdin, within bounds.

use std::{
    collections::BTreeMap,
    fmt,
    fs::File,
    io::{self, Read},
    path::Path,
};

use saphyr_parser::{Event, Parser, ScalarStyle, Tag};
use serde::{
    Deserialize, Deserializer,
    de::{self, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Map, Number, Value};

use crate::problems::Problems;

/// RIXL's own documents are half a megabyte; what is far above is not one.
const MAX_BYTES: u64 = 16 << 20;
/// As deep as serde_json reads. Whatever walks a document may then recurse.
const MAX_LEVELS: usize = 100;
/// An alias is copied where it stands: nine lines of YAML can ask for a billion nodes.
const MAX_NODES: usize = 1_000_000;
/// So many bytes of a text that is copied count for a node.
const NODE_BYTES: usize = 64;

/// The document in this file; `-` is stdin. Also its bytes, for a checksum.
///
/// # Errors
///
/// When it can't be read, is neither JSON nor YAML, or is larger or deeper than any API document.
pub fn read(path: &Path) -> Result<(Value, Vec<u8>), Problems> {
    let name = if path == Path::new("-") { "stdin".to_owned() } else { path.display().to_string() };
    let read = || -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let input: &mut dyn Read = if path == Path::new("-") { &mut io::stdin() } else { &mut File::open(path)? };
        input.take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let bytes = read().map_err(|error| Problems::one(format!("{name}: cannot be read: {error}.")))?;
    let document = parse(&bytes).map_err(|sentence| Problems::one(format!("{name}: {sentence}.")))?;
    Ok((document, bytes))
}

/// The document in these bytes: JSON when it starts like JSON, YAML otherwise.
///
/// # Errors
///
/// As for [`read`]: a clause that says what the bytes are not.
pub fn parse(bytes: &[u8]) -> Result<Value, String> {
    if bytes.len() as u64 > MAX_BYTES {
        return Err(format!("it is larger than {} MiB, which no API document is", MAX_BYTES >> 20));
    }
    let text = str::from_utf8(bytes).map_err(|_| "it is not UTF-8 text")?;
    let text = text.trim_start_matches('\u{feff}');
    if text.trim_start().starts_with(['{', '[']) {
        return serde_json::from_str(text).map(|Once(value)| value).map_err(|error| format!("it is not JSON: {error}"));
    }
    yaml(text).map_err(|error| format!("it is not YAML: {error}"))
}

/// A value of JSON in which no key stands twice: of two routes of one name one would be gone without a word.
struct Once(Value);

impl<'de> Deserialize<'de> for Once {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(OnceVisitor).map(Self)
    }
}

struct OnceVisitor;

impl<'de> Visitor<'de> for OnceVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(Once(item)) = list.next_element()? {
            items.push(item);
        }
        Ok(items.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            if map.contains_key(&key) {
                return Err(de::Error::custom(format_args!("the key {key:?} occurs twice in one map")));
            }
            let Once(value) = entries.next_value()?;
            map.insert(key, value);
        }
        Ok(map.into())
    }
}

/// A list or map that is not complete yet.
struct Open {
    value: Value,
    /// In a map: the key that waits for its value, and whether it is the one that merges maps, `<<`.
    key: Option<(String, bool)>,
    /// What is merged, unless the map says it itself.
    merged: Map<String, Value>,
    anchor: usize,
}

fn yaml(text: &str) -> Result<Value, String> {
    let mut anchors = BTreeMap::<usize, (Value, usize)>::new();
    let mut open = Vec::<Open>::new();
    let mut whole = None;
    let mut nodes = 0_usize;
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|error| error.to_string())?;
        let at = |sentence: &str| format!("{sentence} at line {}", span.start.line());
        let (value, anchor) = match event {
            Event::SequenceStart(anchor, _) | Event::MappingStart(anchor, _) => {
                let is_list = matches!(event, Event::SequenceStart(..));
                let value = if is_list { Value::Array(Vec::new()) } else { Value::Object(Map::new()) };
                open.push(Open { value, key: None, merged: Map::new(), anchor });
                if open.len() > MAX_LEVELS {
                    return Err(at("it is nested too deeply"));
                }
                continue;
            }
            Event::SequenceEnd | Event::MappingEnd => {
                let Some(mut done) = open.pop() else { continue };
                if let Value::Object(map) = &mut done.value {
                    for (key, value) in done.merged {
                        map.entry(key).or_insert(value);
                    }
                }
                (done.value, done.anchor)
            }
            Event::Scalar(text, style, anchor, tag) => {
                // A key is text, whatever it looks like: `200:` is one.
                if let Some(Open { value: Value::Object(_), key: key @ None, .. }) = open.last_mut() {
                    let is_merge = text == "<<" && style == ScalarStyle::Plain;
                    *key = Some((text.into_owned(), is_merge));
                    nodes += 1;
                    continue;
                }
                (scalar(&text, style, tag.as_deref()), anchor)
            }
            Event::Alias(anchor) => {
                let Some((value, size)) = anchors.get(&anchor) else { return Err(at("an alias refers to nothing")) };
                nodes = nodes.saturating_add(*size);
                if nodes > MAX_NODES {
                    return Err(at("its aliases expand to too much"));
                }
                (value.clone(), 0)
            }
            Event::DocumentStart(_) if whole.is_some() => return Err(at("a second document starts")),
            _ => continue,
        };
        nodes += 1;
        if nodes > MAX_NODES {
            return Err(at("it has too many parts"));
        }
        if anchor != 0 {
            anchors.insert(anchor, (value.clone(), size(&value)));
            nodes = nodes.saturating_add(size(&value));
        }
        match open.last_mut() {
            None => whole = Some(value),
            Some(Open { value: Value::Array(items), .. }) => items.push(value),
            Some(Open { value: Value::Object(map), key, merged, .. }) => {
                let Some((key, is_merge)) = key.take() else { return Err(at("a key is not text")) };
                if is_merge {
                    let maps = if let Value::Array(maps) = value { maps } else { vec![value] };
                    for map in maps {
                        let Value::Object(map) = map else { return Err(at("<< merges something that is not a map")) };
                        for (key, value) in map {
                            merged.entry(key).or_insert(value);
                        }
                    }
                } else if map.insert(key, value).is_some() {
                    return Err(at("a key occurs twice in one map, the second time with its value"));
                }
            }
            Some(_) => {}
        }
    }
    let whole = whole.ok_or("it is empty")?;
    // Aliases may have put the deep into the deep.
    if depth(&whole) > MAX_LEVELS { Err("it is nested too deeply".into()) } else { Ok(whole) }
}

/// YAML 1.2's core schema, less the numbers that JSON has no form for.
fn scalar(text: &str, style: ScalarStyle, tag: Option<&Tag>) -> Value {
    if style != ScalarStyle::Plain || tag.is_some_and(|tag| tag.suffix == "str") {
        return text.into();
    }
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "true" | "True" | "TRUE" => return true.into(),
        "false" | "False" | "FALSE" => return false.into(),
        _ => {}
    }
    let based = |prefix, base| text.strip_prefix(prefix).and_then(|digits| i64::from_str_radix(digits, base).ok());
    if let Some(number) = based("0x", 16).or_else(|| based("0o", 8)) {
        return number.into();
    }
    if !text.bytes().all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(&byte)) {
        return text.into();
    }
    let number = text.parse().map(Number::from_i128).or_else(|_| text.parse().map(Number::from_f64));
    number.ok().flatten().map_or_else(|| text.into(), Value::Number)
}

/// In nodes, of which a long text counts for many.
fn size(value: &Value) -> usize {
    1 + match value {
        Value::Array(items) => items.iter().map(size).sum(),
        Value::Object(map) => map.iter().map(|(key, value)| key.len() / NODE_BYTES + size(value)).sum(),
        Value::String(text) => text.len() / NODE_BYTES,
        _ => 0,
    }
}

fn depth(value: &Value) -> usize {
    1 + match value {
        Value::Array(items) => items.iter().map(depth).max().unwrap_or_default(),
        Value::Object(map) => map.values().map(depth).max().unwrap_or_default(),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn yaml_is_read_as_json_would_be() {
        let text = "a: 1\nb: [x, 'y', ~, true, 1.5, 0x10, -7]\n200: {c: &n {d: e}}\nn: *n\nt: 2026-08-03\nv: 1.0.0\n";
        let expected = json!({
            "a": 1, "b": ["x", "y", null, true, 1.5, 16, -7], "200": { "c": { "d": "e" } }, "n": { "d": "e" },
            "t": "2026-08-03", "v": "1.0.0",
        });
        assert_eq!(parse(text.as_bytes()), Ok(expected));
    }

    #[test]
    fn the_merge_key_merges_below_what_is_said() {
        let text = "b: &b {x: 1, y: 2}\nc: &c {y: 3, z: 4}\na: {<<: [*b, *c], x: 5}\nd:\n  w: 6\n  <<: *b\n";
        let value = parse(text.as_bytes()).unwrap();
        assert_eq!(value["a"], json!({ "x": 5, "y": 2, "z": 4 }));
        assert_eq!(value["d"], json!({ "w": 6, "x": 1, "y": 2 }));
        assert_eq!(parse(b"'<<': 1"), Ok(json!({ "<<": 1 })));
    }

    #[test]
    fn what_is_no_document_gets_a_sentence() {
        let deep = "[".repeat(5000);
        let deep_yaml =
            format!("a:\n{}", (1..300).map(|depth| format!("{}a:\n", " ".repeat(depth))).collect::<String>());
        let half = |inner: &str| format!("{}{inner}{}", "[".repeat(60), "]".repeat(60));
        let deep_alias = format!("a: &a {}\nb: {}\n", half(""), half("*a"));
        for (bytes, expected) in [
            (b"\xff\xfe".as_slice(), "not UTF-8"),
            (b"", "it is empty"),
            (b"{\"a\":", "it is not JSON"),
            (b"{\"a\":{\"b\":1,\"c\":2,\"b\":3}}", "the key \"b\" occurs twice in one map at line 1"),
            (b"a: {<<: 7}", "<< merges something that is not a map at line 1"),
            (b"a: [", "it is not YAML"),
            (b"a: 1\na: 2", "twice"),
            (b"a: *b", "it is not YAML"),
            (b"? [a]\n: b", "not text"),
            (b"a: 1\n---\nb: 2", "a second document"),
            (deep.as_bytes(), "it is not JSON: recursion limit"),
            (deep_yaml.as_bytes(), "nested too deeply"),
            (deep_alias.as_bytes(), "nested too deeply"),
        ] {
            let said = parse(bytes).unwrap_err();
            assert!(said.contains(expected), "{said}");
        }
    }

    #[test]
    fn a_yaml_bomb_does_not_go_off() {
        let mut bomb = "l0: &l0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..12 {
            let aliases = vec![format!("*l{}", level - 1); 9].join(", ");
            bomb += &format!("l{level}: &l{level} [{aliases}]\n");
        }
        assert!(parse(bomb.as_bytes()).unwrap_err().contains("aliases expand to too much"));
        // One text, as often.
        let long = format!("a: &a {}\nb: [{}]\n", "x".repeat(1 << 20), vec!["*a"; 20_000].join(", "));
        assert!(parse(long.as_bytes()).unwrap_err().contains("aliases expand to too much"));
    }

    #[test]
    fn too_large_is_refused_before_it_is_read() {
        assert!(parse(&vec![b' '; 50 << 20]).unwrap_err().contains("larger than 16 MiB"));
    }
}
