// The same visible work as ours, with @slack/bolt and nothing behind it: takes the form, posts a
// card; takes the click, changes the card. Arguments: where bolt is installed, the address of the
// Web API.

import { createRequire } from "node:module";

const [modules, api] = process.argv.slice(2);
const { App, LogLevel } = createRequire(`${modules}/`)("@slack/bolt");

const plain = (text) => ({ type: "plain_text", text });
const sending = {
  type: "modal",
  callback_id: "sent",
  title: plain("Request access"),
  blocks: [{ type: "section", text: plain("Sending…") }],
};

function card(user, target, reason, state, buttons) {
  const fields = [`*Who*\n<@${user}>`, `*What*\n\`${target}\``, "*How long*\n1 h", "*Tier*\nstandard"];
  const blocks = [
    { type: "header", text: plain("Access request") },
    { type: "section", fields: fields.map((text) => ({ type: "mrkdwn", text })) },
    { type: "section", text: plain(reason) },
  ];
  if (buttons) {
    const value = `${user}|${target}|${reason}`;
    blocks.push({
      type: "actions",
      block_id: "decide",
      elements: [
        { type: "button", action_id: "jit_approve", style: "primary", text: plain("Approve 1 h"), value },
        { type: "button", action_id: "jit_deny", style: "danger", text: plain("Deny"), value },
      ],
    });
  }
  blocks.push({ type: "context", elements: [{ type: "mrkdwn", text: state }] });
  return { channel: "C0ACCESS", text: `${user} asks for ${target}`, blocks };
}

const app = new App({
  token: "xoxb-bench",
  appToken: "xapp-bench",
  socketMode: true,
  logLevel: LogLevel.ERROR,
  clientOptions: { slackApiUrl: `${api}/` },
});

app.view("jit_request", async ({ ack, body, view, client }) => {
  await ack({ response_action: "update", view: sending });
  const target = view.state.values.target.target.selected_option.value;
  const reason = view.state.values.reason.reason.value;
  await client.chat.postMessage(card(body.user.id, target, reason, "Pending", true));
});

app.action("jit_approve", async ({ ack, body, action, client }) => {
  await ack();
  const [user, target, reason] = action.value.split("|");
  const state = `Approved by <@${body.user.id}>`;
  const ts = body.container.message_ts;
  await client.chat.update({ ts, ...card(user, target, reason, state, false) });
});

await app.start();
