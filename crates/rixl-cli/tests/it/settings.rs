//! Where settings come from.

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Stdio;

use rixl_sandbox::{Effect, Fault, Sandbox};

use crate::program::{Run, create, rixl, write};

#[test]
fn no_credential() {
    for set in [None, Some("")] {
        let program = rixl("keys list --output json");
        let run = set.into_iter().fold(program, |program, empty| program.env("RIXL_BEARER_TOKEN", empty)).run();
        assert_eq!(run.code, 4);
        insta::allow_duplicates! { insta::assert_snapshot!(run.stdout, @r#"{"version":1,"command":"keys list","exit_code":4,"error":{"message":"there is no credential","next":"set RIXL_BEARER_TOKEN, or name a file with --token-file, or try it out with --sandbox"}}"#); }
    }
}

#[test]
fn a_flag_counts_before_the_environment() {
    let sandbox = Sandbox::start().unwrap();
    let run = rixl("keys list").at(&sandbox).env("RIXL_BASE_URL", "http://127.0.0.1:1").run();
    assert_eq!(run.code, 3);
    let flag = format!("keys list --base-url {}", sandbox.url());
    assert_eq!(rixl(&flag).at(&sandbox).env("RIXL_BASE_URL", "http://127.0.0.1:1").run().code, 0);

    let organization = sandbox.organization_id();
    assert_eq!(rixl("keys list").at(&sandbox).env("RIXL_ORG_ID", "another").run().code, 3);
    assert_eq!(rixl("keys list").at(&sandbox).env("RIXL_ORG_ID", "a.b").run().code, 2);
    let flag = format!("keys list --org {organization}");
    assert_eq!(rixl(&flag).at(&sandbox).env("RIXL_ORG_ID", "another").run().code, 0);
}

/// A server that does not know the first routes responds in the same way as one that does not know the key.
#[test]
fn what_is_not_found_without_an_organization_may_be_the_routes() {
    let sandbox = Sandbox::start().unwrap();
    let organization = sandbox.organization_id().to_owned();
    let not_found = Effect::Respond { status: 404, headers: Vec::new(), body: Vec::new() };
    sandbox.inject(Fault::new(not_found).always()).unwrap();
    for (command, is_named) in
        [("keys list", false), ("keys rotate XyZ9aB8cD1 --to file:/tmp/rixl-never-written", false), ("keys list", true)]
    {
        let program = rixl(command).at(&sandbox);
        let run = if is_named { program.env("RIXL_ORG_ID", &organization) } else { program }.run();
        assert_eq!(run.code, 3, "{}", run.stderr);
        let next = run.stderr.lines().find_map(|line| line.trim().strip_prefix("next: "));
        let expected = if is_named { "check the ids, that of the organization, too: " } else { "set RIXL_ORG_ID " };
        assert!(next.is_some_and(|next| next.starts_with(expected)), "{}", run.stderr);
    }
}

#[test]
fn a_token_counts_before_an_api_key() {
    let sandbox = Sandbox::start().unwrap();
    let key = create(&sandbox, "billing");
    assert_eq!(rixl("keys list").at(&sandbox).env("RIXL_API_KEY", "rxl_wrong").run().code, 0);
    let by_key = |key: &str| rixl("keys list").env("RIXL_BASE_URL", sandbox.url()).env("RIXL_API_KEY", key).run().code;
    assert_eq!(by_key(key.secret.expose_secret()), 0);
    assert_eq!(by_key("rxl_wrong"), 4);
    assert_eq!(by_key("wrong"), 2);
}

/// As `Client::from_env` has it.
#[test]
fn an_api_key_from_a_file() {
    let sandbox = Sandbox::start().unwrap();
    let key = create(&sandbox, "billing");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key");
    let by_file = || rixl("keys list").env("RIXL_BASE_URL", sandbox.url()).env("RIXL_API_KEY_FILE", &path);
    // As volumes of Kubernetes have it.
    write(&path, &format!("{}\n", key.secret.expose_secret()), 0o444);
    assert_eq!(by_file().run().code, 0);
    assert_eq!(sandbox.calls("exchangeApiKeyV1"), 1);
    // It comes last, and is not looked at.
    let gone = || by_file().env("RIXL_API_KEY_FILE", folder.path().join("gone"));
    assert_eq!(gone().env("RIXL_API_KEY", key.secret.expose_secret()).run().code, 0);
    assert_eq!(gone().env("RIXL_BEARER_TOKEN", sandbox.bearer_token()).run().code, 0);
    let run = gone().run();
    assert_eq!(run.code, 3, "{}", run.stderr);
    assert!(run.stderr.contains("the API key file /") && run.stderr.contains("can't be read"), "{}", run.stderr);
    assert_eq!(by_file().env("RIXL_API_KEY_FILE", "").run().code, 4);
    // The run is authorized with the key that the file holds.
    let id = key.key.id.as_str();
    let delete = rixl(&format!("keys delete {id} --yes")).env("RIXL_BASE_URL", sandbox.url());
    let run = delete.env("RIXL_API_KEY_FILE", &path).run();
    assert_eq!(run.code, 3, "{}", run.stderr);
    assert!(run.stderr.contains("would lock you out"), "{}", run.stderr);
}

#[test]
fn a_token_that_ended() {
    let sandbox = Sandbox::builder().token_lifetime(std::time::Duration::from_secs(60)).start().unwrap();
    let key = create(&sandbox, "billing");
    let token = crate::program::block_on(crate::program::client(&sandbox).tokens().exchange(&key.secret)).unwrap();
    let run = || rixl("keys list").at(&sandbox).env("RIXL_BEARER_TOKEN", token.access_token.expose_secret()).run();
    assert_eq!(run().code, 0);
    sandbox.advance(std::time::Duration::from_secs(61));
    assert_eq!(run().code, 4);
}

#[test]
fn a_token_from_a_file() {
    let sandbox = Sandbox::start().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("token");
    let run = || {
        let program = rixl(&format!("keys list --token-file {}", path.display()));
        program.at(&sandbox).env("RIXL_BEARER_TOKEN", "wrong").run()
    };
    assert_eq!(run().code, 2);
    for mode in [0o600, 0o400] {
        write(&path, &format!("{}\r\n", sandbox.bearer_token()), mode);
        assert_eq!(run().code, 0, "{mode:o}");
        std::fs::remove_file(&path).unwrap();
    }
    for mode in [0o640, 0o604, 0o620, 0o666] {
        write(&path, sandbox.bearer_token(), mode);
        let refused = run();
        assert_eq!(refused.code, 2, "{mode:o}");
        assert!(refused.stderr.contains("next: chmod 600 /"), "{}", refused.stderr);
    }
    for (bad, code) in [("", 2), ("two\nlines", 2), (&*"a".repeat(70_000), 2), ("wrong", 4)] {
        write(&path, bad, 0o600);
        assert_eq!(run().code, code, "{:.20}", bad);
    }
}

/// As Kubernetes (`fsGroup`) and systemd hand them out: whoever may read it is in a group with this process.
#[test]
fn a_token_file_of_an_own_group() {
    let sandbox = Sandbox::start().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("token");
    let run = || rixl(&format!("keys list --token-file {}", path.display())).at(&sandbox).run();
    write(&path, sandbox.bearer_token(), 0o440);
    std::os::unix::fs::chown(&path, None, Some(rustix::process::getegid().as_raw())).unwrap();
    let own = run();
    assert_eq!(own.code, 0, "{}", own.stderr);
    for mode in [0o444, 0o460, 0o450] {
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        assert_eq!(run().code, 2, "{mode:o}");
    }
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o440)).unwrap();
    // Only root can give a file to a group that it is not in.
    match std::os::unix::fs::chown(&path, None, Some(54_321)) {
        Ok(()) => assert_eq!(run().code, 2),
        Err(error) => rixl_testing::skip(format!("a file can't be given to another group: {error}")),
    }
}

