#!/usr/bin/env python3
"""Checks what `rixl recipe` prints: `recipes.py RIXL`.

A CronJob by Kubernetes' own schema, a workflow by actionlint, a crontab by cron, each from a folder with a plain name and from
one whose name has what is special to them. The units are checked by the tests, with systemd-analyze.
"""

import json
import os
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

import jsonschema_rs
import yaml

CI = Path(__file__).resolve().parent
# Of the package kubernetes-validate, whose own code needs more than is installed.
PACKAGE = Path(yaml.__file__).parent.parent / "kubernetes_validate"
SCHEMAS = PACKAGE / "kubernetes-json-schema/v1.37.0-local-strict"
NAMES = ["fleet", "a b%n $HOME $(x) ${{ y }} 'c' #é"]
SECRET = '[[secret]]\nname = "billing*"\nmax-age = "90d"\nwindow = { hours = "02:00-02:30" }\nto = "TO"\n'
ACCOUNT = '[account.NAME]\norganization = "OR98234j23"\ntoken.TOKEN\n'


def configs(system):
    """Texts of `rixl.toml`, each with the further words of the command."""
    secret = SECRET.replace("TO", "file:keys/{key_name}")
    if system == "github-actions":
        secret = secret.replace("02:30", "05:00")  # it warns of timers that GitHub may be too late for
    yield secret, []
    yield secret.replace("file:keys/{key_name}", "vault:secret/{key_name}#api_key"), ["--state-dir", "vault:secret/rixl"]
    yield secret, ["--token-file", "token", "--state-dir", "state"]
    tokens = ['file = "token"', 'api-key-file = "key"']
    if system in ("kubernetes", "github-actions"):
        tokens += ['env = "MAIN_TOKEN"']
    if system in ("kubernetes", "cron"):
        tokens += ['credential = "main"']
    accounts = [ACCOUNT.replace("NAME", f"a{at}").replace("TOKEN", token) for at, token in enumerate(tokens)]
    yield "".join(accounts) + "".join(f'{secret}account = "a{at}"\n' for at in range(len(tokens))), []


def kubernetes(text):
    definitions = json.loads((SCHEMAS / "_definitions.json").read_text())["$defs"]
    seen = []
    for document in yaml.safe_load_all(text):
        if document is None:
            continue
        group, _, version = document["apiVersion"].rpartition("/")
        name = "-".join(filter(None, [document["kind"].lower(), group.split(".")[0], version]))
        schema = (SCHEMAS / f"{name}.json").read_text().replace("/api/_definitions.json#", "#")
        validator = jsonschema_rs.validator_for({**json.loads(schema), "$defs": definitions})
        for error in validator.iter_errors(document):
            yield f"{document['kind']}: {error.message} at {error.instance_path}"
        seen.append(document)
    job = [document for document in seen if document["kind"] == "CronJob"][0]
    pod = job["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    volumes = {volume["name"] for volume in pod["volumes"]}
    if not volumes >= {mount["name"] for mount in pod["containers"][0]["volumeMounts"]}:
        yield "a mount has no volume"


def kubernetes_is_strict():
    text = "apiVersion: batch/v1\nkind: CronJob\nmetadata: {}\nspec: {schedule: 5, jobTemplate: {spec: {template: {}}}, x: 1}\n"
    try:
        return len(list(kubernetes(text))) > 1
    except KeyError:
        return True


def actions(text):
    run = subprocess.run(["node", CI / "actionlint.mjs"], input=text, text=True, stdout=subprocess.PIPE, check=True)
    yield from run.stdout.splitlines()
    script = yaml.safe_load(text)["jobs"]["apply"]["steps"][-1]["run"]
    yield from words(script.replace("${{ '${{' }}", "${{"))


def cron(text):
    """By the crontab of this machine, in a mount namespace in which its spool is empty."""
    script = 'mount -t tmpfs none /var/spool/cron/crontabs && crontab "$1" && crontab -l'
    with tempfile.NamedTemporaryFile("w", suffix=".crontab") as file:
        file.write(text)
        file.flush()
        command = ["unshare", "--mount", "sh", "-c", script, "sh", file.name]
        run = subprocess.run(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if run.returncode != 0 or run.stdout != text:
        yield f"crontab: {run.stdout}"
    yield from words(text.splitlines()[-1].split(" ", 5)[5].replace("\\%", "%"))


def words(script):
    """Whether a shell would have the path as one word."""
    if not any(word.endswith("rixl.toml") and (word == "rixl.toml" or Path(word).is_file()) for word in shlex.split(script)):
        yield f"the path is not there: {script}"


CHECKS = {"kubernetes": kubernetes, "github-actions": actions, "cron": cron}


def main(program):
    assert kubernetes_is_strict()
    count, problems = 0, []
    for name in NAMES:
        for system, check in CHECKS.items():
            for config, more in configs(system):
                with tempfile.TemporaryDirectory() as folder:
                    place = Path(folder) / name
                    place.mkdir()
                    (place / "rixl.toml").write_text(config)
                    environment = {"HOME": folder, "PATH": os.environ["PATH"]}
                    command = [program, "recipe", system, "--quiet", *more]
                    text = subprocess.run(command, cwd=place, env=environment, check=True, text=True, stdout=subprocess.PIPE).stdout
                    for problem in check(text):
                        problems.append(f"{system} in {name!r}, {more}: {problem}\n{text}")
                    count += 1
    print(*problems, sep="\n", end="", file=sys.stderr)
    print(f"{count} recipes, {len(problems)} problems")
    return 1 if problems else 0


sys.exit(main(Path(sys.argv[1]).resolve()))
