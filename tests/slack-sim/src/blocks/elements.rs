//! The interactive elements of Block Kit: what each may hold, and where it may stand.

use serde_json::Value;

use super::{Check, ID_LENGTH, Need, Text};

/// Where an element stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    Accessory,
    Actions,
    Input,
}

/// Elements in which text is typed.
const TYPED: [&str; 4] = [
    "plain_text_input",
    "email_text_input",
    "url_text_input",
    "number_input",
];

impl Check {
    pub(crate) fn element(&mut self, at: &str, element: &Value, place: Place) {
        let kind = element
            .get("type")
            .and_then(Value::as_str)
            .unwrap_or_default();
        let fits = match place {
            Place::Input => !matches!(kind, "button" | "overflow" | "image"),
            Place::Accessory => !TYPED.contains(&kind) && kind != "datetimepicker",
            Place::Actions => !TYPED.contains(&kind) && kind != "image",
        };
        if !fits {
            return self.bad(
                &format!("{at}/type"),
                &format!("{kind} is not allowed here"),
            );
        }
        if kind == "image" {
            return self.image(at, element);
        }
        self.string(at, element, "action_id", ID_LENGTH, Need::Optional);
        self.focus(at, element);
        if let Some(confirm) = element.get("confirm") {
            self.confirm(&format!("{at}/confirm"), confirm);
        }
        match kind {
            "button" => self.button(at, element),
            "static_select" | "multi_static_select" => self.select(at, element, 100),
            "external_select" | "multi_external_select" => {
                self.select_keys(at, element, &["min_query_length"]);
                if element
                    .get("min_query_length")
                    .is_some_and(|it| it.as_u64().is_none())
                {
                    self.bad(&format!("{at}/min_query_length"), "must be a number");
                }
                if let Some(initial) = element.get("initial_option") {
                    self.option(&format!("{at}/initial_option"), initial, Text::Plain);
                }
            }
            "users_select" | "multi_users_select" => {
                self.select_keys(at, element, &["initial_user", "initial_users"]);
            }
            "conversations_select" | "multi_conversations_select" => self.select_keys(
                at,
                element,
                &[
                    "initial_conversation",
                    "initial_conversations",
                    "filter",
                    "default_to_current_conversation",
                    "response_url_enabled",
                ],
            ),
            "channels_select" | "multi_channels_select" => self.select_keys(
                at,
                element,
                &[
                    "initial_channel",
                    "initial_channels",
                    "response_url_enabled",
                ],
            ),
            "overflow" => {
                self.keys(at, element, &["type", "action_id", "options", "confirm"]);
                self.choices(at, element, 5, Text::Plain);
            }
            "radio_buttons" | "checkboxes" => {
                let known = [
                    "type",
                    "action_id",
                    "options",
                    "initial_option",
                    "initial_options",
                    "confirm",
                    "focus_on_load",
                ];
                self.keys(at, element, &known);
                self.choices(at, element, 10, Text::Any);
                self.initial(at, element);
            }
            "datepicker" | "timepicker" | "datetimepicker" => {
                let known = [
                    "type",
                    "action_id",
                    "placeholder",
                    "initial_date",
                    "initial_time",
                    "initial_date_time",
                    "timezone",
                    "confirm",
                    "focus_on_load",
                ];
                self.keys(at, element, &known);
                self.text(
                    at,
                    element,
                    "placeholder",
                    (Text::Plain, 150),
                    Need::Optional,
                );
            }
            _ if TYPED.contains(&kind) => self.typed(at, element, kind),
            other => self.bad(&format!("{at}/type"), &format!("unsupported type: {other}")),
        }
    }

    fn button(&mut self, at: &str, button: &Value) {
        let known = [
            "type",
            "action_id",
            "text",
            "value",
            "url",
            "style",
            "confirm",
            "accessibility_label",
        ];
        self.keys(at, button, &known);
        self.text(at, button, "text", (Text::Plain, 75), Need::Required);
        self.string(at, button, "value", 2000, Need::Optional);
        self.string(at, button, "url", 3000, Need::Optional);
        self.string(at, button, "accessibility_label", 75, Need::Optional);
        self.one_of(at, button, "style", &["primary", "danger"]);
    }

    fn select_keys(&mut self, at: &str, element: &Value, more: &[&str]) {
        let common = [
            "type",
            "action_id",
            "placeholder",
            "confirm",
            "focus_on_load",
            "initial_option",
            "initial_options",
            "max_selected_items",
        ];
        let known: Vec<&str> = common.iter().chain(more).copied().collect();
        self.keys(at, element, &known);
        self.text(
            at,
            element,
            "placeholder",
            (Text::Plain, 150),
            Need::Optional,
        );
    }

