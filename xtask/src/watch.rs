//! `cargo xtask drift --crate NAME`: what the newest published client knows, as a document to compare the contract with.
//!
//! Each method of its traits says its route, and its models the names of properties. The rest (types, security, errors) can't
//! be told from it, and is not compared.

use std::{collections::BTreeMap, fs, path::Path};

use quote::ToTokens as _;
use rixl_openapi::{
    Problems,
    document::{self, Node as _, resolve},
};
use serde_json::{Map, Value, json};

use crate::{cargo, note, regen};

/// What a rotator works with: of other routes, only those are compared that the contract has.
const OURS: [&str; 5] = ["api-key", "clientauth", "/platform/", "webhook", "polic"];
/// A list of nodes has nodes.
const MAX_DEPTH: usize = 8;

/// The contract and the newest published crate of this name, each reduced to what both tell; and the crate's version.
pub(crate) fn both(root: &Path, name: &str) -> Result<(Value, Value, String), Problems> {
    let contract = reduced(&rixl_openapi::read(&root.join(regen::CONTRACT))?.0);
    let (sources, version) = newest(root, name)?;
    let mut published = parsed(&sources)?;
    let place = |path: &str| path.split(['{', '}']).step_by(2).collect::<String>();
    let known: Vec<_> = contract.entries("paths").map(|(path, _)| place(path)).collect();
    let before = document::operations(&published).len();
    if let Some(paths) = published.map_mut("paths") {
        paths.retain(|path, _| OURS.iter().any(|word| path.contains(word)) || known.contains(&place(path)));
    }
    let rest = before - document::operations(&published).len();
    note(format_args!("{name} {version} has {before} operations, {rest} of them of other parts of the API."));
    Ok((contract, published, version))
}

/// Cargo's own client asks the registry, and unpacks the sources.
fn newest(root: &Path, name: &str) -> Result<(Vec<syn::File>, String), Problems> {
    let cannot = |why: &str| Problems::one(format!("{name}: cargo can't get the newest published crate: {why}."));
    if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)) {
        return Err(cannot("this is no name of a crate"));
    }
    let folder = root.join("target").join(format!("watch-{name}"));
    fs::create_dir_all(&folder).map_err(|error| cannot(&error.to_string()))?;
    // Whatever Rust it asks for, it is the newest.
    let manifest =
        "[package]\nname = \"watch\"\nedition = \"2021\"\nresolver = \"2\"\n[lib]\npath = \"lib.rs\"\n[workspace]\n";
    regen::write(&folder.join("Cargo.toml"), &format!("{manifest}[dependencies]\n{name} = \"*\"\n"))?;
    regen::write(&folder.join("lib.rs"), "")?;
    let _ = fs::remove_file(folder.join("Cargo.lock"));
    let arguments = ["metadata", "--format-version=1", "--color=never"];
    let output = cargo().args(arguments).current_dir(&folder).output().map_err(|error| cannot(&error.to_string()))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let lines = said.lines().skip_while(|line| !line.starts_with("error")).take(4).map(str::trim);
        return Err(cannot(lines.collect::<Vec<_>>().join(" ").trim_end_matches('.')));
    }
    let metadata: Value = serde_json::from_slice(&output.stdout).map_err(|error| cannot(&error.to_string()))?;
    let package = metadata.list("packages").iter().find(|package| package.text("name") == Some(name));
    let package = package.ok_or_else(|| cannot("its answer does not have it"))?;
    let manifest = Path::new(package.text("manifest_path").unwrap_or_default());
    let (mut files, mut open) = (Vec::new(), vec![manifest.with_file_name("src")]);
    while let Some(path) = open.pop() {
        if let Ok(entries) = fs::read_dir(&path) {
            open.extend(entries.flatten().map(|entry| entry.path()));
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            // What can't be parsed has no routes either.
            files.extend(syn::parse_file(&regen::read(&path)?));
        }
    }
    Ok((files, package.text("version").unwrap_or_default().to_owned()))
}

/// The fields of each struct: the name on the wire, and the type.
type Structs<'a> = BTreeMap<String, Vec<(String, &'a syn::Type)>>;

