//! Finishes the generated syntax tree, and checks that the preparation took effect.

use std::collections::{BTreeMap, BTreeSet};

use quote::ToTokens as _;
use rixl_openapi::{
    MEDIA_TYPE, Problems,
    document::{Node as _, Operation, operations},
    is_about_a_secret, is_key_object, is_secret_name,
};
use serde_json::Value;
use syn::{Attribute, Field, File, Item, ItemImpl, parse_quote, visit::Visit, visit_mut::VisitMut};

use crate::prepare::Kind;

/// The schemas of ids in paths, queries and request bodies: each becomes the one type that refuses unsafe text.
pub(crate) const ID_SCHEMAS: [&str; 6] =
    ["KeyId", "OrganizationId", "ProjectId", "CredentialId", "EndpointId", "PolicyId"];

/// Changes the tree and returns what was changed in how many places.
pub(crate) fn finish(file: &mut File, document: &Value, kind: Kind) -> Result<Vec<(&'static str, usize)>, Problems> {
    let mut values = AnyValues::default();
    if kind == Kind::Published {
        values.visit_file_mut(file);
    }
    let mut lenient = LenientFields { kind, options: 0, lists: 0, is_page: false };
    lenient.visit_file_mut(file);
    let mut counts = vec![
        ("optional fields that read null and \"\" as not set", lenient.options),
        ("lists that read null and \"\" as empty", lenient.lists),
        ("constructors that panic and follow redirects, removed", visited::<DropConstructor>(file).0),
        ("errors that print bodies and headers, replaced", visited::<OpaqueErrors>(file).0),
        ("headers with the version of the document, removed", visited::<WithoutVersion>(file).0),
    ];
    SplitDocs.visit_file_mut(file);
    if kind == Kind::Published {
        counts.push(("values of any type, which may hold a secret", values.0));
        counts.push((
            "responses that are lists or maps, and lose no more than what does not fit",
            visited::<Lists>(file).0,
        ));
        let media_type = |one: &Operation<'_>| {
            Some((rust_id(one.id()?), one.value.get("requestBody")?.text(MEDIA_TYPE)?.to_owned()))
        };
        let mut types =
            MediaTypes { by_function: operations(document).iter().filter_map(media_type).collect(), count: 0 };
        types.visit_file_mut(file);
        counts.push(("bodies of JSON by another name", types.count));
        if types.count != types.by_function.len() {
            return Err(Problems::one("generated.rs: a body is not sent as the media type that its document says."));
        }
        counts.push(("errors that name the URL, which may hold a secret", visited::<WithoutUrls>(file).0));
        counts.push(("headers, marked as not to be printed", visited::<SensitiveHeaders>(file).0));
        OwnNames.visit_file_mut(file);
        return Ok(counts);
    }
    match counts.iter().find(|(_, count)| *count == 0) {
        None => Ok(counts),
        Some((name, _)) => {
            Err(Problems::one(format!("The step \"{name}\" found nothing to change: delete it, or fix it.")))
        }
    }
}

/// The visitor, after visiting the tree.
fn visited<V: VisitMut + Default>(file: &mut File) -> V {
    let mut visitor = V::default();
    visitor.visit_file_mut(file);
    visitor
}

