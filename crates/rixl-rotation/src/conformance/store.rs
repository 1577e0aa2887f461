//! The contract of a store.

use std::{error::Error as _, fmt::Write as _, sync::Arc};

use futures_util::future::join_all;

use crate::store::{
    Commit, Committed, Prepare, Read, SecretKind, Store, StoreError, StoreErrorKind, StoredSecret, Subject, Version,
};

const FIRST: &str = "rxl_CONFORMANCEfirst";
const SECOND: &str = "rxl_CONFORMANCEsecond";
const RACERS: usize = 8;
const ROUNDS: usize = 5;

/// Tests the contract of [`Store`] on an entry that has no secret yet.
///
/// `fresh` opens the entry anew, as another process would. The entry is written many times, and holds a test's secret
/// afterwards. Must run in a Tokio runtime; with several threads it finds more.
///
/// What it can't see is for tests of your own: that `prepare` leaves nothing *beside* the entry, that it finds a full disk or a
/// missing permission, that a commit survives a power failure.
///
/// ```
/// use std::sync::Arc;
/// use rixl_rotation::{conformance::check_store, store::FileStore};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let folder = tempfile::tempdir()?;
/// let store = FileStore::new(folder.path().join("key"))?;
/// check_store(|| Arc::new(store.clone())).await?;
/// # Ok(()) }
/// ```
///
/// # Errors
///
/// A sentence that names the point of the contract which does not hold.
pub async fn check_store<F>(fresh: F) -> Result<(), String>
where
    F: Fn() -> Arc<dyn Store>,
{
    check(&fresh).await?;
    if fresh().is_readable() { race(&fresh).await } else { Ok(()) }
}

/// As [`check_store`], without commits at the same time: for a store whose check and write are two steps, and which leaves it
/// to the journal to keep rotators apart.
///
/// # Errors
///
/// As of [`check_store`].
pub async fn check_store_without_race<F>(fresh: F) -> Result<(), String>
where
    F: Fn() -> Arc<dyn Store>,
{
    check(&fresh).await
}

async fn check(fresh: &impl Fn() -> Arc<dyn Store>) -> Result<(), String> {
    let location = fresh().location();
    ensure(!location.is_empty() && !location.chars().any(char::is_control), "1: the location is no line of text")?;
    ensure(location == fresh().location(), "1: two stores of one entry have two locations")?;
    if !fresh().is_readable() {
        return check_unreadable(fresh).await;
    }

    let start = read(fresh, "3: an entry that is not there is read as one without a secret").await?;
    ensure(start.secret.is_none(), "3: the entry has a secret already (this check starts with one that has none)")?;
    ensure(start.version != Version::untracked(), "3: a store that can be read gives the untracked version")?;
    prepare(fresh, 200, &start).await?;

    let first = commit(fresh, FIRST, &start.version).await?;
    ensure(first != start.version, "3: the version stays when a secret comes")?;
    ensure(first != Version::absent(), "3: an entry with a secret has the version of one that is not there")?;
    ensure(parsed(&first) == first, "3: the version is another one once a journal has kept it")?;
    let held = expect(fresh, FIRST, &first, "4: what was committed is read back").await?;
    prepare(fresh, 200, &held).await?;

    conflict(fresh, SECOND, &start.version).await?;
    expect(fresh, FIRST, &first, "4: a conflict leaves the entry as it was").await?;

    let second = commit(fresh, SECOND, &first).await?;
    ensure(second != first && second != start.version, "3: the version stays when the secret changes")?;
    expect(fresh, SECOND, &second, "4: what was committed is read back").await?;
    for old in [&start.version, &first] {
        conflict(fresh, FIRST, old).await?;
    }
    expect(fresh, SECOND, &second, "4: a conflict leaves the entry as it was").await?;

    let again = commit(fresh, SECOND, &second).await?;
    expect(fresh, SECOND, &again, "4: repeating a commit does no harm").await?;
    // As a recovery repeats it, which knows the version before alone. Whether that counts as a conflict is the store's choice.
    match fresh().commit(Commit::new(&SECOND.into(), &first)).await {
        Ok(Committed { version, .. }) => expect(fresh, SECOND, &version, "4: repeating a commit does no harm").await?,
        Err(error) if error.kind() == StoreErrorKind::Conflict => {
            expect(fresh, SECOND, &again, "4: repeating a commit does no harm").await?
        }
        Err(error) => return Err(format!("4: repeating a commit fails, and not as a conflict: {}", printed(&error))),
    };
    named(fresh).await?;
    odd(fresh).await
}

