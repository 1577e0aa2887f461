#!/usr/bin/env python3
"""The picture at the top of README: what `rixl keys rotate --sandbox` prints, by a real run: `picture.py RIXL [--check]`.

With `--check` nothing is written: the run must say what the picture says, but for what differs from run to run.
"""

import re
import subprocess
import sys
from html import escape, unescape
from pathlib import Path

PICTURE = Path(__file__).resolve().parent.parent / "crates/rixl-cli/book/src/rotation.svg"
COMMAND = ["keys", "rotate", "--sandbox"]
MEASURES = [
    (r"/\S*?rixl-sandbox-\w+/", "/tmp/rixl-sandbox-…/"),
    (r"\b[0-9a-f]{12}\b", "…"),
    (r"\b\d+ ms\b", "… ms"),
    (r"used \d+ s ago", "used … s ago"),
    (r" +", " "),
]
STATES = dict.fromkeys(["planned", "prepared", "intent", "received", "waits"], "state")
STATES |= dict.fromkeys(["verified", "stored", "settled", "done"], "good")
WIDTH, HEIGHT, MARGIN = 7.25, 19, 18
STYLE = """\
text { font: 12px ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace; fill: #1f2328; white-space: pre; }
.ground { fill: #f6f8fa; stroke: #d1d9e0; }
.quiet { fill: #59636e; }
.state { fill: #0550ae; }
.good { fill: #116329; }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3; }
  .ground { fill: #0d1117; stroke: #3d444d; }
  .quiet { fill: #9198a1; }
  .state { fill: #79c0ff; }
  .good { fill: #7ee787; }
}"""


def run(program):
    """The lines of a run, those of stderr first, without what it says comes next."""
    done = subprocess.run([program, *COMMAND], check=True, text=True, capture_output=True)
    said = done.stderr.split("That was the whole protocol")[0] + done.stdout
    # A folder that is as long on every machine.
    return re.sub(MEASURES[0][0], "/tmp/rixl-sandbox-4Kq9aB/", said).splitlines()


def without_measures(lines):
    text = "\n".join(line.rstrip() for line in lines)
    for pattern, instead in MEASURES:
        text = re.sub(pattern, instead, text)
    return text


def styled(line):
    """The line as parts, each with its class."""
    if line.startswith("$ "):
        return [("quiet", "$ "), ("", line[2:])]
    step = re.match(rf"(\w+  )((?:{'|'.join(STATES)}) +)(.*)$", line)
    if step:
        return [("quiet", step[1]), (STATES[step[2].strip()], step[2]), ("", step[3])]
    return [("quiet" if line.startswith(("sandbox:", "ID ")) else "", line)]


def drawn(lines):
    width = round(max(map(len, lines)) * WIDTH + 2 * MARGIN)
    height = len(lines) * HEIGHT + 2 * MARGIN
    rows = []
    for at, line in enumerate(lines):
        parts = "".join(
            f'<tspan class="{kind}">{escape(text)}</tspan>' if kind else escape(text) for kind, text in styled(line)
        )
        rows.append(f'<text x="{MARGIN}" y="{MARGIN + HEIGHT * at + 14}" xml:space="preserve">{parts}</text>')
    size = f'viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">',
            "<title>rixl keys rotate --sandbox</title>",
            f"<style>\n{STYLE}\n</style>",
            f'<rect class="ground" x="0.5" y="0.5" width="{width - 1}" height="{height - 1}" rx="8"/>',
            *rows,
            "</svg>\n",
        ]
    )


def main(program, *flags):
    lines = ["$ rixl " + " ".join(COMMAND), *run(program)]
    if "--check" not in flags:
        PICTURE.write_text(drawn(lines))
        return 0
    rows = re.findall(r"<text[^>]*>(.*)</text>", PICTURE.read_text())
    shown = [unescape(re.sub(r"<[^>]*>", "", row)) for row in rows]
    if without_measures(shown) == without_measures(lines):
        return 0
    print(f"{PICTURE.name} shows another run: python3 .ci/picture.py {program}", file=sys.stderr)
    print(without_measures(lines), file=sys.stderr)
    return 1


sys.exit(main(*sys.argv[1:]))
