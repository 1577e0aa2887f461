//! Rotates an API key and proves what became of the secrets.
//!
//! `cargo run --example rotate` does it on a RIXL gateway in memory. With `RIXL_BEARER_TOKEN` set (and `RIXL_BASE_URL`,
//! if it is not the public API), `cargo run --example rotate -- KEY_ID FILE` rotates a real key, after asking, and
//! writes the new secret to FILE, which must not exist yet.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command-line program")]

use std::{
    error::Error,
    fs::{self, OpenOptions},
    io::{self, Write as _},
    path::Path,
    process::ExitCode,
};

use rixl_credentials::{Client, ErrorKind, KeyId, NewApiKey, Secret};
use rixl_sandbox::Sandbox;

type Outcome = Result<(), Box<dyn Error>>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            let mut cause = error.source();
            while let Some(error) = cause {
                eprintln!("  because: {error}");
                cause = error.source();
            }
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Outcome {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.as_slice() {
        [] => on_sandbox().await,
        [key_id, file] => for_real(&key_id.parse()?, Path::new(file)).await,
        _ => Err("usage: rotate [KEY_ID FILE]".into()),
    }
}

async fn on_sandbox() -> Outcome {
    let sandbox = Sandbox::start()?;
    let client = Client::builder().base_url(sandbox.url()).bearer_token(sandbox.bearer_token()).build()?;
    println!("A RIXL gateway in memory listens on {}.", sandbox.url());

    let new_key = NewApiKey::new("billing").with_project_id(sandbox.project_id().parse()?);
    let created = client.api_keys().create(new_key).await?;
    println!("Created the key {} ({}).", created.key.id, created.key.name.as_deref().unwrap_or("no name"));
    println!("Its secret is {}: {:?}", verdict(&client, &created.secret).await?, created.secret);

    let rotated = client.api_keys().rotate(&created.key.id).await?;
    println!("Rotated the key {}: same id, new secret.", rotated.key.id);
    let (new, old) = (verdict(&client, &rotated.secret).await?, verdict(&client, &created.secret).await?);
    println!("The new secret is {new}, the old one is {old}.");
    if (new, old) != ("accepted", "refused") {
        return Err("the gateway did not do what the contract says".into());
    }
    println!("Secrets are never printed by accident; expose_secret() is the one way to read one.");
    Ok(())
}

async fn for_real(key_id: &KeyId, file: &Path) -> Outcome {
    let client = Client::from_env()?;
    eprint!(
        "This gives the key {key_id} a new secret, and its consumers may lose access at once.\nType the key id to go on: "
    );
    let mut typed = String::new();
    io::stdin().read_line(&mut typed)?;
    if typed.trim() != key_id.as_str() {
        return Err("not confirmed; nothing was sent".into());
    }
    // Before anything is sent: the secret is shown once, and must have somewhere to go.
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut output = options.open(file).map_err(|error| format!("{}: {error}; nothing was sent", file.display()))?;

    let mut save = |bytes: &[u8]| {
        let saved = output.write_all(bytes).and_then(|()| output.sync_all());
        saved.map_err(|error| {
            format!("{}: {error}; the key was rotated and its secret is lost: rotate it again", file.display())
        })
    };

    match client.api_keys().rotate(key_id).await {
        Ok(rotated) => {
            save(rotated.secret.expose_secret().as_bytes())?;
            println!("Rotated the key {key_id}; the new secret is in {}.", file.display());
            let new = verdict(&client, &rotated.secret).await?;
            println!("The new secret is {new}. The old one is not known here, so it was not tried.");
            Ok(())
        }
        Err(mut error) => match error.take_raw_answer() {
            // It was rotated, and the secret may be somewhere in this.
            Some(answer) => {
                save(answer.expose_secret())?;
                Err(format!("{error}; the raw answer is in {}", file.display()).into())
            }
            None => {
                drop(fs::remove_file(file));
                Err(error.into())
            }
        },
    }
}

/// Whether the API takes this secret. Anything but a clear answer is an error.
async fn verdict(client: &Client, secret: &Secret) -> Result<&'static str, rixl_credentials::Error> {
    match client.tokens().exchange(secret).await {
        Ok(_) => Ok("accepted"),
        Err(error) if error.kind() == ErrorKind::Unauthorized => Ok("refused"),
        Err(error) => Err(error),
    }
}
