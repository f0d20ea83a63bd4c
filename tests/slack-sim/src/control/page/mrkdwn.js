// Slack's mrkdwn as DOM nodes. Text only ever becomes text nodes; a link is made only of what was
// written as <http…>.

const EMOJI = {
  white_check_mark: "✅", heavy_check_mark: "✔️", x: "❌", warning: "⚠️", lock: "🔒", zzz: "💤",
  unlock: "🔓", hourglass_flowing_sand: "⏳", alarm_clock: "⏰", no_entry: "⛔",
  rotating_light: "🚨", eyes: "👀", tada: "🎉", bell: "🔔", key: "🔑", "+1": "👍",
  information_source: "ℹ️", hourglass: "⌛", stopwatch: "⏱️", leftwards_arrow_with_hook: "↩️",
};

export function emoji(name) {
  const [plain] = name.split("::");
  return EMOJI[plain] ?? `:${name}:`;
}

/** An element with properties and children; strings become text nodes. */
export function h(tag, props = {}, ...children) {
  const node = document.createElement(tag);
  for (const [key, value] of Object.entries(props)) {
    if (value === undefined || value === null || value === false) continue;
    if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else if (key === "class") node.className = value;
    else node.setAttribute(key, value === true ? "" : value);
  }
  node.append(...children.flat().filter((it) => it !== null && it !== undefined && it !== false));
  return node;
}

function unescape(text) {
  return text.replace(/&lt;/g, "<").replace(/&gt;/g, ">").replace(/&amp;/g, "&");
}

/** A link if it leads to the web, else its words. */
export function link(url, label) {
  if (!/^https?:\/\//i.test(url)) return document.createTextNode(label || url);
  return h("a", { href: url, target: "_blank", rel: "noopener noreferrer" }, label || url);
}

function date(seconds, format, tz) {
  const at = new Date(Number(seconds) * 1000);
  if (Number.isNaN(at.getTime())) return null;
  const as = (options) => {
    try {
      return new Intl.DateTimeFormat("en-GB", { timeZone: tz, ...options }).format(at);
    } catch {
      return new Intl.DateTimeFormat("en-GB", { timeZone: "UTC", ...options }).format(at);
    }
  };
  const day = { day: "numeric", month: "short", year: "numeric" };
  const long = { ...day, month: "long", weekday: "long" };
  const time = { hour: "2-digit", minute: "2-digit" };
  const known = {
    date_num: day, date: { ...day, month: "long" }, date_short: day, date_long: long,
    date_pretty: { ...day, month: "long" }, date_short_pretty: day, date_long_pretty: long,
    time, time_secs: { ...time, second: "2-digit" },
  };
  return format.replace(/\{(\w+)\}/g, (all, key) => (known[key] ? as(known[key]) : all));
}

function entity(inside, names) {
  const bar = inside.indexOf("|");
  const target = bar < 0 ? inside : inside.slice(0, bar);
  const label = bar < 0 ? "" : unescape(inside.slice(bar + 1));
  const mention = (text) => h("span", { class: "mention" }, text);
  if (target.startsWith("@")) return mention(`@${names.user(target.slice(1))}`);
  if (target.startsWith("#")) return mention(`#${names.channel(target.slice(1))}`);
  if (target.startsWith("!subteam^")) return mention(`@${names.group(target.slice(9))}`);
  if (target.startsWith("!date^")) {
    const [seconds, format, url] = target.slice(6).split("^");
    const shown = date(seconds, unescape(format ?? ""), names.tz) ?? label;
    return h("time", { title: label }, url ? link(unescape(url), shown) : shown);
  }
  if (/^!(here|channel|everyone)$/.test(target)) return mention(`@${target.slice(1)}`);
  return link(unescape(target), label);
}

const TOKEN = new RegExp(
  [
    "```([\\s\\S]+?)```", "`([^`\\n]+)`", "<([^<>\\n]+)>",
    "(?<![\\w*])\\*([^*\\n]+)\\*(?![\\w*])", "(?<![\\w_])_([^_\\n]+)_(?![\\w_])",
    "(?<![\\w~])~([^~\\n]+)~(?![\\w~])", ":([a-z0-9_+-]+):", "(\\n)",
  ].join("|"),
  "g",
);

/** mrkdwn as nodes; `names` tells how people, channels and groups are called. */
export function mrkdwn(text, names) {
  const nodes = [];
  let end = 0;
  for (const it of text.matchAll(TOKEN)) {
    if (it.index > end) nodes.push(unescape(text.slice(end, it.index)));
    end = it.index + it[0].length;
    const [, pre, code, inside, bold, italic, struck, name] = it;
    if (pre !== undefined) nodes.push(h("pre", {}, unescape(pre)));
    else if (code !== undefined) nodes.push(h("code", {}, unescape(code)));
    else if (inside !== undefined) nodes.push(entity(inside, names));
    else if (bold !== undefined) nodes.push(h("strong", {}, ...mrkdwn(bold, names)));
    else if (italic !== undefined) nodes.push(h("em", {}, ...mrkdwn(italic, names)));
    else if (struck !== undefined) nodes.push(h("s", {}, ...mrkdwn(struck, names)));
    else if (name !== undefined) nodes.push(emoji(name));
    else nodes.push(h("br"));
  }
  if (end < text.length) nodes.push(unescape(text.slice(end)));
  return nodes;
}

/** A text object of Block Kit. */
export function words(object, names) {
  if (!object) return [];
  if (object.type === "mrkdwn") return mrkdwn(object.text, names);
  const text = object.emoji === false ? object.text : object.text.replace(/:([a-z0-9_+-]+):/g, (_, it) => emoji(it));
  return text.split("\n").flatMap((line, n) => (n ? [h("br"), line] : [line]));
}
