#!/usr/bin/env python3
"""Checks what the documents refer to, offline: `links.py [FOLDER]`.

Relative links and anchors of all documents of the repository, the book among them; the tests, scripts and steps, and the
sentences of the program, that README, SECURITY, CONTRIBUTING and the book name. With the folder of a built book, also its links.
"""

import re
import subprocess
import sys
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

ROOT = Path(__file__).resolve().parent.parent
BOOK = ROOT / "crates/rixl-cli/book/src"
LINK = re.compile(r"!?\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^)\s]+)\)")
INCLUDE = re.compile(r"\{\{#include ([^}:]+)(?::\d+:)?\}\}")
FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
TEST = re.compile(r"#\[(?:tokio::)?test[^\]]*\]\s*(?:#\[[^\]]*\]\s*)*(?:async )?fn (\w+)")
CODE = re.compile(r"`[^`\n]+(?:\n[^`\n]+)?`")


def documents():
    # Those that are not committed yet, too.
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "*.md"]
    listed = subprocess.run(command, cwd=ROOT, check=True, text=True, stdout=subprocess.PIPE)
    return sorted(ROOT / name for name in set(listed.stdout.split("\0")) if name and (ROOT / name).exists())


@cache
def prose(page):
    return FENCE.sub("", page.read_text())


@cache
def anchors(page):
    """Of its headings, as GitHub and mdBook name them."""
    seen = {}
    for line in prose(page).splitlines():
        heading = re.match(r"#{1,6} +(.*)", line)
        if heading:
            text = LINK.sub(r"\1", heading[1]).replace("`", "").strip().lower()
            name = re.sub(r"[^\w\- ]", "", text).replace(" ", "-")
            seen[name] = seen.get(name, -1) + 1
    return {name if not at else f"{name}-{at}" for name, count in seen.items() for at in range(count + 1)}


def links(page):
    text = prose(page)
    for found in LINK.finditer(CODE.sub("`code`", text)):
        target = found[2]
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        to = (page.parent / unquote(path)).resolve() if path else page
        if not to.is_relative_to(ROOT) or not to.exists():
            yield f"{target} leads nowhere"
        elif anchor and to.suffix == ".md" and anchor not in anchors(to):
            yield f"{target}: there is no such heading"
        elif page.parent == BOOK and path and not to.is_relative_to(BOOK):
            yield f"{target} leads out of the book"
    for found in INCLUDE.finditer(text):
        to = (page.parent / found[1]).resolve()
        if not to.exists():
            yield f"{found[1]} is not there to be included"


@cache
def tests():
    """The names of all tests, and of the modules that they are in, as tests are run by."""
    names = set()
    for folder in [*ROOT.glob("crates/*/tests/it"), *ROOT.glob("crates/*/src"), ROOT / "xtask"]:
        for path in folder.rglob("*.rs"):
            parts = [part for part in path.relative_to(folder).with_suffix("").parts if part not in ("main", "mod")]
            names.update("::".join([*parts, name]) for name in TEST.findall(path.read_text()))
    modules = {"::".join(name.split("::")[:at]) for name in names for at in range(1, name.count("::") + 1)}
    return names | modules


def is_test(name):
    """Whether a test or a module of this name is there."""
    return name in tests() or any(known.endswith("::" + name) for known in tests())


def named(page):
    """All code of this page, and whether it stands where tests are named: in a column "test" or "shown by"."""
    columns = []
    for line in prose(page).splitlines():
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] if line.startswith("|") else []
        columns = columns if cells and columns else cells
        for at, cell in enumerate(cells):
            of_tests = at < len(columns) and columns[at] in ("test", "shown by")
            for code in re.findall(r"`([^`]+)`", cell):
                yield code, of_tests
        if not cells:
            for code in re.findall(r"`([^`]+)`", line):
                yield code, False


def names(page):
    for code, of_tests in named(page):
        script = re.search(r"(?:bash |python3 |^)(\.ci/[\w.-]+)", code)
        if script:
            if not (ROOT / script[1]).exists():
                yield f"`{code}`: there is no {script[1]}"
            steps = re.match(r"bash \.ci/run (.+)", code)
            known = set(re.findall(r"^step ([\w-]+)", (ROOT / ".ci/run").read_text(), re.MULTILINE))
            if steps and not {*steps[1].split()} - {"STEP", "STEP..."} <= known:
                yield f"`{code}`: there is no such step"
        elif re.fullmatch(r"[a-z_0-9]+(::[a-z_0-9]+)+", code) or (of_tests and re.fullmatch(r"[a-z_0-9]+", code)):
            # Paths of Rust begin with a crate.
            if not code.startswith(("rixl_", "std::", "tokio::")) and not is_test(code):
                yield f"`{code}`: there is no such test"


@cache
def program():
    # As one text: a sentence may be broken over lines.
    text = "".join(path.read_text() for path in sorted(ROOT.glob("crates/rixl-*/src/**/*.rs")))
    return re.sub(r"\\\n\s*", "", text)


def sentences(page):
    """Tables with a column "it says": the program has such a sentence, but for what `…` stands for."""
    is_quoting = False
    for line in prose(page).splitlines():
        is_quoting = line.startswith("|") and (is_quoting or line.startswith("| it says "))
        if is_quoting and not line.startswith(("| it says ", "|---")):
            for part in line.split("|")[1].replace("`", "").split("…"):
                if part.strip() and part.strip() not in program():
                    yield f"the program does not say {part.strip()!r}"


def summary():
    listed = {found[2] for found in LINK.finditer((BOOK / "SUMMARY.md").read_text())}
    pages = {path.name for path in BOOK.glob("*.md")} - {"SUMMARY.md"}
    yield from (f"{name} is not in SUMMARY.md" for name in sorted(pages - listed))


class Page(HTMLParser):
    def __init__(self, path):
        super().__init__()
        self.ids, self.targets = set(), []
        self.feed(path.read_text())

    def handle_starttag(self, tag, attributes):
        for name, value in attributes:
            if name == "id":
                self.ids.add(value)
            elif (tag, name) in (("a", "href"), ("img", "src")):
                self.targets.append(value)


def built(folder):
    # Two are made of the others, and a server shows the third at any path.
    others = ("print.html", "toc.html", "404.html")
    pages = {path.resolve(): Page(path) for path in folder.rglob("*.html") if path.name not in others}
    for path, page in pages.items():
        for target in page.targets:
            name, _, anchor = target.partition("#")
            to = (path.parent / unquote(name)).resolve() if name else path
            if re.match(r"[a-z]+:", target) or to.name in others:
                continue
            if not to.exists() or (anchor and to in pages and unquote(anchor) not in pages[to].ids):
                yield f"{path.name}: {target} leads nowhere in the built book"


def main(folder=None):
    problems = [f"{BOOK.relative_to(ROOT)}: {problem}" for problem in summary()]
    pages = documents()
    for page in pages:
        found = [*links(page), *sentences(page)]
        if page.parent in (ROOT, BOOK):
            found += names(page)
        problems += [f"{page.relative_to(ROOT)}: {problem}" for problem in found]
    if folder:
        problems += built(Path(folder))
    print(*problems, sep="\n", end="\n" if problems else "", file=sys.stderr)
    print(f"{len(pages)} documents, {len(problems)} problems")
    return 1 if problems else 0


sys.exit(main(*sys.argv[1:]))
