// The page: who you are, where you look, what you do. It knows nothing but the control API.

import { blocks } from "/blocks.js";
import { emoji, h, mrkdwn, words } from "/mrkdwn.js";

const $ = (id) => document.getElementById(id);
let workspace;
let me;
let here = "home";
let screen;
let shownModal = "";
let shownContent = "";
let thread = null;

async function ask(path, body) {
  const response = await fetch(`/control/${path}`, body && {
    method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body),
  });
  const answer = await response.json();
  if (!response.ok) throw new Error(answer.error ?? response.statusText);
  return answer;
}

/** Does something as this person and says so if Slack would. */
async function act(deed, body = {}) {
  try {
    const outcome = await ask(`users/${encodeURIComponent(me)}/${deed}`, body);
    if (outcome.acked === false) notice("Slack: the app did not respond. Please try again.");
    return outcome;
  } catch (error) {
    notice(error.message);
    return {};
  }
}

let fading;
function notice(text) {
  $("notice").textContent = text;
  clearTimeout(fading);
  fading = setTimeout(() => ($("notice").textContent = ""), 6000);
}

const names = {
  user: (id) => workspace.users.find((it) => it.id === id)?.name ?? (id === workspace.bot_user ? "jit" : id),
  channel: (id) => screen?.channels.find((it) => it.id === id)?.name ?? id,
  group: (id) => workspace.groups[id]?.handle ?? id,
  get tz() { return screen?.tz ?? "UTC"; },
};

function confirmed(question) {
  if (!question) return Promise.resolve(true);
  const box = $("confirm");
  return new Promise((resolve) => {
    const done = (yes) => () => { box.close(); resolve(yes); };
    box.replaceChildren(
      h("h3", {}, ...words(question.title, names)), h("p", {}, ...words(question.text, names)),
      h("div", { class: "actions" },
        h("button", { type: "button", onclick: done(false) }, ...words(question.deny, names)),
        h("button", { type: "button", class: question.style ?? "primary", onclick: done(true) }, ...words(question.confirm, names))));
    box.oncancel = () => resolve(false);
    box.showModal();
  });
}

function inMessage(channel, message) {
  const use = async (element, value) => {
    if (await confirmed(element.confirm)) await act("click", { channel, ts: message.ts, action: element.action_id, value });
  };
  return {
    names, values: {},
    click: (_, element) => use(element),
    pick: (_, element, value) => use(element, value),
  };
}

const inHome = () => {
  const use = async (element, value) => {
    if (await confirmed(element.confirm)) await act("click_home", { action: element.action_id, value });
  };
  return { names, values: screen.home?.state.values, click: (_, it) => use(it), pick: (_, it, value) => use(it, value) };
};

const inModal = (view) => ({
  names, values: view.state.values,
  click: async (_, element) => { if (await confirmed(element.confirm)) await act("modal_click", { action: element.action_id }); },
  pick: (_, element, value) => act("modal_pick", { field: element.action_id, value }),
  unpick: (element, value) => act("modal_unpick", { field: element.action_id, value }),
  fill: (element, text) => act("modal_fill", { field: element.action_id, text }),
  options: async (element, query) => {
    if (query.length < (element.min_query_length ?? 3)) return [];
    return (await act("modal_options", { field: element.action_id, query })).options ?? [];
  },
});

function when(ts) {
  const at = new Date(Number(ts.split(".")[0]) * 1000);
  const of = (timeZone) => new Intl.DateTimeFormat("en-GB", { timeZone, hour: "2-digit", minute: "2-digit" }).format(at);
  try { return of(names.tz); } catch { return of("UTC"); }
}

function reactions(channel, message) {
  const all = Object.entries(message.reactions);
  const toggle = (name, by) => () => act(by.includes(me) ? "unreact" : "react", { channel, ts: message.ts, name });
  const nodes = all.map(([name, by]) =>
    h("button", { type: "button", class: "reaction", onclick: toggle(name, by), title: by.map(names.user).join(", ") }, `${emoji(name)} ${by.length}`));
  const add = h("button", { type: "button", class: "reaction", title: "React with ✅",
    onclick: toggle("white_check_mark", message.reactions.white_check_mark ?? []) }, "+ ✅");
  return message.ephemeral ? null : h("div", { class: "reactions" }, ...nodes, message.reactions.white_check_mark ? null : add);
}

function message(channel, it) {
  const body = it.blocks.length ? blocks(it.blocks, inMessage(channel, it)) : [h("p", {}, ...mrkdwn(it.text, names))];
  return h("article", { class: it.ephemeral ? "message ephemeral" : "message", "data-ts": it.ts },
    h("div", { class: "head" }, h("strong", {}, names.user(it.author)), " ", h("time", {}, when(it.ts)),
      it.edited ? h("small", {}, " (edited)") : null,
      it.ephemeral ? h("small", {}, " only visible to you") : null),
    ...body, reactions(channel, it),
    it.ephemeral ? null : h("button", { type: "button", class: "reaction", onclick: () => answer(it.thread_ts ?? it.ts) }, "Reply"));
}

/** Points the composer at a thread, or back at the conversation. */
function answer(ts) {
  thread = ts;
  $("line").placeholder = ts ? "Reply in the thread" : "Message, or /jit help";
  if (ts) $("line").focus();
}

