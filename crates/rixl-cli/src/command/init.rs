//! `rixl init`

use std::{collections::HashMap, io::ErrorKind, path::Path};

use rixl_credentials::{ApiKey, Timestamp};
use rixl_rotation::open_runs;

use crate::{
    command::list,
    config::{Config, FILE, LONGEST, Source, holds_secret},
    context::Context,
    embedded,
    failure::Failure,
    output::{Done, publish},
    places::{self, Destinations},
    settings,
    stdout::Stdout,
    text::{quoted_in_toml, shown},
    when::rough,
};

/// Write a first `rixl.toml`, with the keys of the account
///
/// Reads RIXL's list, and the state, for where the secrets are. It writes the file here, or to --config FILE, and never over one
/// that is there; it is readable by all, since no secret stands in it. A key whose places are known, or for which --to says them, is
/// declared, to be rotated before it is 90 days old, and 14 days before it expires; any other one stands there as a comment, for you to say where its secret
/// is read: a secret that is put elsewhere is an outage. RIXL is not changed.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Where the secrets are that no run has put anywhere, as `to` has it; {key_id} and {key_name} stand for the key
    #[arg(long, value_name = "STORE")]
    to: Vec<String>,
}

pub(crate) async fn run(context: &Context, args: Args) -> Result<Done, Failure> {
    let path = context.global.config.as_deref().unwrap_or(Path::new(FILE));
    let path = std::path::absolute(path)
        .map_err(|error| Failure::usage("the current folder can't be found").with_cause(&error))?;
    let place = shown(&path.to_string_lossy()).into_owned();
    let taken = || {
        Failure::refused(format!("{place} is there already; nothing was written"))
            .with_next("rixl plan, or another --config FILE")
    };
    // Before anybody is asked.
    if path.symlink_metadata().is_ok() {
        return Err(taken());
    }
    args.to.iter().try_for_each(|to| places::check(to))?;
    let api = context.connect().await?;
    let rotator = context.rotator(&api)?;
    let mut keys = list::all(context, &api).await?;
    // It has a successor, and RIXL ends it.
    let open = open_runs(&*context.journal()?).await?;
    let is_ending = |key: &ApiKey| open.iter().any(|run| run.waits_until.is_some() && run.entry == key.id.as_str());
    keys.retain(|key| !is_ending(key));
    keys.sort_by(|one, other| (&one.name, &one.id).cmp(&(&other.name, &other.id)));
    let (mut text, mut declared, mut elsewhere) = (head(context)?, 0_usize, 0_usize);
    let now = Timestamp::now();
    for key in &keys {
        let known = match (args.to.is_empty(), context.global.sandbox) {
            (false, true) => args.to.clone(),
            (true, true) => vec![embedded::STORE.replace("{folder}/", "")],
            (_, false) => {
                let last = context.stop.or(rotator.last_run(&key.id)).await??;
                let stores = last.map(|last| last.stores).unwrap_or_default();
                // Nobody can say where that went.
                let is_known = !stores.is_empty() && stores.iter().all(|store| store != Stdout::LOCATION);
                elsewhere += usize::from(is_known && !args.to.is_empty());
                if is_known { stores } else { args.to.clone() }
            }
        };
        let mut block_of_key = block(key, key.name.as_deref().unwrap_or("a key without a name"), &known, now);
        // A file with that would be refused.
        let is_secret = holds_secret(&block_of_key);
        if is_secret {
            block_of_key = block(key, "a key whose name or place looks like a secret", &[], now);
        }
        declared += usize::from(!known.is_empty() && !is_secret);
        text.push_str(&block_of_key);
    }
    // What can't be read is not left for others to find.
    let config = Config::of_text(path.clone(), &text)?;
    if text.len() as u64 > LONGEST {
        let sentence = format!("there are too many keys to declare each: {}; nothing was written", keys.len());
        return Err(Failure::refused(sentence).with_next("declare them by patterns of their names"));
    }
    let mut owners = HashMap::new();
    for secret in &config.secrets {
        let destination = secret.destination(false);
        places::check_stores(context, &destination)?;
        let places = Destinations::of_texts(context, &destination.to, true)?;
        for key in keys.iter().filter(|key| secret.ids.contains(&key.id)) {
            // What can't be named is refused when it is due.
            for store in places.stores_of(Some(&key.id), key.name.as_deref()).unwrap_or_default() {
                let location = store.location();
                let identity = store.identity().await.unwrap_or_else(|_| location.clone());
                if let Some(other) = owners.insert(identity, &key.id).filter(|_| location != Stdout::LOCATION) {
                    let sentence = format!("{other} and {} would go into one place, {location}", key.id);
                    return Err(Failure::refused(format!("{sentence}; nothing was written"))
                        .with_next("name a place for each, with {key_id}"));
                }
            }
        }
    }
    publish(&path, &text, true).map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists => taken(),
        _ => Failure::other(format!("{place} could not be written")).with_cause(&error),
    })?;
    if elsewhere > 0 {
        let sentence = "declared where a run has put the secret, and not where --to says";
        context.output.note(format_args!("{elsewhere} of them: {sentence}"));
    }
    let left = keys.len() - declared;
    if left > 0 {
        let (keys, stand) = if left == 1 { ("key", "stands") } else { ("keys", "stand") };
        context.output.note(format_args!(
            "{left} {keys}, whose places are not known, {stand} there as comments: say in to where the secret is read, and remove the #"
        ));
    }
    Done::new(format!("{place}: {declared} of {} keys declared\n", keys.len()))
        .with_field("config", &path.to_string_lossy())?
        .with_field("declared", &declared)?
        .with_field("left", &left)
}

