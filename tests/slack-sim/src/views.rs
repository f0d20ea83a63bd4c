//! Modals and App Homes: the stacks, the hashes, and the state of what is filled in.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::messages::elements;

/// The deepest stack of modals.
pub(crate) const DEEPEST: usize = 3;

/// One view that somebody sees.
#[derive(Debug, Clone)]
pub(crate) struct View {
    pub(crate) id: String,
    pub(crate) root: String,
    pub(crate) previous: Option<String>,
    pub(crate) hash: String,
    /// What the app sent, every block and element with an id.
    pub(crate) body: Value,
    /// What is filled in: block id → action id → value.
    pub(crate) values: Value,
}

impl View {
    /// The view as answers and payloads hold it.
    pub(crate) fn json(&self, team: &str, app: &str, bot_id: &str) -> Value {
        let or = |key: &str, default: Value| self.body.get(key).cloned().unwrap_or(default);
        let mut it = json!({
            "id": self.id, "team_id": team, "type": self.body["type"],
            "blocks": self.body["blocks"],
            "private_metadata": or("private_metadata", json!("")),
            "callback_id": or("callback_id", json!("")),
            "external_id": or("external_id", json!("")),
            "state": {"values": self.values}, "hash": self.hash,
            "title": or("title", json!({"type": "plain_text", "text": "View Title", "emoji": true})),
            "clear_on_close": or("clear_on_close", json!(false)),
            "notify_on_close": or("notify_on_close", json!(false)),
            "close": or("close", Value::Null), "submit": or("submit", Value::Null),
            "previous_view_id": self.previous, "root_view_id": self.root,
            "app_id": app, "app_installed_team_id": team, "bot_id": bot_id,
        });
        if self.body["type"] == "modal" {
            it["submit_disabled"] = or("submit_disabled", json!(false));
        }
        it
    }

    /// The ids of its input blocks, the only places an error may stand.
    pub(crate) fn inputs(&self) -> Vec<&str> {
        let blocks = self.body["blocks"].as_array().into_iter().flatten();
        blocks
            .filter(|it| it["type"] == "input")
            .filter_map(|it| it["block_id"].as_str())
            .collect()
    }
}

/// Every view, each person's stack of modals and their Home.
#[derive(Debug, Default)]
pub(crate) struct Views {
    all: BTreeMap<String, View>,
    stacks: BTreeMap<String, Vec<String>>,
    homes: BTreeMap<String, String>,
}

impl Views {
    pub(crate) fn get(&self, id: &str) -> Option<&View> {
        self.all.get(id)
    }

    pub(crate) fn get_mut(&mut self, id: &str) -> Option<&mut View> {
        self.all.get_mut(id)
    }

    pub(crate) fn by_external(&self, external: &str) -> Option<&View> {
        self.all
            .values()
            .find(|it| it.body["external_id"] == external)
    }

    pub(crate) fn depth(&self, user: &str) -> usize {
        self.stacks.get(user).map_or(0, Vec::len)
    }

    pub(crate) fn top(&self, user: &str) -> Option<&View> {
        self.all.get(self.stacks.get(user)?.last()?)
    }

    pub(crate) fn stack(&self, user: &str) -> Vec<&View> {
        let ids = self.stacks.get(user).into_iter().flatten();
        ids.filter_map(|id| self.all.get(id)).collect()
    }

    pub(crate) fn home(&self, user: &str) -> Option<&View> {
        self.all.get(self.homes.get(user)?)
    }

    /// Puts a view on top; it becomes its own root if the stack was empty.
    pub(crate) fn push(&mut self, user: &str, id: &str, hash: &str, body: Value) -> Option<&View> {
        let stack = self.stacks.entry(user.to_owned()).or_default();
        let view = View {
            id: id.to_owned(),
            root: stack.first().cloned().unwrap_or_else(|| id.to_owned()),
            previous: stack.last().cloned(),
            hash: hash.to_owned(),
            values: values(&body, &Value::Null),
            body,
        };
        stack.push(id.to_owned());
        self.all.insert(id.to_owned(), view);
        self.all.get(id)
    }

    pub(crate) fn publish(
        &mut self,
        user: &str,
        id: &str,
        hash: &str,
        body: Value,
    ) -> Option<&View> {
        if let Some(old) = self.homes.get(user).cloned() {
            return self.update(&old, hash, body);
        }
        let view = View {
            id: id.to_owned(),
            root: id.to_owned(),
            previous: None,
            hash: hash.to_owned(),
            values: values(&body, &Value::Null),
            body,
        };
        self.homes.insert(user.to_owned(), id.to_owned());
        self.all.insert(id.to_owned(), view);
        self.all.get(id)
    }