function conversation(channel) {
  const roots = channel.messages.filter((it) => !it.thread_ts || it.thread_ts === it.ts);
  const known = new Set(roots.map((it) => it.ts));
  const orphans = channel.messages.filter((it) => it.thread_ts && it.thread_ts !== it.ts && !known.has(it.thread_ts));
  const nodes = [...roots, ...orphans].map((root) => {
    const replies = channel.messages.filter((it) => it.thread_ts === root.ts && it.ts !== root.ts);
    return h("div", {}, message(channel.id, root),
      replies.length ? h("section", { class: "thread", "aria-label": "Thread" }, ...replies.map((it) => message(channel.id, it))) : null);
  });
  return nodes.length ? nodes : [h("p", { class: "empty" }, "No messages yet")];
}

function drawModal() {
  const view = screen.modals.at(-1);
  const box = $("modal");
  const key = view ? `${me} ${view.id} ${view.hash}` : "";
  if (key === shownModal) return;
  shownModal = key;
  if (!view) return box.close();
  const errors = (all) => {
    for (const slot of box.querySelectorAll("[data-error]")) slot.textContent = all[slot.dataset.error] ?? "";
  };
  const submit = async (event) => {
    event.preventDefault();
    for (const typed of box.querySelectorAll("[data-typed]")) {
      await act("modal_fill", { field: typed.dataset.typed, text: typed.value });
    }
    const result = await act("modal_submit");
    errors(result.errors ?? {});
    if (result.submitted === "saw_error") notice("Slack: we had some trouble connecting. Try again?");
  };
  const close = () => act("modal_close");
  box.oncancel = (event) => { event.preventDefault(); close(); };
  box.replaceChildren(h("form", { onsubmit: submit },
    h("h2", {}, ...words(view.title, names)),
    ...blocks(view.blocks, inModal(view)),
    h("div", { class: "actions" },
      h("button", { type: "button", onclick: close }, ...(view.close ? words(view.close, names) : ["Cancel"])),
      view.submit ? h("button", { class: "primary", disabled: view.submit_disabled }, ...words(view.submit, names)) : null)));
  if (!box.open) box.showModal();
}

function draw() {
  $("link").textContent = screen.connections ? `app connected (${screen.connections})` : "no app connected";
  $("people").replaceChildren(...workspace.users.map((it) =>
    h("button", { type: "button", "aria-pressed": String(it.id === me), onclick: () => become(it.id) },
      it.name, it.kind === "member" && it.active ? null : h("small", {}, ` ${it.active ? it.kind : "left"}`))));
  const place = (id, label) => h("button", { type: "button", "aria-pressed": String(id === here), onclick: () => go(id) }, label);
  const label = (it) => (it.direct ? "jit (direct)" : `${it.private ? "🔒" : "#"}${it.name}${it.archived ? " (archived)" : ""}`);
  $("places").replaceChildren(place("home", "App Home"), ...screen.channels.map((it) => place(it.id, label(it))));
  const channel = screen.channels.find((it) => it.id === here);
  $("title").textContent = channel ? label(channel) : "App Home";
  drawModal();
  // What has not changed stays, so that an open menu does not close under the hand.
  const shows = JSON.stringify([me, channel ?? screen.home]);
  if (shows === shownContent) return;
  shownContent = shows;
  const content = $("content");
  const low = content.scrollHeight - content.scrollTop - content.clientHeight < 40;
  content.replaceChildren(...(channel ? conversation(channel)
    : screen.home ? blocks(screen.home.blocks, inHome()) : [h("p", { class: "empty" }, "The app has published nothing yet")]));
  if (low) content.scrollTop = content.scrollHeight;
}

function go(id) {
  here = id;
  answer(null);
  draw();
  $("content").scrollTop = $("content").scrollHeight;
  if (id === "home") act("open_home");
}

/** Where somebody looks first. */
const first = () => screen.channels.find((it) => !it.direct && it.member && it.bot && !it.archived)?.id ?? "home";

async function become(id) {
  me = id;
  answer(null);
  shownModal = "";
  $("modal").close();
  screen = await ask(`users/${encodeURIComponent(id)}`);
  if (here !== "home" && !screen.channels.some((it) => it.id === here)) here = first();
  draw();
}

$("composer").addEventListener("submit", async (event) => {
  event.preventDefault();
  const line = $("line").value.trim();
  if (!line) return;
  $("line").value = "";
  const channel = here === "home" ? undefined : here;
  const [, command, text] = line.match(/^(\/\S+)\s*([\s\S]*)$/) ?? [];
  await (command ? act("slash", { channel, command, text }) : act("say", { channel, text: line, thread_ts: thread ?? undefined }));
  answer(null);
});
$("shortcut").addEventListener("click", () => act("shortcut", { callback_id: "jit_request" }));

async function follow() {
  for (;;) {
    const whom = me;
    try {
      const next = await ask(`users/${encodeURIComponent(whom)}?since=${screen.version}`);
      if (whom !== me) continue;
      screen = next;
      draw();
    } catch (error) {
      notice(`The simulator is gone: ${error.message}`);
      await new Promise((done) => setTimeout(done, 2000));
    }
  }
}

workspace = await ask("workspace");
await become(workspace.users[0].id);
here = first();
draw();
follow();