/// The account, as this run has it.
fn head(context: &Context) -> Result<String, Failure> {
    let global = &context.global;
    let mut text =
        "# What `rixl plan` and `rixl apply` do. `rixl config schema` says what else may stand here; no secret may.\n"
            .to_owned();
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let mut account = String::new();
    let mut add = |name: &str, value: Option<String>| {
        account.extend(value.map(|value| format!("{name} = {}\n", quoted_in_toml(&value))));
    };
    if !global.sandbox {
        add("base-url", global.base_url.clone().or_else(|| variable("RIXL_BASE_URL")));
        add("organization", settings::organization(global)?.map(|id| id.to_string()));
        let absolute = |path: &Path| std::path::absolute(path).ok().map(|path| path.to_string_lossy().into_owned());
        match (&global.token_file, &global.source) {
            (Some(path), _) => add("token.file", absolute(path)),
            (None, Some(Source::Variable(name))) => add("token.env", Some(name.clone())),
            (None, Some(Source::ApiKeyFile(path))) => add("token.api-key-file", absolute(path)),
            (None, Some(Source::Credential(path))) => {
                add("token.credential", path.file_name().map(|name| name.to_string_lossy().into_owned()));
            }
            (None, Some(Source::Command(words))) => {
                let words: Vec<String> = words.iter().map(|word| quoted_in_toml(word)).collect();
                account.push_str(&format!("token.command = [{}]\n", words.join(", ")));
            }
            (None, None) if variable("RIXL_BEARER_TOKEN").is_some() => {
                add("token.env", Some("RIXL_BEARER_TOKEN".into()))
            }
            (None, None) if variable("RIXL_API_KEY").is_none() => {
                add("token.api-key-file", variable("RIXL_API_KEY_FILE").and_then(|path| absolute(Path::new(&path))));
            }
            (None, None) => {}
        }
    }
    if !account.is_empty() {
        text.push_str(&format!("\n[account.main]\n{account}"));
    }
    Ok(text)
}

fn block(key: &ApiKey, name: &str, places: &[String], now: Timestamp) -> String {
    let age = key.created_at.map(|then| format!(", {} old", rough(then, now))).unwrap_or_default();
    let end = key.expiring_at.map(|end| end.to_string());
    // The day.
    let end = end.as_deref().and_then(|end| end.get(..10));
    let end =
        end.map(|day| format!(", expires on {day}: how = \"replace\", with name instead of ids, gives it a successor"));
    // One that is unknown stands for what the user must say.
    let to = match places {
        [] => "\"…\"".to_owned(),
        [one] => quoted_in_toml(one),
        all => format!("[{}]", all.iter().map(|one| quoted_in_toml(one)).collect::<Vec<_>>().join(", ")),
    };
    let mark = if places.is_empty() { "# " } else { "" };
    let mut text = format!("\n# {}{age}{}\n", shown(name), end.unwrap_or_default());
    let before_expiry = if key.expiring_at.is_some() { "before-expiry = \"14d\"" } else { "" };
    for line in [
        "[[secret]]",
        &format!("ids = [{}]", quoted_in_toml(key.id.as_str())),
        "max-age = \"90d\"",
        before_expiry,
        &format!("to = {to}"),
    ] {
        if line.is_empty() {
            continue;
        }
        text.push_str(&format!("{mark}{line}\n"));
    }
    text
}
