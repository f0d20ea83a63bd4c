// Checks every drawing of jit-slack with the types that Slack publishes for TypeScript: keys that
// it does not know, values of another type, what is missing. Prints how many there were.
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { spawnSync } from "node:child_process";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));
const modules = resolve(process.argv[2]);
const kept = join(here, "../../crates/jit-slack/src/surface/snapshots");
const name = readdirSync(kept).find((it) => it.includes("every_surface_is_drawn_as_before"));
const [, , ...body] = readFileSync(join(kept, name), "utf8").split("---\n");
const drawings = JSON.parse(body.join("---\n"));

const kinds = { messages: "KnownBlock[]", modals: "ModalView", homes: "HomeView" };
const lines = ['import type { HomeView, KnownBlock, ModalView } from "@slack/types";'];
let count = 0;
for (const [kind, type] of Object.entries(kinds)) {
  for (const drawing of Object.values(drawings[kind])) {
    const literal = JSON.stringify(kind === "messages" ? drawing.blocks : drawing);
    lines.push(`export const d${count++}: ${type} = ${literal};`);
  }
}
const folder = join(modules, "..", "drawn");
mkdirSync(folder, { recursive: true });
const file = join(folder, "drawn.ts");
writeFileSync(file, lines.join("\n"));
const options = ["--noEmit", "--strict", "--skipLibCheck", "--module", "nodenext", "--target", "es2022"];
const tsc = join(modules, "typescript/bin/tsc");
const run = spawnSync(process.execPath, [tsc, ...options, file], { encoding: "utf8" });
if (run.status !== 0) {
  console.error((run.stdout + run.stderr).slice(0, 4000));
  process.exit(1);
}
console.log(`@slack/types: ${count} drawings are valid`);
