"""Fails when a public type that a secret can be reached from gains a way to print, copy, compare or convert it.

Reads rustdoc's JSON of the facade, private items included: `python3 .ci/debug_audit.py rixl_credentials.json`.
"""

import json
import re
import sys

# Where secrets are in memory. Each public type that holds one of these, at any depth, must be in TABLE.
SECRETS = {"rixl_api::wire::Secret", "rixl_api::hooks::Body", "rixl_api::hooks::CapturedResponse"}
SOURCES = {"ApiKeySource", "TokenSource"}  # a `dyn` of these holds a token, or can get one

# Each public type that holds a secret, and every trait that it may have. What is not named here fails.
ONE_TIME = {"Debug"}  # moves; no Clone, PartialEq, Serialize, Display, AsRef, Deref, Borrow
TABLE = {
    "Secret": {"Debug", "Deserialize", "From"},  # from text into a secret, never back
    "Issued": ONE_TIME,
    "IssuedClientCredential": ONE_TIME,
    "IssuedWebhookEndpoint": ONE_TIME,
    "IssuedWebhookSecret": ONE_TIME,
    "TokenPair": ONE_TIME,
    "ClientToken": ONE_TIME,
    "ClientTokenRequest": ONE_TIME,
    "RawResponse": {"Debug", "From"},  # from bytes that were kept, never back
    "Error": {"Debug", "Display", "Error"},  # holds a raw response and the server's words, and prints neither
    "ClientBuilder": {"Debug", "Default"},
    "SharedToken": {"Clone", "Debug", "From"},  # clones share the one token; from text or a secret, never back
    "AccessToken": {"Clone", "Debug"},  # clones share the one secret, which has no way out but its own
    "TokenCache": {"Debug"},  # hidden, for rixl-vault
    "TokenRequest": {"Clone", "Debug", "Default"},  # borrows a secret
    "ApiKeyRequest": {"Clone", "Debug", "Default"},  # the same
    "Network": {"Clone", "Debug", "Default"},  # hidden, for rixl-vault
    "Proxy": {"Clone", "Debug", "Default"},  # the same; its URL is a secret
    "Listing": {"Debug", "Stream"},  # ends with an error, if any
    "Client": {"Clone", "Debug"},  # clones share the one token; so do those of the services, which hold clients
    "Organization": {"Clone", "Debug"},
    "FirstGeneration": {"Clone", "Debug"},
    "ApiKeys": {"Clone", "Debug"},
    "ClientCredentials": {"Clone", "Debug"},
    "Tokens": {"Clone", "Debug"},
    "Webhooks": {"Clone", "Debug"},
    "Policies": {"Clone", "Debug"},
}

# A field of such a name is taken for a secret (or, `base_url` and the server's words, for what may hold one).
NAMED_LIKE_A_SECRET = re.compile(
    r"secret|token|password|bearer|api_?key$|base_url|credential$|^(code|message|body)$", re.I
)
TEXT = {"String", "str", "Vec", "Bytes", "Box", "Cow", "OsString", "Arc", "Rc"}
NO_SECRET = {
    ("TokenPair", "token_type"),  # how to present the token: `Bearer`
    ("ClientToken", "token_type"),
}


def walk(node):
    """Every type that is named within this one: (name, id), and the names of primitives."""
    if isinstance(node, list):
        for part in node:
            yield from walk(part)
    elif isinstance(node, dict):
        if "primitive" in node:
            yield node["primitive"], None
        if "path" in node and "id" in node:
            yield node["path"].rsplit("::", 1)[-1], str(node["id"])
        for part in node.values():
            yield from walk(part)


def main(path):
    document = json.load(open(path))
    index, paths = document["index"], document["paths"]
    types = {k: v for k, v in index.items() if v["crate_id"] == 0 and set(v["inner"]) & {"struct", "enum"}}

    def fields(item):
        """(name, type) of each field; the name of a variant stands for its unnamed fields."""
        kind = item["inner"].get("struct", {}).get("kind", {})
        kinds = [(None, kind)] if kind else []
        for variant in item["inner"].get("enum", {}).get("variants", []):
            variant = index[str(variant)]
            kinds.append((variant["name"], variant["inner"]["variant"]["kind"]))
        for name, kind in kinds:
            if not isinstance(kind, dict):
                continue  # a unit
            ids = kind.get("tuple") or (kind.get("plain") or kind.get("struct") or {}).get("fields", [])
            for field in (index[str(i)] for i in ids):
                unnamed = field["name"].isdigit()
                yield (name or item["name"]) if unnamed else field["name"], field["inner"]["struct_field"]

    def is_secret(kind):
        for name, i in walk(kind):
            if "::".join(paths.get(i, {}).get("path", [])) in SECRETS or name in SOURCES:
                return True
        return False

    holding = {k for k, v in types.items() if any(is_secret(kind) for _, kind in fields(v))}
    count = 0
    while count < len(holding):
        count = len(holding)
        holding |= {k for k, v in types.items() if any(i in holding for _, kind in fields(v) for _, i in walk(kind))}

    wrong = []
    public = {v["name"]: k for k, v in types.items() if v["visibility"] == "public"}
    for name in sorted({types[k]["name"] for k in holding} & set(public) - set(TABLE)):
        wrong.append(f"{name} holds a secret: decide which traits it may have, and add it to TABLE")
    for name in sorted(set(TABLE) - {types[k]["name"] for k in holding}):
        wrong.append(f"{name} is in TABLE, but no public type of that name holds a secret")

    guarded = {public[name] for name in TABLE if name in public}
    derived = 0
    for item in index.values():
        implementation = item["inner"].get("impl")
        if not implementation or item["crate_id"] != 0 or not implementation["trait"]:
            continue
        if implementation["is_synthetic"] or implementation["blanket_impl"]:
            continue
        trait = implementation["trait"]["path"].rsplit("::", 1)[-1]
        for_ids = [i for _, i in walk(implementation["for"]) if i in types]
        owner = types[for_ids[0]] if for_ids else None
        if owner and for_ids[0] in guarded and trait not in TABLE[owner["name"]] | {"StructuralPartialEq"}:
            wrong.append(f"{owner['name']} has the trait {trait}")
        # From one type that is guarded into another is no way out.
        is_within = trait == "From" and bool(for_ids) and for_ids[0] in guarded
        for name, i in walk(implementation["trait"].get("args")):
            if i in guarded and i not in for_ids and not is_within:
                wrong.append(f"{trait}<{name}> is a way out of {name}")
        if owner and trait == "Debug" and "automatically_derived" in item["attrs"]:
            derived += 1
            for name, kind in fields(owner):
                is_text = {n for n, _ in walk(kind)} & TEXT and not is_secret(kind)
                is_local = any(i in types for _, i in walk(kind))  # that type answers for itself
                if is_text and not is_local and NAMED_LIKE_A_SECRET.search(name):
                    if (owner["name"], name) not in NO_SECRET:
                        wrong.append(f"{owner['name']}: a derived Debug prints the field {name}")

    for line in wrong:
        print(f"debug audit: {line}", file=sys.stderr)
    if not wrong:
        print(f"debug audit: {len(TABLE)} public types hold secrets, {derived} derived Debugs print none")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
