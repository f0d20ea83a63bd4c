// Block Kit as DOM nodes. `act` says what using an element does; where it stands decides how.

import { emoji, h, link, mrkdwn, words } from "/mrkdwn.js";

function option(it) {
  const text = it.description ? `${it.text.text} — ${it.description.text}` : it.text.text;
  return h("option", { value: it.value }, text);
}

function options(element) {
  const groups = element.option_groups ?? [];
  return [
    ...(element.options ?? []).map(option),
    ...groups.map((group) => h("optgroup", { label: group.label.text }, ...group.options.map(option))),
  ];
}

function held(place, block, element) {
  return place.values?.[block.block_id]?.[element.action_id] ?? {};
}

function button(block, element, place) {
  const use = () => place.click(block, element);
  const node = h("button", {
    type: "button", class: element.style ?? "", onclick: use,
    "aria-label": element.accessibility_label, "data-action": element.action_id,
  }, ...words(element.text, place.names));
  return element.url ? h("span", {}, node, " ", link(element.url, "↗")) : node;
}

function select(block, element, place) {
  const chosen = held(place, block, element).selected_option?.value ?? "";
  const hint = element.placeholder?.text ?? "Choose…";
  const node = h("select", {
    "aria-label": hint, "data-action": element.action_id,
    onchange: () => node.value && place.pick(block, element, node.value),
  }, h("option", { value: "" }, hint), ...options(element));
  node.value = chosen;
  return node;
}

function search(block, element, place) {
  const chosen = held(place, block, element).selected_option;
  const list = h("ul", { class: "found", role: "listbox" });
  const shown = h("div", { class: "chosen" }, chosen ? `Chosen: ${chosen.text.text}` : "Nothing chosen");
  let asked = 0;
  const find = async () => {
    const turn = ++asked;
    const found = await place.options(element, input.value);
    if (turn !== asked) return;
    const pick = (it) => async () => {
      list.replaceChildren();
      shown.textContent = `Chosen: ${it.text.text}`;
      await place.pick(block, element, it.value);
    };
    const items = found.map((it) =>
      h("li", {}, h("button", { type: "button", onclick: pick(it), "data-value": it.value }, it.text.text,
        it.description ? h("small", {}, it.description.text) : null)));
    list.replaceChildren(...(items.length ? items : [h("li", {}, "No result")]));
  };
  const input = h("input", {
    type: "search", placeholder: element.placeholder?.text ?? "Search", onfocus: find, oninput: find,
    "aria-label": element.placeholder?.text ?? "Search", "data-action": element.action_id,
  });
  return h("div", { class: "search" }, shown, input, list);
}

function checks(block, element, place) {
  const now = held(place, block, element);
  const on = new Set([...(now.selected_options ?? []), ...(now.selected_option ? [now.selected_option] : [])].map((it) => it.value));
  const radio = element.type === "radio_buttons";
  return h("div", { class: "checks" }, ...element.options.map((it) => {
    const box = h("input", {
      type: radio ? "radio" : "checkbox", name: `${block.block_id}/${element.action_id}`, checked: on.has(it.value),
      onchange: () => (box.checked ? place.pick(block, element, it.value) : place.unpick(element, it.value)),
    });
    return h("label", {}, box, " ", ...words(it.text, place.names));
  }));
}

function typed(block, element, place) {
  const value = held(place, block, element).value ?? "";
  const long = element.multiline;
  const node = h(long ? "textarea" : "input", {
    placeholder: element.placeholder?.text, maxlength: element.max_length, "data-action": element.action_id,
    autofocus: element.focus_on_load, onchange: () => place.fill(element, node.value), rows: long ? 4 : undefined,
  });
  node.value = value;
  node.dataset.typed = element.action_id;
  return node;
}

function element(block, it, place) {
  switch (it.type) {
    case "button": return button(block, it, place);
    case "static_select": case "overflow": return select(block, it, place);
    case "external_select": return search(block, it, place);
    case "checkboxes": case "radio_buttons": return checks(block, it, place);
    case "plain_text_input": case "email_text_input": case "url_text_input": case "number_input":
      return typed(block, it, place);
    case "image": return h("em", {}, `[image: ${it.alt_text}]`);
    default: return h("em", {}, `[${it.type}]`);
  }
}

function piece(it, names) {
  const style = it.style ?? {};
  let node;
  switch (it.type) {
    case "text": node = h("span", {}, ...it.text.split("\n").flatMap((line, n) => (n ? [h("br"), line] : [line]))); break;
    case "link": node = link(it.url, it.text); break;
    case "user": node = h("span", { class: "mention" }, `@${names.user(it.user_id)}`); break;
    case "usergroup": node = h("span", { class: "mention" }, `@${names.group(it.usergroup_id)}`); break;
    case "channel": node = h("span", { class: "mention" }, `#${names.channel(it.channel_id)}`); break;
    case "emoji": node = h("span", {}, emoji(it.name)); break;
    case "date": node = h("time", {}, ...mrkdwn(`<!date^${it.timestamp}^${it.format}|${it.fallback ?? ""}>`, names)); break;
    default: node = h("span", {}, `[${it.type}]`);
  }
  if (style.code) node = h("code", {}, node);
  if (style.bold) node = h("strong", {}, node);
  if (style.italic) node = h("em", {}, node);
  if (style.strike) node = h("s", {}, node);
  return node;
}

function rich(part, names) {
  const inside = () => part.elements.map((it) => piece(it, names));
  switch (part.type) {
    case "rich_text_quote": return h("blockquote", {}, ...inside());
    case "rich_text_preformatted": return h("pre", {}, ...inside());
    case "rich_text_list":
      return h(part.style === "ordered" ? "ol" : "ul", {}, ...part.elements.map((it) => h("li", {}, rich(it, names))));
    default: return h("p", {}, ...inside());
  }
}

function one(block, place) {
  const { names } = place;
  switch (block.type) {
    case "header": return h("h3", {}, ...words(block.text, names));
    case "divider": return h("hr");
    case "section": return h("div", { class: "section" },
      h("div", {},
        block.text ? h("p", {}, ...words(block.text, names)) : null,
        block.fields ? h("div", { class: "fields" }, ...block.fields.map((it) => h("p", {}, ...words(it, names)))) : null),
      block.accessory ? element(block, block.accessory, place) : null);
    case "context": return h("div", { class: "context" }, ...block.elements.map((it) =>
      it.type === "image" ? h("em", {}, `[image: ${it.alt_text}]`) : h("span", {}, ...words(it, names))));
    case "actions": return h("div", { class: "actions" }, ...block.elements.map((it) => element(block, it, place)));
    case "input": return h("div", { class: "input" },
      h("div", { class: "label" }, ...words(block.label, names), block.optional ? h("small", {}, " (optional)") : null),
      element(block, block.element, place),
      block.hint ? h("small", {}, ...words(block.hint, names)) : null,
      h("div", { class: "error", "data-error": block.block_id, role: "alert" }));
    case "rich_text": return h("div", {}, ...block.elements.map((it) => rich(it, names)));
    case "image": return h("em", {}, `[image: ${block.alt_text}]`);
    default: return h("em", {}, `[${block.type}]`);
  }
}

/** All blocks of a message or view. */
export function blocks(all, place) {
  return all.map((it) => one(it, place));
}
