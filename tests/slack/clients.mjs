// Slack's own client for Node against the simulated workspace: it connects, hears a command and an
// event, acknowledges both, and goes on after Slack renewed its connection.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { createRequire } from "node:module";
import { join, resolve } from "node:path";
import { createInterface } from "node:readline";

const PATIENCE_MS = 20_000;
const [modules, binary] = process.argv.slice(2).map((it) => resolve(it));
const require = createRequire(join(modules, "here.js"));
const { SocketModeClient } = require("@slack/socket-mode");
const { version } = require("@slack/socket-mode/package.json");

const simulator = spawn(binary, ["--port", "0"], { stdio: ["ignore", "pipe", "inherit"] });
process.on("exit", () => simulator.kill());
const first = await new Promise((done) => createInterface(simulator.stdout).once("line", done));
const page = first.split(/\s+/).at(-1);

async function ask(path, body) {
  const headers = { "content-type": "application/json" };
  const post = body && { method: "POST", headers, body: JSON.stringify(body) };
  const answer = await fetch(`${page}control/${path}`, { ...post, signal: AbortSignal.timeout(PATIENCE_MS) });
  assert.ok(answer.ok, `${path}: ${answer.status}`);
  return answer.json();
}

const known = await ask("workspace");
const client = new SocketModeClient({
  appToken: known.app_token,
  clientOptions: { slackApiUrl: `${known.api_url}/` },
  // The pause before it connects again is as long as this.
  clientPingTimeout: 1_000,
});
let greeted = 0;
const heard = [];
client.on("connected", () => greeted++);
client.on("slash_commands", async ({ ack, body }) => {
  heard.push(body.text);
  await ack({ text: "done" });
});
client.on("app_home_opened", async ({ ack, event }) => {
  heard.push(event.type);
  await ack();
});

async function greetings(count) {
  const end = Date.now() + PATIENCE_MS;
  while (greeted < count) {
    assert.ok(Date.now() < end, `connection ${count} never said hello`);
    await new Promise((done) => setTimeout(done, 20));
  }
}

await client.start();
for (const turn of [1, 2, 3]) {
  await greetings(turn);
  const typed = { channel: "C0SEC", command: "/jit", text: `turn ${turn}` };
  const answer = await ask("users/U0ANA/slash", typed);
  assert.deepEqual([answer.acked, answer.payload], [true, { text: "done" }]);
  assert.equal(heard.at(-1), `turn ${turn}`);
  assert.equal((await ask("users/U0ANA/open_home", {})).acked, true);
  assert.equal(heard.at(-1), "app_home_opened");
  await ask("hostile", { do: "disconnect", reason: "refresh_requested" });
}
await client.disconnect();
const facts = await ask("facts");
assert.deepEqual([facts.seen_errors, facts.violations], [[], []]);
console.log(`@slack/socket-mode ${version}: ${greeted} connections, ${heard.length} envelopes acknowledged`);
process.exit(0);