/// An environment file keeps the line end that `$(cat)` removes.
#[test]
fn a_line_end_is_no_part_of_a_token() {
    let sandbox = Sandbox::start().unwrap();
    let key = create(&sandbox, "billing");
    for end in ["\n", "\r\n"] {
        let token = format!("{}{end}", sandbox.bearer_token());
        assert_eq!(rixl("keys list").at(&sandbox).env("RIXL_BEARER_TOKEN", token).run().code, 0, "{end:?}");
        let key = format!("{}{end}", key.secret.expose_secret());
        let run = rixl("keys list").env("RIXL_BASE_URL", sandbox.url()).env("RIXL_API_KEY", key).run();
        assert_eq!(run.code, 0, "{}", run.stderr);
        // Nothing else stands in it.
        assert_eq!(rixl("keys list").env("RIXL_BEARER_TOKEN", end).run().code, 4);
    }
}

#[test]
fn where_a_refused_credential_is_from_is_told() {
    let sandbox = Sandbox::start().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("token");
    write(&path, "rxl_0000000000000000000000", 0o600);
    let path = path.display().to_string();
    let next = |words: &str, name: &str, value: &str| {
        let run = rixl(words).env("RIXL_BASE_URL", sandbox.url()).env(name, value).run();
        assert_eq!(run.code, 4, "{}", run.stderr);
        run.stderr.lines().find_map(|line| line.trim().strip_prefix("next: ")).unwrap().to_owned()
    };
    let with_file = format!("keys list --token-file {path}");
    for (next, place) in [
        (next("keys list", "RIXL_BEARER_TOKEN", "wrong"), "a live token of the organization into RIXL_BEARER_TOKEN,"),
        (
            next("keys list", "RIXL_API_KEY", "rxl_0000000000000000000000"),
            "a live API key of the organization into RIXL_API_KEY,",
        ),
        (next("keys list", "RIXL_API_KEY_FILE", &path), &format!("into {path}, which RIXL_API_KEY_FILE names,")),
        (next(&with_file, "RIXL_BEARER_TOKEN", "wrong"), &format!("a live token of the organization into {path},")),
    ] {
        assert!(next.contains(place), "{next}");
    }
}

