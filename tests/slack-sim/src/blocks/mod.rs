//! What Slack accepts as Block Kit: the limit table, applied to messages, views and options.
//! Pure; every finding is a line in the shape of Slack's `response_metadata.messages`.

mod elements;
mod rich;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use serde_json::Value;

pub(crate) use elements::all_options;

/// The most blocks of a message.
pub const MESSAGE_BLOCKS: usize = 50;
/// The most blocks of a modal or an App Home.
pub const VIEW_BLOCKS: usize = 100;
/// The most bytes of a whole view.
pub const VIEW_BYTES: usize = 250 * 1024;
/// The most characters of any id an app chooses.
pub const ID_LENGTH: usize = 255;

/// Which text objects fit a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Text {
    Plain,
    Any,
}

/// Whether a field must be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    Required,
    Optional,
}

/// Collects what is wrong.
#[derive(Debug, Default)]
pub(crate) struct Check {
    problems: Vec<String>,
    block_ids: BTreeSet<String>,
    focused: usize,
}

/// What is wrong with the blocks of a message.
pub fn message_problems(blocks: &Value) -> Vec<String> {
    let mut check = Check::default();
    check.blocks("/blocks", blocks, MESSAGE_BLOCKS);
    check.problems
}

/// What is wrong with a view.
pub fn view_problems(view: &Value) -> Vec<String> {
    let mut check = Check::default();
    check.view(view);
    check.problems
}

/// What is wrong with the answer to a `block_suggestion`.
pub fn suggestion_problems(answer: &Value) -> Vec<String> {
    let mut check = Check::default();
    check.choices("", answer, 100, Text::Plain);
    check.problems
}

/// Whether a view is larger than Slack takes.
pub fn too_large(view: &Value) -> Option<usize> {
    let size = view.to_string().len();
    (size > VIEW_BYTES).then_some(size)
}

impl Check {
    pub(crate) fn bad(&mut self, at: &str, what: &str) {
        self.problems
            .push(format!("[ERROR] {what} [json-pointer:{at}]"));
    }

    /// Refuses every key that is not in the list.
    pub(crate) fn keys(&mut self, at: &str, value: &Value, known: &[&str]) {
        let Some(object) = value.as_object() else {
            return self.bad(at, "must be an object");
        };
        for key in object.keys().filter(|key| !known.contains(&key.as_str())) {
            self.bad(
                at,
                &format!("no more than 0 additional properties allowed: {key}"),
            );
        }
    }

    /// A string of at most `max` characters.
    pub(crate) fn string(&mut self, at: &str, value: &Value, key: &str, max: usize, need: Need) {
        let here = format!("{at}/{key}");
        match value.get(key) {
            None if need == Need::Required => {
                self.bad(at, &format!("missing required field: {key}"))
            }
            None => {}
            Some(Value::String(text)) => self.length(&here, text, max),
            Some(_) => self.bad(&here, "must be a string"),
        }
    }

    fn length(&mut self, at: &str, text: &str, max: usize) {
        if text.chars().count() > max {
            self.bad(at, &format!("must be less than {} characters", max + 1));
        }
    }

    pub(crate) fn flag(&mut self, at: &str, value: &Value, key: &str) {
        if value.get(key).is_some_and(|it| !it.is_boolean()) {
            self.bad(&format!("{at}/{key}"), "must be a boolean");
        }
    }

    pub(crate) fn one_of(&mut self, at: &str, value: &Value, key: &str, known: &[&str]) {
        let Some(it) = value.get(key) else { return };
        if !it.as_str().is_some_and(|it| known.contains(&it)) {
            self.bad(
                &format!("{at}/{key}"),
                &format!("must be one of {}", known.join(", ")),
            );
        }
    }

    /// A text object under `key`.
    pub(crate) fn text(
        &mut self,
        at: &str,
        value: &Value,
        key: &str,
        (kind, max): (Text, usize),
        need: Need,
    ) {
        match value.get(key) {
            None if need == Need::Required => {
                self.bad(at, &format!("missing required field: {key}"))
            }
            None => {}
            Some(text) => self.text_object(&format!("{at}/{key}"), text, kind, max),
        }
    }

