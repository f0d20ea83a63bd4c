// A person in a chat of telegram-test-api, with our client on the other side. The emulator is not
// strict: it takes any token, any text and any button, and keeps what it was sent. So this shows that
// our calls have the shape that somebody else expects of a bot, and that we read theirs.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { createRequire } from "node:module";
import { createServer } from "node:net";
import { resolve } from "node:path";

const [modules, service] = process.argv.slice(2);
const require = createRequire(resolve(modules, "x.js"));
const TelegramServer = require("telegram-test-api");

const TOKEN = "110201543:of-an-emulator";
const BOB = 222;
const PATIENCE_MS = 30_000;

const freePort = () =>
  new Promise((found) => {
    const server = createServer().listen(0, "127.0.0.1", () => {
      const { port } = server.address();
      server.close(() => found(port));
    });
  });

const until = async (what, look) => {
  const tries = PATIENCE_MS / 50;
  for (let left = tries; left > 0; left -= 1) {
    const found = await look();
    if (found) return found;
    await new Promise((rest) => setTimeout(rest, 50));
  }
  throw new Error(`waited in vain for ${what}`);
};

const server = new TelegramServer({ port: await freePort(), host: "127.0.0.1" });
await server.start();
const child = spawn(service, [server.config.apiURL], { stdio: ["ignore", "pipe", "inherit"] });
let said = "";
child.stdout.on("data", (text) => (said += text));
const ended = new Promise((done) => child.on("exit", done));

try {
  const card = () => server.storage.botMessages.find((it) => it.botToken === TOKEN);
  const posted = await until("a card", card);
  const { message, messageId } = posted;
  assert.equal(Number(message.chat_id), BOB);
  assert.match(message.text, /ana@example\.com/);
  assert.match(message.text, /Pending/);
  assert.equal(message.parse_mode, undefined, "nothing is markup");
  assert.equal(message.link_preview_options.is_disabled, true);
  const [row] = message.reply_markup.inline_keyboard;
  assert.deepEqual(row.map((it) => it.text), ["Approve", "Deny"]);
  for (const button of row) assert.match(button.callback_data, /^req-[0-9a-z]{26}\.[0-9a-f]{32}$/);

  // Somebody else's click first: it must change nothing.
  const press = async (userId, data) => {
    const client = server.getClient(TOKEN, { userId, chatId: BOB, firstName: "Bob" });
    const query = client.makeCallbackQuery(data, { message: { message_id: messageId } });
    await client.sendCallback(query);
  };
  await press(333, row[0].callback_data);
  await press(BOB, "no button carries this");
  await press(BOB, row[0].callback_data);
  assert.equal(await ended, 0, "the service ends well");
  assert.deepEqual(said.trim().split("\n"), ["asked", "active"]);
  const { text, reply_markup: markup } = card().message;
  assert.match(text, /Approved by bob@example\.com/);
  assert.deepEqual(markup.inline_keyboard, []);
  assert.equal(server.storage.botMessages.length, 1, "one message, changed in place");
  console.log("telegram-test-api: a card, three clicks and a change, as it expects them");
} finally {
  child.kill();
  await server.stop();
}