/// In a pod, what is in memory or on the container's own disk is gone with it, and with it a secret in escrow.
#[test]
#[cfg(target_os = "linux")]
fn a_state_that_ends_with_its_pod_is_warned_of() {
    if !std::path::Path::new("/dev/shm").is_dir() {
        return rixl_testing::skip("there is no /dev/shm");
    }
    let folder = tempfile::tempdir_in("/dev/shm").unwrap();
    let status = |variable: &str, state: &std::path::Path| {
        rixl_rotation::journal::FolderJournal::open(state).unwrap();
        let run = rixl("status").env(variable, "10.0.0.1").env("RIXL_STATE_DIR", state).run();
        assert_eq!(run.code, 0, "{}", run.stderr);
        run.stderr.contains("is in memory: if the pod ends during a rotation")
    };
    let state = folder.path().join("state");
    assert!(status("KUBERNETES_SERVICE_HOST", &state) && status("container", &state));
    assert!(!status("ANOTHER", &state));
}

#[test]
fn a_token_from_stdin() {
    let sandbox = Sandbox::start().unwrap();
    let mut program = rixl("keys list --token-stdin").env("RIXL_BASE_URL", sandbox.url());
    program.command.stdin(Stdio::piped());
    let mut child = program.spawn();
    child.stdin.take().unwrap().write_all(sandbox.bearer_token().as_bytes()).unwrap();
    assert_eq!(Run::of(child).code, 0);
    assert_eq!(rixl("keys list --token-stdin").at(&sandbox).run().code, 2);
}

#[test]
fn a_bad_filter_is_a_mistake() {
    let run = rixl("keys list --sandbox").env("RUST_LOG", "rixl=nonsense=").run();
    assert_eq!(run.code, 2, "{}", run.stderr);
}

/// It would be a folder of that name, and another one wherever the program is run: two machines would each have a state of their
/// own.
#[test]
fn a_state_that_is_no_place_is_refused() {
    let folder = rixl_testing::folder();
    let home = "XDG_STATE_HOME nor HOME is set to a path from /";
    for (variable, value, said) in [
        ("RIXL_STATE_DIR", "~/state", "a path that begins with ~"),
        ("RIXL_STATE_DIR", "vualt:kv/rixl", "the state can't be in vualt:kv/rixl: it is a folder, or vault:MOUNT/PATH"),
        ("HOME", "here", home),
    ] {
        let mut program = rixl("history").env(variable, value);
        program.command.current_dir(&folder);
        let run = program.run();
        assert_eq!(run.code, 2, "{value}: {}", run.stderr);
        assert!(run.stderr.contains(said), "{value}: {}", run.stderr);
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 0, "{value}");
    }
    let mut program = rixl("history").env("RIXL_STATE_DIR", "./a:b");
    program.command.current_dir(&folder);
    assert_eq!(program.run().code, 0);
}