fn parsed(files: &[syn::File]) -> Result<Value, Problems> {
    let items = || files.iter().flat_map(|file| &file.items);
    let structs: Structs<'_> = items()
        .filter_map(|item| match item {
            syn::Item::Struct(item) => Some((item.ident.to_string(), item.fields.iter().filter_map(field).collect())),
            _ => None,
        })
        .collect();
    let mut paths = Map::new();
    for item in items() {
        let syn::Item::Trait(item) = item else { continue };
        for item in &item.items {
            let syn::TraitItem::Fn(function) = item else { continue };
            let docs = function.attrs.iter().map(|doc| doc.to_token_stream().to_string());
            let route = docs.filter_map(|doc| {
                let (method, path) = doc.split('"').nth(1)?.trim().split_once(' ')?;
                path.starts_with('/').then(|| (method.to_lowercase(), path.to_owned()))
            });
            let Some((method, path)) = route.into_iter().next() else { continue };
            let (mut query, mut body) = (Vec::new(), None);
            // One struct holds the parameters of a call.
            let types = function.sig.inputs.iter().filter_map(|input| match input {
                syn::FnArg::Typed(input) => structs.get(&input.ty.to_token_stream().to_string()),
                syn::FnArg::Receiver(_) => None,
            });
            for (name, ty) in types.flatten() {
                let shape = shape(&structs, ty, 0);
                if shape.map("properties").is_some() {
                    body = Some(shape);
                } else if !path.contains(&format!("{{{name}}}")) {
                    query.push(name.clone());
                }
            }
            let response = match &function.sig.output {
                syn::ReturnType::Type(_, ty) => shape(&structs, ty, 0),
                syn::ReturnType::Default => json!({}),
            };
            add(&mut paths, &path, &method, operation(&function.sig.ident.to_string(), query, body, response));
        }
    }
    match paths.is_empty() {
        true => {
            Err(Problems::one("The crate's traits say no routes, such as `POST /path`: another generator wrote it."))
        }
        false => Ok(json!({ "openapi": "3.0.3", "paths": paths })),
    }
}

fn field(field: &syn::Field) -> Option<(String, &syn::Type)> {
    let attributes = field.attrs.iter().map(|attribute| attribute.to_token_stream().to_string());
    let mut renamed =
        attributes.filter_map(|text| Some(text.split_once("rename = \"")?.1.split('"').next()?.to_owned()));
    let own = field.ident.as_ref()?.to_string().trim_start_matches("r#").to_owned();
    Some((renamed.next_back().unwrap_or(own), &field.ty))
}

fn shape(structs: &Structs<'_>, ty: &syn::Type, depth: usize) -> Value {
    let syn::Type::Path(path) = ty else { return json!({}) };
    let Some(last) = path.path.segments.last().filter(|_| depth < MAX_DEPTH) else { return json!({}) };
    let inner = match &last.arguments {
        syn::PathArguments::AngleBracketed(inner) => inner.args.first(),
        _ => None,
    };
    match (last.ident.to_string().as_str(), inner) {
        ("Vec" | "HashSet", Some(syn::GenericArgument::Type(item))) => {
            json!({ "type": "array", "items": shape(structs, item, depth + 1) })
        }
        ("Option" | "Box" | "Result", Some(syn::GenericArgument::Type(inner))) => shape(structs, inner, depth),
        (name, _) => structs.get(name).map_or_else(
            || json!({}),
            |fields| object(fields.iter().map(|(name, ty)| (name.clone(), shape(structs, ty, depth + 1))).collect()),
        ),
    }
}

fn object(properties: Map<String, Value>) -> Value {
    if properties.is_empty() { json!({}) } else { json!({ "type": "object", "properties": properties }) }
}

/// An operation as both sides tell it: which of its arguments are headers, only the contract does.
fn operation(id: &str, arguments: Vec<String>, body: Option<Value>, response: Value) -> Value {
    let content = |shape: Value| json!({ "content": { "application/json": { "schema": shape } } });
    let argument = |name: String| json!({ "in": "query", "name": name.replace(['.', '-'], "_").to_lowercase() });
    let response = if response == json!({}) { json!({}) } else { content(response) };
    let parameters: Vec<_> = arguments.into_iter().map(argument).collect();
    json!({ "operationId": id, "parameters": parameters, "requestBody": body.map(content), "responses": { "200": response } })
}

fn add(paths: &mut Map<String, Value>, path: &str, method: &str, operation: Value) {
    if let Some(item) = paths.entry(path).or_insert_with(|| json!({})).as_object_mut() {
        item.insert(method.to_owned(), operation);
    }
}

/// The contract, as a crate would tell it.
fn reduced(contract: &Value) -> Value {
    fn shape(document: &Value, schema: &Value, depth: usize) -> Value {
        let schema = resolve(document, schema);
        match schema.get("items").filter(|_| depth < MAX_DEPTH) {
            Some(items) => json!({ "type": "array", "items": shape(document, items, depth + 1) }),
            None if depth == MAX_DEPTH => json!({}),
            None => object(
                schema
                    .entries("properties")
                    .map(|(name, one)| (name.clone(), shape(document, one, depth + 1)))
                    .collect(),
            ),
        }
    }
    let content =
        |holder: &Value| document::json_schema(resolve(contract, holder)).map(|schema| shape(contract, schema, 0));
    let mut paths = Map::new();
    for one in document::operations(contract) {
        let parameters = one.item.list("parameters").iter().chain(one.value.list("parameters"));
        let arguments =
            parameters.map(|parameter| resolve(contract, parameter)).filter(|one| one.text("in") != Some("path"));
        let arguments = arguments.filter_map(|one| Some(one.text("name")?.to_owned())).collect();
        let success = one.value.entries("responses").find(|(status, _)| status.starts_with('2'));
        let response = success.and_then(|(_, response)| content(response)).unwrap_or_else(|| json!({}));
        let body = one.value.get("requestBody").and_then(content);
        add(&mut paths, one.path, one.method, operation(one.id().unwrap_or_default(), arguments, body, response));
    }
    json!({ "openapi": "3.0.3", "paths": paths })
}
