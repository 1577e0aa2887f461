"""Fails when a package that the facade's users compile, on any target, asks for a newer Rust than the facade declares.

That the facade's own code keeps to it is for clippy's `incompatible_msrv`, which `clippy` runs.
"""

import json
import subprocess
import sys


def cargo(*arguments):
    return subprocess.run(["cargo", *arguments, "--locked"], check=True, capture_output=True, text=True).stdout


def version(text):
    return tuple(int(part) for part in (text + ".0.0").split(".")[:3])


metadata = json.loads(cargo("metadata", "--all-features", "--format-version=1"))
packages = {(package["name"], package["version"]): package["rust_version"] for package in metadata["packages"]}
ours = next(declared for (name, _), declared in packages.items() if name == "rixl-credentials")
edges = ["--package=rixl-credentials", "--features=native-tls", "--edges=normal,build", "--target=all"]
tree = cargo("tree", *edges, "--prefix=none", "--format={p}")
users = {(name, number.removeprefix("v")) for name, number, *_ in map(str.split, filter(None, tree.splitlines()))}

silent = sorted(name for name, number in users if not packages[name, number])
newer = [user for user in sorted(users) if version(packages[user] or "0") > version(ours)]
for user in newer:
    print(f"Rust {ours} is declared, but {' '.join(user)} needs {packages[user]}", file=sys.stderr)
if not newer:
    declare = f"{len(users) - len(silent)} of {len(users)} packages declare Rust {ours} or older"
    print(f"{declare}, {len(silent)} declare none: {' '.join(silent)}")
sys.exit(bool(newer))
