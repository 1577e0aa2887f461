//! `rixl completions`

use std::collections::BTreeSet;

use clap_complete::Shell;
use rixl_rotation::{Audit, journal::ReadHistory, open_runs};

use crate::{
    context::Context,
    failure::Failure,
    output::Done,
    settings::{self, State},
};

/// Print a completion script for a shell
///
/// For bash: `rixl completions bash > ~/.local/share/bash-completion/completions/rixl`. Where a key's id is to be typed, bash, zsh
/// and fish offer those that the state in a folder knows.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// The shell
    #[arg(required_unless_present = "ids")]
    shell: Option<Shell>,
    /// Print the ids of keys that the scripts offer
    #[arg(long, hide = true, conflicts_with = "shell")]
    ids: bool,
}

pub(crate) async fn run(
    context: &Context,
    Args { shell, .. }: Args,
    mut program: clap::Command,
) -> Result<Done, Failure> {
    let Some(shell) = shell else { return ids(context).await };
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut program, "rixl", &mut script);
    let script = String::from_utf8_lossy(&script);
    Ok(Done::raw(match shell {
        Shell::Bash => format!("{script}{BASH}"),
        Shell::Fish => format!("{script}{FISH}"),
        Shell::Zsh => of_zsh(&script),
        _ => script.into_owned(),
    }))
}

/// Those of the history and of unfinished runs. RIXL is not asked: a key that is pressed is no reason to use a credential.
async fn ids(context: &Context) -> Result<Done, Failure> {
    // Nor is Vault.
    if !matches!(settings::state(&context.global)?, State::Folder(folder) if folder.is_dir()) {
        return Ok(Done::raw(""));
    }
    let journal = context.journal()?;
    let open = open_runs(&*journal).await?;
    let open = open.into_iter().filter(|run| run.endpoint_id.is_none() && run.credential_id.is_none());
    let history = journal.history(ReadHistory::new()).await.map_err(rixl_rotation::Failure::from)?;
    let mut ids = BTreeSet::new();
    for audit in history.lines.iter().filter_map(|line| serde_json::from_str::<Audit>(line).ok()) {
        if let Some(old) = &audit.replaced {
            ids.remove(old);
        }
        ids.extend(audit.key_id);
    }
    // Entries of keys that are not created yet have other names.
    ids.extend(open.map(|run| run.entry).filter(|name| !name.contains('-')));
    Ok(Done::raw(ids.into_iter().map(|id| id + "\n").collect::<String>()))
}

// The engine of clap_complete that could ask for values is not stable, and would run this program for each key pressed. These
// run it where an id may stand.

/// What follows an option may be its value.
const BASH: &str = r#"
_rixl_with_ids() {
    _rixl "$@"
    case "${COMP_WORDS[*]:1:2}" in
        "keys rotate" | "keys replace" | "keys revoke" | "keys delete" | "keys consumers" | recover*)
            local cur="${COMP_WORDS[COMP_CWORD]}" prev="${COMP_WORDS[COMP_CWORD - 1]}"
            if [[ $cur != -* && $prev != -* ]]; then
                COMPREPLY+=($(compgen -W "$(rixl completions --ids 2>/dev/null)" -- "$cur"))
            fi
            ;;
    esac
}
complete -F _rixl_with_ids -o bashdefault -o default rixl
"#;

const FISH: &str = r#"
complete -c rixl -n "__fish_seen_subcommand_from rotate replace revoke delete consumers recover; and not __fish_seen_subcommand_from webhooks clients" -f -a "(rixl completions --ids 2>/dev/null)"
"#;

const ZSH: &str = r#"
_rixl_ids() {
    local -a ids
    ids=(${(f)"$(rixl completions --ids 2>/dev/null)"})
    compadd -a ids
}
"#;

/// There each argument names what completes it.
fn of_zsh(script: &str) -> String {
    let mut all = String::with_capacity(script.len() + ZSH.len());
    for line in script.split_inclusive('\n') {
        let is_id = [":key_id ", ":key_ids ", ":entries "].iter().any(|name| line.contains(name));
        all.push_str(&if is_id { line.replace(":_default'", ":_rixl_ids'") } else { line.to_owned() });
        if line.starts_with("autoload ") {
            all.push_str(ZSH);
        }
    }
    all
}