/// For a key and a run that are told.
async fn named(fresh: &impl Fn() -> Arc<dyn Store>) -> Result<(), String> {
    let subject = Subject::new(SecretKind::ApiKey).with_name("conformance").with_run_id("run").with_owner("user@host");
    let failed = |what: &str, error: &StoreError| format!("{what} for a key that is named fails: {}", printed(error));
    let held = fresh().prepare(Prepare::new(200).with_subject(&subject)).await;
    let held = held.map_err(|error| failed("2: prepare", &error))?;
    let secret = format!("{FIRST}-named");
    let committed = fresh().commit(Commit::new(&secret.as_str().into(), &held.version).with_subject(&subject)).await;
    let committed = committed.map_err(|error| failed("4: commit", &error))?;
    let read = fresh().read(Read::new().with_subject(&subject)).await;
    let read = read.map_err(|error| failed("3: read", &error))?;
    ensure(read.version == committed.version, "3: a key that is named makes the version another")?;
    expect(fresh, &secret, &committed.version, "4: what was committed for a key that is named is read back").await?;
    Ok(())
}

/// As a journal gives it back.
fn parsed(version: &Version) -> Version {
    let Ok(version) = version.to_string().parse();
    version
}

async fn check_unreadable(fresh: &impl Fn() -> Arc<dyn Store>) -> Result<(), String> {
    let untracked = Version::untracked();
    for round in 0..2 {
        let held = read(fresh, "a store that can't be read back says so without an error").await?;
        ensure(held.secret.is_none(), "a store that says it can't be read back gives a secret")?;
        ensure(held.version == untracked, "a store that can't be read back gives a version other than untracked")?;
        prepare(fresh, 200, &held).await?;
        let version = commit(fresh, if round == 0 { FIRST } else { SECOND }, &untracked).await?;
        ensure(version == untracked, "a store that can't be read back gives a version other than untracked")?;
        commit(fresh, SECOND, &untracked).await?;
    }
    for secret in odd_secrets() {
        refusal(fresh().commit(Commit::new(&secret.as_str().into(), &untracked)).await, &secret)?;
    }
    Ok(())
}

/// Secrets that are stored exactly or refused, but never changed.
async fn odd(fresh: &impl Fn() -> Arc<dyn Store>) -> Result<(), String> {
    for secret in odd_secrets() {
        let before = read(fresh, "3: the entry can be read").await?;
        let holds = before.secret.as_ref().map(|secret| secret.expose_secret().to_owned()).unwrap_or_default();
        let prepared = refusal(fresh().prepare(Prepare::new(secret.len())).await, &secret)?;
        let committed = match prepared {
            Some(_) => refusal(fresh().commit(Commit::new(&secret.as_str().into(), &before.version)).await, &secret)?,
            None => None,
        };
        match committed {
            Some(Committed { version, .. }) => {
                expect(fresh, &secret, &version, "4: an odd secret is stored exactly or refused").await?
            }
            None => expect(fresh, &holds, &before.version, "5: what was refused left the entry as it was").await?,
        };
    }
    Ok(())
}

fn odd_secrets() -> Vec<String> {
    let odd = [
        "x",
        " a space at both ends ",
        "quotes ' \" `",
        "only 'single' ones",
        "only \"double\" ones",
        "a back\\slash and \\n",
        "$HOME ${HOME} $(id)",
        "a # b",
        "#",
        "=",
        "é\u{1F511}\u{202e}",
        "%41+%2F",
        "{\"json\": [1]}",
        "-n",
        "two\nlines",
        "a line feed at the end\n",
        "a carriage return at the end\r",
        "a\ttab",
        "a\0zero",
    ];
    let mut all: Vec<_> = odd.iter().map(|secret| (*secret).to_owned()).collect();
    all.push("x".repeat(64 * 1024 - 1));
    all.push(FIRST.to_owned());
    all
}