    /// Replaces what a view shows; what was filled in stays where block and action stay.
    pub(crate) fn update(&mut self, id: &str, hash: &str, body: Value) -> Option<&View> {
        let view = self.all.get_mut(id)?;
        view.values = values(&body, &view.values);
        view.body = body;
        view.hash = hash.to_owned();
        self.all.get(id)
    }

    /// Closes the top modal.
    pub(crate) fn close_top(&mut self, user: &str) {
        if let Some(id) = self.stacks.get_mut(user).and_then(Vec::pop) {
            self.all.remove(&id);
        }
    }

    /// Closes every modal.
    pub(crate) fn clear(&mut self, user: &str) {
        for id in self.stacks.remove(user).unwrap_or_default() {
            self.all.remove(&id);
        }
    }
}

/// Gives every block and element without an id one.
pub(crate) fn named(mut blocks: Value, mut fresh: impl FnMut() -> String) -> Value {
    for block in blocks.as_array_mut().into_iter().flatten() {
        let Some(block) = block.as_object_mut() else {
            continue;
        };
        block.entry("block_id").or_insert_with(|| json!(fresh()));
        let actions = block.get("type").is_some_and(|it| it == "actions");
        for key in ["element", "accessory"] {
            if let Some(element) = block.get_mut(key) {
                name_action(element, &mut fresh);
            }
        }
        let many = block.get_mut("elements").and_then(Value::as_array_mut);
        for element in many.into_iter().flatten().filter(|_| actions) {
            name_action(element, &mut fresh);
        }
    }
    blocks
}

fn name_action(element: &mut Value, fresh: &mut impl FnMut() -> String) {
    if let Some(element) = element
        .as_object_mut()
        .filter(|it| it.get("type") != Some(&json!("image")))
    {
        element.entry("action_id").or_insert_with(|| json!(fresh()));
    }
}

/// The state of a view: kept where the same element was, else what the element begins with.
fn values(body: &Value, old: &Value) -> Value {
    let mut all = Map::new();
    let none = vec![];
    for (block, element) in elements(body["blocks"].as_array().unwrap_or(&none)) {
        let Some(initial) = initial(element) else {
            continue;
        };
        let (Some(block), Some(action)) =
            (block["block_id"].as_str(), element["action_id"].as_str())
        else {
            continue;
        };
        let kept = old.get(block).and_then(|it| it.get(action));
        let kept = kept.filter(|it| it["type"] == element["type"]);
        let of_block = all.entry(block).or_insert_with(|| json!({}));
        of_block[action] = kept.cloned().unwrap_or(initial);
    }
    Value::Object(all)
}

/// What an element holds before anybody touches it; nothing for what holds nothing.
fn initial(element: &Value) -> Option<Value> {
    let kind = element["type"].as_str()?;
    let (field, from, default) = holds(kind)?;
    let begin = element.get(from).cloned().unwrap_or(default);
    Some(json!({"type": kind, field: begin}))
}

/// Which field of the state an element fills, from which field it begins, and its nothing.
pub(crate) fn holds(kind: &str) -> Option<(&'static str, &'static str, Value)> {
    Some(match kind {
        "plain_text_input" | "email_text_input" | "url_text_input" | "number_input" => {
            ("value", "initial_value", Value::Null)
        }
        "static_select" | "external_select" | "radio_buttons" => {
            ("selected_option", "initial_option", Value::Null)
        }
        "multi_static_select" | "multi_external_select" | "checkboxes" => {
            ("selected_options", "initial_options", json!([]))
        }
        "users_select" => ("selected_user", "initial_user", Value::Null),
        "multi_users_select" => ("selected_users", "initial_users", json!([])),
        "conversations_select" => ("selected_conversation", "initial_conversation", Value::Null),
        "multi_conversations_select" => {
            ("selected_conversations", "initial_conversations", json!([]))
        }
        "channels_select" => ("selected_channel", "initial_channel", Value::Null),
        "multi_channels_select" => ("selected_channels", "initial_channels", json!([])),
        "datepicker" => ("selected_date", "initial_date", Value::Null),
        "timepicker" => ("selected_time", "initial_time", Value::Null),
        "datetimepicker" => ("selected_date_time", "initial_date_time", Value::Null),
        _ => return None,
    })
}