    fn select(&mut self, at: &str, element: &Value, max: usize) {
        self.select_keys(at, element, &["options", "option_groups"]);
        self.choices(at, element, max, Text::Plain);
        self.initial(at, element);
    }

    /// Either `options` or `option_groups`.
    pub(crate) fn choices(&mut self, at: &str, holder: &Value, max: usize, kind: Text) {
        let groups = holder.get("option_groups").is_some();
        if groups == holder.get("options").is_some() {
            return self.bad(at, "exactly one of options and option_groups is required");
        }
        if !groups {
            // An empty answer to a suggestion is "nothing found"; an empty menu is a mistake.
            let found_none = at.is_empty() && holder["options"] == Value::Array(vec![]);
            if !found_none {
                self.option_list(at, holder, max, kind);
            }
            return;
        }
        for (at, group) in self.list(at, holder, "option_groups", max) {
            self.keys(&at, group, &["label", "options"]);
            self.text(&at, group, "label", (Text::Plain, 75), Need::Required);
            self.option_list(&at, group, max, kind);
        }
    }

    fn option_list(&mut self, at: &str, holder: &Value, max: usize, kind: Text) {
        for (at, option) in self.list(at, holder, "options", max) {
            self.option(&at, option, kind);
        }
    }

    fn option(&mut self, at: &str, option: &Value, kind: Text) {
        self.keys(at, option, &["text", "value", "description", "url"]);
        self.text(at, option, "text", (kind, 75), Need::Required);
        self.string(at, option, "value", 75, Need::Required);
        self.text(at, option, "description", (kind, 75), Need::Optional);
        self.string(at, option, "url", 3000, Need::Optional);
    }

    /// What is chosen at first must be one of the choices, exactly.
    fn initial(&mut self, at: &str, element: &Value) {
        let offered = all_options(element);
        let one = element
            .get("initial_option")
            .into_iter()
            .map(|it| ("initial_option", it));
        let many = element
            .get("initial_options")
            .and_then(Value::as_array)
            .into_iter()
            .flatten();
        for (key, initial) in one.chain(many.map(|it| ("initial_options", it))) {
            if !offered.contains(&initial) {
                self.bad(&format!("{at}/{key}"), "must be one of the options");
            }
        }
    }

    fn typed(&mut self, at: &str, element: &Value, kind: &str) {
        let common = [
            "type",
            "action_id",
            "initial_value",
            "placeholder",
            "focus_on_load",
            "dispatch_action_config",
        ];
        let more: &[&str] = match kind {
            "plain_text_input" => &["multiline", "min_length", "max_length"],
            "number_input" => &["is_decimal_allowed", "min_value", "max_value"],
            _ => &[],
        };
        let known: Vec<&str> = common.iter().chain(more).copied().collect();
        self.keys(at, element, &known);
        self.flag(at, element, "multiline");
        self.text(
            at,
            element,
            "placeholder",
            (Text::Plain, 150),
            Need::Optional,
        );
        let most = element
            .get("max_length")
            .and_then(Value::as_u64)
            .unwrap_or(3000);
        let initial = usize::try_from(most).unwrap_or(3000);
        self.string(at, element, "initial_value", initial, Need::Optional);
        for (key, least) in [("min_length", 0), ("max_length", 1)] {
            let Some(length) = element.get(key) else {
                continue;
            };
            if !length
                .as_u64()
                .is_some_and(|it| (least..=3000).contains(&it))
            {
                self.bad(&format!("{at}/{key}"), &format!("must be {least} to 3000"));
            }
        }
        if element
            .get("min_length")
            .and_then(Value::as_u64)
            .is_some_and(|it| it > most)
        {
            self.bad(&format!("{at}/min_length"), "must not be above max_length");
        }
    }

    fn confirm(&mut self, at: &str, confirm: &Value) {
        self.keys(at, confirm, &["title", "text", "confirm", "deny", "style"]);
        self.text(at, confirm, "title", (Text::Plain, 100), Need::Required);
        self.text(at, confirm, "text", (Text::Any, 300), Need::Required);
        self.text(at, confirm, "confirm", (Text::Plain, 30), Need::Required);
        self.text(at, confirm, "deny", (Text::Plain, 30), Need::Required);
        self.one_of(at, confirm, "style", &["primary", "danger"]);
    }
}

/// Every option of an element or an answer, through its groups.
pub(crate) fn all_options(holder: &Value) -> Vec<&Value> {
    let plain = holder["options"].as_array().into_iter().flatten();
    let groups = holder["option_groups"].as_array().into_iter().flatten();
    let grouped = groups.flat_map(|it| it["options"].as_array().into_iter().flatten());
    plain.chain(grouped).collect()
}