/// What progenitor drops from each operation: its route, for traces, and its security, for the token.
pub(crate) fn operation_table(document: &Value) -> Item {
    let operations = operations(document);
    let rows = operations.iter().filter_map(|operation| {
        let (id, method) = (rust_id(operation.id()?), operation.method.to_uppercase());
        let (path, needs_bearer) = (operation.path, needs_bearer(operation));
        Some(quote::quote!(#id => crate::hooks::Route { method: #method, path: #path, needs_bearer: #needs_bearer }))
    });
    parse_quote! {
        /// What the contract says about an operation.
        pub(crate) fn route(operation_id: &str) -> Option<crate::hooks::Route> {
            Some(match operation_id {
                #(#rows,)*
                _ => return None,
            })
        }
    }
}

/// Whether a call must carry the bearer token.
fn needs_bearer(operation: &Operation<'_>) -> bool {
    operation.value.list("security").iter().any(|scheme| scheme.get("bearer").is_some())
}

/// Checks the steps' results on the finished tree, since progenitor's settings fail open.
pub(crate) fn prove(file: &File, document: &Value, kind: Kind) -> Result<(), Problems> {
    let mut seen = Proof { kind, functions: 0, fields: Vec::new(), problems: Vec::new() };
    seen.visit_file(file);
    seen.secrets();
    let mut code = file.clone();
    WithoutDocs.visit_file_mut(&mut code);
    let text = code.to_token_stream().to_string();
    let mut problems = seen.problems;
    // As tokens: a document may call a type or a property by such a name.
    let forbidden = [
        "serde (deny_unknown_fields",
        "Error :: ErrorResponse",
        "Error :: UnexpectedResponse",
        "ResponseValue :: from_response",
        "ResponseValue :: stream",
        "Self :: api_version ()",
        ":: num :: NonZero",
        ":: regress ::",
        ". to_string () . try_into ()",
        ":: BTreeMap",
        "unwrap ()",
        "expect (",
    ];
    for forbidden in forbidden {
        // RIXL's own documents have maps; each is read as not set when it is not one.
        if text.contains(forbidden) && (kind == Kind::Contract || forbidden != ":: BTreeMap") {
            problems.push(format!("generated.rs: contains {forbidden:?}, which a step should have prevented."));
        }
    }
    let operations = operations(document);
    for operation in &operations {
        let id = operation.id().map(rust_id).unwrap_or_default();
        if !text.contains(&format!("operation_id : {id:?}")) {
            problems.push(format!("generated.rs: {} has no function {id}.", operation.place()));
        }
    }
    let lenient = text.matches("200 ..= 299").count();
    if lenient != operations.len() {
        problems.push(format!("generated.rs: {lenient} of {} functions accept every 2xx.", operations.len()));
    }
    if seen.functions != operations.len() {
        problems.push(format!("generated.rs: {} functions for {} operations.", seen.functions, operations.len()));
    }
    // Building the request and sending it.
    let without_urls = text.matches("without_url").count();
    if kind == Kind::Published && without_urls != 2 * operations.len() {
        problems
            .push(format!("generated.rs: {without_urls} of {} errors do not contain the URL.", 2 * operations.len()));
    }
    Problems(problems).into_result()
}

fn rust_id(id: &str) -> String {
    heck::ToSnakeCase::to_snake_case(id)
}

fn type_name(field: &Field) -> String {
    field.ty.to_token_stream().to_string().replace(' ', "")
}

const OPTION: &str = "::std::option::Option<";
const LIST: &str = "::std::vec::Vec<";

const MAP: &str = "::std::collections::BTreeMap<::std::string::String,";

/// The path to the last word of a path's type: `serde_json::Value`.
fn path_of(path: &syn::Path) -> String {
    path.segments.iter().map(|segment| segment.ident.to_string()).collect::<Vec<_>>().join("::")
}

/// A value of any type may hold a secret, and `serde_json::Value` prints it.
#[derive(Default)]
struct AnyValues(usize);

impl VisitMut for AnyValues {
    fn visit_attribute_mut(&mut self, attribute: &mut Attribute) {
        let text = attribute.to_token_stream().to_string();
        let fresh = text.replace("\"::serde_json::Map::is_empty\"", "\"::std::collections::BTreeMap::is_empty\"");
        if let (false, Ok(tokens)) = (fresh == text, fresh.parse::<proc_macro2::TokenStream>()) {
            *attribute = parse_quote!(#tokens);
        }
    }

    fn visit_type_path_mut(&mut self, ty: &mut syn::TypePath) {
        syn::visit_mut::visit_type_path_mut(self, ty);
        match path_of(&ty.path).as_str() {
            "serde_json::Value" => *ty = parse_quote!(crate::request::Json),
            "serde_json::Map" => {
                *ty = parse_quote!(::std::collections::BTreeMap<::std::string::String, crate::request::Json>);
            }
            _ => return,
        }
        self.0 += 1;
    }
}

/// One item of another type must not cost the others.
#[derive(Default)]
struct Lists(usize);

impl VisitMut for Lists {
    fn visit_impl_item_fn_mut(&mut self, function: &mut syn::ImplItemFn) {
        let output = function.sig.output.to_token_stream().to_string().replace(' ', "");
        let reader = match output.split_once("ResponseValue<").map(|(_, value)| value) {
            Some(value) if value.starts_with(LIST) => "decode_list",
            Some(value) if value.starts_with(MAP) => "decode_map",
            _ => return,
        };
        struct Decode(syn::Ident);
        impl VisitMut for Decode {
            fn visit_expr_path_mut(&mut self, path: &mut syn::ExprPath) {
                if path_of(&path.path) == "crate::hooks::decode" {
                    let reader = &self.0;
                    *path = parse_quote!(crate::request::#reader);
                }
            }
        }
        Decode(quote::format_ident!("{reader}")).visit_impl_item_fn_mut(function);
        self.0 += 1;
    }
}

/// reqwest says that JSON is `application/json` where nothing else is said.
struct MediaTypes {
    by_function: BTreeMap<String, String>,
    count: usize,
}

impl VisitMut for MediaTypes {
    fn visit_impl_item_fn_mut(&mut self, function: &mut syn::ImplItemFn) {
        struct Body(String, usize);
        impl VisitMut for Body {
            fn visit_expr_method_call_mut(&mut self, call: &mut syn::ExprMethodCall) {
                syn::visit_mut::visit_expr_method_call_mut(self, call);
                if call.method == "json" {
                    let (name, receiver) = (&self.0, &call.receiver);
                    call.receiver = parse_quote!(#receiver.header(::reqwest::header::CONTENT_TYPE, #name));
                    self.1 += 1;
                }
            }
        }
        if let Some(name) = self.by_function.get(&function.sig.ident.to_string()) {
            let mut body = Body(name.clone(), 0);
            body.visit_impl_item_fn_mut(function);
            self.count += body.1;
        }
    }
}

struct LenientFields {
    kind: Kind,
    options: usize,
    lists: usize,
    /// A page says how many items there are in total.
    is_page: bool,
}

impl VisitMut for LenientFields {
    fn visit_item_struct_mut(&mut self, item: &mut syn::ItemStruct) {
        self.is_page = item.fields.iter().any(|field| field.ident.as_ref().is_some_and(|name| name == "total"));
        syn::visit_mut::visit_item_struct_mut(self, item);
    }

    fn visit_field_mut(&mut self, field: &mut Field) {
        let ty = type_name(field);
        // typify has a reader of its own for what is required and may be null.
        field.attrs.retain(|attribute| !attribute.to_token_stream().to_string().contains("deserialize_with"));
        if ty.starts_with(OPTION) {
            self.options += 1;
            field.attrs.push(match ty.strip_prefix(OPTION) {
                Some(inner) if inner.starts_with(MAP) => {
                    parse_quote!(#[serde(default, deserialize_with = "crate::request::map")])
                }
                Some("crate::wire::Time>") => parse_quote!(#[serde(default, deserialize_with = "crate::wire::time")]),
                _ => parse_quote!(#[serde(default, deserialize_with = "crate::wire::not_set")]),
            });
        } else if ty.starts_with(LIST) {
            self.lists += 1;
            field.attrs.push(match ty.strip_prefix(LIST) {
                Some("::std::string::String>") => parse_quote!(#[serde(deserialize_with = "crate::wire::texts")]),
                _ if self.kind == Kind::Published => parse_quote!(#[serde(deserialize_with = "crate::request::list")]),
                _ if self.is_page => parse_quote!(#[serde(deserialize_with = "crate::wire::objects")]),
                _ => parse_quote!(#[serde(deserialize_with = "crate::wire::all_objects")]),
            });
        }
    }
}

/// `Client::new` unwraps, and builds an HTTP client that repeats a rotate on every 307.
#[derive(Default)]
struct DropConstructor(usize);

impl VisitMut for DropConstructor {
    fn visit_item_impl_mut(&mut self, item: &mut ItemImpl) {
        let before = item.items.len();
        item.items.retain(|item| !matches!(item, syn::ImplItem::Fn(function) if function.sig.ident == "new"));
        self.0 += before - item.items.len();
    }
}

/// Progenitor's errors print the body of a response that they can't read, and the headers of one they don't know.
#[derive(Default)]
struct OpaqueErrors(usize);

impl VisitMut for OpaqueErrors {
    fn visit_expr_path_mut(&mut self, path: &mut syn::ExprPath) {
        let replacement: syn::ExprPath = match path.to_token_stream().to_string().replace(' ', "").as_str() {
            "ResponseValue::from_response" => parse_quote!(crate::hooks::decode),
            "ResponseValue::stream" => parse_quote!(crate::hooks::stream),
            "Error::UnexpectedResponse" => parse_quote!(crate::hooks::refusal),
            _ => return,
        };
        *path = replacement;
        self.0 += 1;
    }
}

/// Progenitor sends the version of the document with every call, which means nothing to RIXL.
#[derive(Default)]
struct WithoutVersion(usize);

impl VisitMut for WithoutVersion {
    fn visit_block_mut(&mut self, block: &mut syn::Block) {
        let before = block.stmts.len();
        block.stmts.retain(|statement| !statement.to_token_stream().to_string().contains("Self :: api_version ()"));
        self.0 += before - block.stmts.len();
        let starts = |statement: &syn::Stmt, text: &str| statement.to_token_stream().to_string().starts_with(text);
        // Unless the operation has headers of its own, the map is empty now.
        if !block.stmts.iter().any(|statement| starts(statement, "header_map .") || starts(statement, "if let")) {
            block.stmts.retain(|statement| !starts(statement, "let mut header_map"));
            syn::visit_mut::visit_block_mut(self, block);
        }
    }

    fn visit_expr_mut(&mut self, expression: &mut syn::Expr) {
        syn::visit_mut::visit_expr_mut(self, expression);
        if let syn::Expr::MethodCall(call) = expression
            && call.method == "headers"
            && call.args.to_token_stream().to_string() == "header_map"
        {
            *expression = (*call.receiver).clone();
        }
    }
}

/// reqwest's errors print the URL, and RIXL has invitation tokens in paths.
#[derive(Default)]
struct WithoutUrls(usize);

impl VisitMut for WithoutUrls {
    fn visit_expr_try_mut(&mut self, expression: &mut syn::ExprTry) {
        let inner = expression.expr.to_token_stream().to_string();
        // `_result` where a parameter is called `result`.
        if inner.trim_start_matches('_') == "result" || inner.ends_with(". build ()") {
            let inner = &expression.expr;
            *expression = parse_quote!(#inner.map_err(::reqwest::Error::without_url)?);
            self.0 += 1;
        }
    }
}

/// The generator writes a header with `Display`, which no secret has, and does not mark it.
#[derive(Default)]
struct SensitiveHeaders(usize);

impl VisitMut for SensitiveHeaders {
    fn visit_expr_try_mut(&mut self, expression: &mut syn::ExprTry) {
        let text = expression.expr.to_token_stream().to_string();
        if let Some(value) = text.strip_suffix(". to_string () . try_into ()")
            && let Ok(value) = syn::parse_str::<syn::Expr>(value)
        {
            *expression = parse_quote!(crate::request::header(&#value)?);
            self.0 += 1;
        }
    }
}

/// An argument may have the name of a variable of the generated function, or of something it calls.
struct OwnNames;

impl OwnNames {
    fn rename(expression: &mut syn::Expr) {
        if expression.to_token_stream().to_string() == "header_map" {
            // No argument starts with an underscore.
            *expression = parse_quote!(_header_map);
        }
    }
}

impl VisitMut for OwnNames {
    fn visit_pat_ident_mut(&mut self, pattern: &mut syn::PatIdent) {
        if pattern.mutability.is_some() && pattern.ident == "header_map" {
            pattern.ident = quote::format_ident!("_header_map");
        }
    }

    fn visit_expr_method_call_mut(&mut self, call: &mut syn::ExprMethodCall) {
        syn::visit_mut::visit_expr_method_call_mut(self, call);
        match call.method.to_string().as_str() {
            "append" => Self::rename(&mut call.receiver),
            "headers" => call.args.iter_mut().for_each(Self::rename),
            _ => {}
        }
    }

    fn visit_expr_call_mut(&mut self, call: &mut syn::ExprCall) {
        syn::visit_mut::visit_expr_call_mut(self, call);
        if call.func.to_token_stream().to_string() == "encode_path" {
            *call.func = parse_quote!(progenitor_client::encode_path);
        }
    }

    // The path is written by `format!`, whose arguments are tokens.
    fn visit_macro_mut(&mut self, call: &mut syn::Macro) {
        let encoded = call.tokens.to_string().replace("encode_path (", "progenitor_client :: encode_path (");
        if let Ok(tokens) = encoded.parse() {
            call.tokens = tokens;
        }
    }
}

/// One attribute a line makes `///` of what would be printed as `/** */`.
struct SplitDocs;

impl VisitMut for SplitDocs {
    fn visit_attributes_mut(&mut self, attributes: &mut Vec<Attribute>) {
        *attributes = attributes
            .drain(..)
            .flat_map(|attribute| match doc_text(&attribute) {
                Some(text) => text
                    .trim_end()
                    .lines()
                    .map(|line| {
                        let line: String = line.trim().chars().filter(|letter| is_plain(*letter)).collect();
                        let line = if line.is_empty() { line } else { format!(" {line}") };
                        parse_quote!(#[doc = #line])
                    })
                    .collect(),
                None => vec![attribute],
            })
            .collect();
    }
}

/// Rust refuses a lone carriage return in a comment, and characters that reverse the text direction.
fn is_plain(letter: char) -> bool {
    !letter.is_control()
        && !matches!(letter, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

/// Prose may contain anything.
struct WithoutDocs;

impl VisitMut for WithoutDocs {
    fn visit_attributes_mut(&mut self, attributes: &mut Vec<Attribute>) {
        attributes.retain(|attribute| !attribute.path().is_ident("doc"));
    }
}

fn doc_text(attribute: &Attribute) -> Option<String> {
    let syn::Meta::NameValue(pair) = &attribute.meta else { return None };
    let syn::Expr::Lit(literal) = &pair.value else { return None };
    let syn::Lit::Str(text) = &literal.lit else { return None };
    pair.path.is_ident("doc").then(|| text.value())
}

struct Proof {
    kind: Kind,
    functions: usize,
    /// The fields of every type that can be printed: whose they are, their name, and their type.
    fields: Vec<(String, String, String)>,
    problems: Vec<String>,
}

impl Proof {
    /// Whatever is named like a secret, or nested under such a name, has a type that redacts itself.
    fn secrets(&mut self) {
        let mut open: Vec<_> = self.fields.iter().filter(|(_, name, _)| is_secret_name(name)).collect();
        let mut seen = BTreeSet::new();
        while let Some((owner, name, ty)) = open.pop() {
            if words(ty).any(|word| PLAIN.split(' ').any(|plain| word == plain)) {
                self.problems.push(format!("generated.rs: {owner}.{name} is a {ty}, not a redacting type."));
            }
            // A newtype is named for its place, which may be about secrets.
            if self.kind == Kind::Published && owner != name {
                let behind = self.fields.iter().filter(|(owner, ..)| words(ty).any(|word| word == owner));
                let mut behind: Vec<_> = behind.filter(|(_, name, _)| !is_about_a_secret(name)).collect();
                // A key with its metadata says itself what is secret in it, and that is looked at anyway.
                if is_key_object(name) && behind.iter().any(|(_, name, _)| is_secret_name(name)) {
                    behind.clear();
                }
                open.extend(behind.into_iter().filter(|field| seen.insert(*field)));
            }
        }
    }
}

/// What prints what it holds. A document may call types of its own by the last word of these.
const PLAIN: &str =
    "::std::string::String ::serde_json::Value i64 u64 i32 u32 f64 f32 crate::wire::Int64 crate::request::UInt64";

/// The paths of a type, but for the keys of its maps.
fn words(ty: &str) -> impl Iterator<Item = &str> {
    ty.split(|letter: char| !letter.is_alphanumeric() && !matches!(letter, '_' | ':')).filter(|word| !word.is_empty())
}

impl Visit<'_> for Proof {
    fn visit_item_struct(&mut self, item: &syn::ItemStruct) {
        let owner = item.ident.to_string();
        for field in &item.fields {
            // The value of a newtype has no name but that of the type.
            let name = field.ident.as_ref().map_or_else(|| owner.clone(), ToString::to_string);
            self.fields.push((owner.clone(), name, type_name(field).replace(MAP, "")));
        }
        syn::visit::visit_item_struct(self, item);
    }

    fn visit_item_enum(&mut self, item: &syn::ItemEnum) {
        let fields = item.variants.iter().flat_map(|variant| &variant.fields);
        let owner = item.ident.to_string();
        self.fields.extend(fields.map(|field| (owner.clone(), owner.clone(), type_name(field).replace(MAP, ""))));
    }

    fn visit_type_path(&mut self, ty: &syn::TypePath) {
        if self.kind == Kind::Published && path_of(&ty.path).starts_with("serde_json::") {
            self.problems.push(format!("generated.rs: {} prints whatever it holds.", path_of(&ty.path)));
        }
        syn::visit::visit_type_path(self, ty);
    }

    fn visit_field(&mut self, field: &Field) {
        let Some(name) = field.ident.as_ref().map(ToString::to_string) else { return };
        let ty = type_name(field);
        let lenient = |function: &str| {
            field.attrs.iter().any(|attribute| attribute.to_token_stream().to_string().contains(function))
        };
        let reads_lists = lenient("texts") || lenient("objects") || lenient("request::list");
        let reads_options = lenient("not_set") || lenient("wire::time") || lenient("request::map");
        if (ty.starts_with(OPTION) && !reads_options) || (ty.starts_with(LIST) && !reads_lists) {
            self.problems.push(format!("generated.rs: the field {name} does not read null as not set."));
        }
        syn::visit::visit_field(self, field);
    }

    fn visit_impl_item_fn(&mut self, function: &syn::ImplItemFn) {
        if function.sig.asyncness.is_none() {
            return;
        }
        self.functions += 1;
        syn::visit::visit_signature(self, &function.sig);
        let body = function.block.to_token_stream().to_string();
        for argument in &function.sig.inputs {
            let syn::FnArg::Typed(argument) = argument else { continue };
            if argument.ty.to_token_stream().to_string().replace(' ', "").contains("&'astr") {
                let (name, argument) = (&function.sig.ident, argument.pat.to_token_stream());
                // In a query or a header any text is encoded or refused; in a path it could make it another's.
                if self.kind == Kind::Published && !body.contains(&format!("encode_path (& {argument} ")) {
                    continue;
                }
                self.problems.push(format!("generated.rs: {name} takes plain text as {argument}, not a checked type."));
            }
        }
    }
}