/// Several at once, each with a handle of its own and all with one expected version: one wins, whole.
async fn race(fresh: &impl Fn() -> Arc<dyn Store>) -> Result<(), String> {
    for round in 0..ROUNDS {
        let before = read(fresh, "3: the entry can be read").await?;
        let racers = (0..RACERS).map(|racer| {
            let (store, expected) = (fresh(), before.version.clone());
            tokio::spawn(async move {
                let secret = format!("rxl_CONFORMANCErace{round}x{racer}");
                let result = store.commit(Commit::new(&secret.as_str().into(), &expected)).await;
                (secret, result)
            })
        });
        let mut won = Vec::new();
        for ended in join_all(racers).await {
            let (secret, result) = ended.map_err(|_| "4: a commit among several at once panics")?;
            match result {
                Ok(Committed { version, .. }) => won.push((secret, version)),
                Err(error) if error.kind() == StoreErrorKind::Conflict => silent(&error, &secret)?,
                Err(error) => {
                    return Err(format!(
                        "4: of several commits at once one fails, not as a conflict: {}",
                        printed(&error)
                    ));
                }
            }
        }
        let [(secret, version)] = won.as_slice() else {
            let count = won.len();
            return Err(format!("4: of {RACERS} commits at once with one expected version {count} won, not one"));
        };
        expect(fresh, secret, version, "4: of several commits at once, the one that won is there").await?;
    }
    Ok(())
}

fn ensure(holds: bool, point: &str) -> Result<(), String> {
    if holds { Ok(()) } else { Err(point.to_owned()) }
}

async fn read(fresh: &impl Fn() -> Arc<dyn Store>, point: &str) -> Result<StoredSecret, String> {
    fresh().read(Read::new()).await.map_err(|error| format!("{point}, but: {}", printed(&error)))
}

/// `prepare` works, gives what `read` gave, and leaves it.
async fn prepare(fresh: &impl Fn() -> Arc<dyn Store>, max_bytes: usize, before: &StoredSecret) -> Result<(), String> {
    let prepared = fresh().prepare(Prepare::new(max_bytes)).await;
    let prepared = prepared.map_err(|error| format!("2: prepare fails: {}", printed(&error)))?;
    ensure(is_same(&prepared, before), "3: prepare and read give something else")?;
    let after = read(fresh, "2: the entry can be read after prepare").await?;
    ensure(is_same(&after, before), "2: prepare changes the entry")
}

fn is_same(one: &StoredSecret, other: &StoredSecret) -> bool {
    let text = |held: &StoredSecret| held.secret.as_ref().map(|secret| secret.expose_secret().to_owned());
    one.version == other.version && text(one) == text(other)
}

async fn commit(fresh: &impl Fn() -> Arc<dyn Store>, secret: &str, expected: &Version) -> Result<Version, String> {
    let result = fresh().commit(Commit::new(&secret.into(), expected)).await;
    result
        .map(|committed| committed.version)
        .map_err(|error| format!("4: a commit with the version that is there fails: {}", printed(&error)))
}

async fn conflict(fresh: &impl Fn() -> Arc<dyn Store>, secret: &str, old: &Version) -> Result<(), String> {
    match fresh().commit(Commit::new(&secret.into(), old)).await {
        Ok(_) => Err("4: a commit with an old version succeeds".to_owned()),
        Err(error) if error.kind() == StoreErrorKind::Conflict => silent(&error, secret),
        Err(error) => Err(format!("4: a commit with an old version fails, not as a conflict: {}", printed(&error))),
    }
}

/// The entry, read by a new handle, holds this.
async fn expect(
    fresh: &impl Fn() -> Arc<dyn Store>,
    secret: &str,
    version: &Version,
    point: &str,
) -> Result<StoredSecret, String> {
    let held = read(fresh, point).await?;
    ensure(
        held.secret.as_ref().is_some_and(|held| held.expose_secret() == secret),
        &format!("{point}, but the secret is another"),
    )?;
    ensure(held.version == *version, &format!("{point}, but the version is another"))?;
    Ok(held)
}

/// An odd secret may be refused, in one way.
fn refusal<T>(result: Result<T, StoreError>, secret: &str) -> Result<Option<T>, String> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == StoreErrorKind::Unusable => silent(&error, secret).map(|()| None),
        Err(error) => {
            let length = secret.len();
            let kind = error.kind();
            Err(format!("4: an odd secret of {length} bytes is refused as {kind:?}, not as Unusable"))
        }
    }
}

/// Short ones can stand in any sentence.
fn silent(error: &StoreError, secret: &str) -> Result<(), String> {
    ensure(secret.len() < 8 || !printed(error).contains(secret), "5: an error has the secret in it")
}

/// All that an error prints.
fn printed(error: &StoreError) -> String {
    let mut text = format!("{error} ({error:?})");
    let mut next = error.source();
    while let Some(cause) = next {
        let _ = write!(text, ": {cause} ({cause:?})");
        next = cause.source();
    }
    text
}