    pub(crate) fn text_object(&mut self, at: &str, value: &Value, kind: Text, max: usize) {
        let known: &[&str] = match value.get("type").and_then(Value::as_str) {
            Some("plain_text") => &["type", "text", "emoji"],
            Some("mrkdwn") if kind == Text::Any => &["type", "text", "verbatim"],
            Some("mrkdwn") => return self.bad(&format!("{at}/type"), "must be plain_text"),
            _ => return self.bad(&format!("{at}/type"), "must be plain_text or mrkdwn"),
        };
        self.keys(at, value, known);
        self.flag(at, value, "emoji");
        self.flag(at, value, "verbatim");
        match value.get("text") {
            Some(Value::String(text)) if text.is_empty() => {
                self.bad(&format!("{at}/text"), "must be more than 0 characters");
            }
            Some(Value::String(text)) => self.length(&format!("{at}/text"), text, max),
            _ => self.bad(&format!("{at}/text"), "must be a string"),
        }
    }

    /// The items of a list of `1..=max` under `key`.
    pub(crate) fn list<'a>(
        &mut self,
        at: &str,
        value: &'a Value,
        key: &str,
        max: usize,
    ) -> Vec<(String, &'a Value)> {
        let here = format!("{at}/{key}");
        let Some(items) = value.get(key).and_then(Value::as_array) else {
            self.bad(&here, "must be an array");
            return vec![];
        };
        if items.is_empty() {
            self.bad(&here, "no fewer than 1 items allowed");
        }
        if items.len() > max {
            self.bad(&here, &format!("no more than {max} items allowed"));
        }
        items
            .iter()
            .enumerate()
            .map(|(n, it)| (format!("{here}/{n}"), it))
            .collect()
    }

    fn view(&mut self, view: &Value) {
        let at = "/view";
        let home = match view.get("type").and_then(Value::as_str) {
            Some("modal") => false,
            Some("home") => true,
            _ => return self.bad("/view/type", "must be modal or home"),
        };
        let common = [
            "type",
            "blocks",
            "private_metadata",
            "callback_id",
            "external_id",
        ];
        let modal = [
            "title",
            "submit",
            "close",
            "clear_on_close",
            "notify_on_close",
            "submit_disabled",
        ];
        let known: Vec<&str> = common
            .into_iter()
            .chain(modal.into_iter().filter(|_| !home))
            .collect();
        self.keys(at, view, &known);
        if !home {
            self.text(at, view, "title", (Text::Plain, 24), Need::Required);
            self.text(at, view, "submit", (Text::Plain, 24), Need::Optional);
            self.text(at, view, "close", (Text::Plain, 24), Need::Optional);
            for key in ["clear_on_close", "notify_on_close", "submit_disabled"] {
                self.flag(at, view, key);
            }
        }
        self.string(at, view, "private_metadata", 3000, Need::Optional);
        self.string(at, view, "callback_id", ID_LENGTH, Need::Optional);
        self.string(at, view, "external_id", ID_LENGTH, Need::Optional);
        let blocks = view.get("blocks").unwrap_or(&Value::Null);
        self.blocks("/view/blocks", blocks, VIEW_BLOCKS);
        let inputs = blocks
            .as_array()
            .into_iter()
            .flatten()
            .any(|it| it["type"] == "input");
        if !home && inputs && view.get("submit").is_none() {
            self.bad(
                "/view/submit",
                "a submit is required when input blocks are present",
            );
        }
    }

    fn blocks(&mut self, at: &str, blocks: &Value, max: usize) {
        let Some(items) = blocks.as_array() else {
            return self.bad(at, "must be an array");
        };
        if items.len() > max {
            self.bad(at, &format!("no more than {max} items allowed"));
        }
        for (n, block) in items.iter().enumerate() {
            self.block(&format!("{at}/{n}"), block);
        }
        if self.focused > 1 {
            self.bad(at, "only one element may have focus_on_load");
        }
    }

    fn block(&mut self, at: &str, block: &Value) {
        if let Some(id) = block.get("block_id").and_then(Value::as_str)
            && !self.block_ids.insert(id.to_owned())
        {
            self.bad(&format!("{at}/block_id"), "block_id already exists");
        }
        self.string(at, block, "block_id", ID_LENGTH, Need::Optional);
        match block
            .get("type")
            .and_then(Value::as_str)
            .unwrap_or_default()
        {
            "header" => {
                self.keys(at, block, &["type", "block_id", "text"]);
                self.text(at, block, "text", (Text::Plain, 150), Need::Required);
            }
            "divider" => self.keys(at, block, &["type", "block_id"]),
            "section" => self.section(at, block),
            "context" => {
                self.keys(at, block, &["type", "block_id", "elements"]);
                for (at, element) in self.list(at, block, "elements", 10) {
                    if element["type"] == "image" {
                        self.image(&at, element);
                    } else {
                        self.text_object(&at, element, Text::Any, 3000);
                    }
                }
            }
            "actions" => {
                self.keys(at, block, &["type", "block_id", "elements"]);
                let mut ids = BTreeSet::new();
                for (at, element) in self.list(at, block, "elements", 25) {
                    self.element(&at, element, elements::Place::Actions);
                    if let Some(id) = element.get("action_id").and_then(Value::as_str)
                        && !ids.insert(id)
                    {
                        self.bad(&format!("{at}/action_id"), "action_id already exists");
                    }
                }
            }
            "input" => self.input(at, block),
            "image" => {
                let known = ["type", "block_id", "image_url", "alt_text", "title"];
                self.keys(at, block, &known);
                self.text(at, block, "title", (Text::Plain, 2000), Need::Optional);
                self.string(at, block, "image_url", 3000, Need::Required);
                self.string(at, block, "alt_text", 2000, Need::Required);
            }
            "rich_text" => self.rich_text(at, block),
            other => self.bad(&format!("{at}/type"), &format!("unsupported type: {other}")),
        }
    }

    fn section(&mut self, at: &str, block: &Value) {
        self.keys(
            at,
            block,
            &["type", "block_id", "text", "fields", "accessory", "expand"],
        );
        self.text(at, block, "text", (Text::Any, 3000), Need::Optional);
        if block.get("fields").is_some() {
            for (at, field) in self.list(at, block, "fields", 10) {
                self.text_object(&at, field, Text::Any, 2000);
            }
        } else if block.get("text").is_none() {
            self.bad(at, "missing required field: text or fields");
        }
        if let Some(accessory) = block.get("accessory") {
            self.element(
                &format!("{at}/accessory"),
                accessory,
                elements::Place::Accessory,
            );
        }
    }

    fn input(&mut self, at: &str, block: &Value) {
        let known = [
            "type",
            "block_id",
            "label",
            "element",
            "hint",
            "optional",
            "dispatch_action",
        ];
        self.keys(at, block, &known);
        self.text(at, block, "label", (Text::Plain, 2000), Need::Required);
        self.text(at, block, "hint", (Text::Plain, 2000), Need::Optional);
        self.flag(at, block, "optional");
        self.flag(at, block, "dispatch_action");
        match block.get("element") {
            None => self.bad(at, "missing required field: element"),
            Some(it) => self.element(&format!("{at}/element"), it, elements::Place::Input),
        }
    }

    pub(crate) fn image(&mut self, at: &str, image: &Value) {
        self.keys(at, image, &["type", "image_url", "alt_text"]);
        self.string(at, image, "image_url", 3000, Need::Required);
        self.string(at, image, "alt_text", 2000, Need::Required);
    }

    pub(crate) fn focus(&mut self, at: &str, element: &Value) {
        self.flag(at, element, "focus_on_load");
        if element["focus_on_load"] == true {
            self.focused += 1;
        }
    }
}
