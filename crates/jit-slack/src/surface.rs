//! What people see: each surface is a pure function from the record and whoever reads it to Block
//! Kit. Nothing here decides or calls anything.

mod background;
mod card;
mod dm;
mod home;
#[cfg(test)]
mod injection;
mod modal;
mod reply;
#[cfg(test)]
mod tests;

use jit_core::digest::Digest;
use jit_core::engine::Background;
use jit_core::request::{AccessRequest, RequestId};
use std::borrow::Cow;

use serde_json::{Value, json};

pub(crate) use card::{card, card_to_open, reminder, thread};
pub(crate) use dm::{Moment, dm, dm_moment};
pub(crate) use home::{Home, home, home_for_strangers};
pub(crate) use modal::{
    Choice, Form, Kept, deny_form, more_options, option, option_value, request_form, shorten_form,
};
pub(crate) use reply::{
    Reply, Stranger, answer_view, help, listing, no_reason, not_understood, outcome_view,
    refusal_view, reply, review_view, sending_view,
};
#[cfg(test)]
pub(crate) use tests::events;

use crate::people::Names;
use crate::text::{Markup, plain};

/// What a surface of one request is drawn from.
#[derive(Debug, Clone)]
pub(crate) struct Scene<'a> {
    /// The record as it is.
    pub(crate) request: &'a AccessRequest,
    /// What the catalogue says of it to people; its id where the catalogue knows it no more.
    pub(crate) title: Cow<'a, str>,
    /// What the person does with it.
    pub(crate) how_to_use: Cow<'a, str>,
    /// What to beware of, if anything.
    pub(crate) warning: Option<&'a str>,
    /// What is known about what is asked for, for whoever decides.
    pub(crate) background: Option<&'a Background>,
    /// Who is who.
    pub(crate) names: &'a Names,
}

/// A message, or what it is to be changed into.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Message {
    /// One line for notifications, screen readers and search.
    pub(crate) text: String,
    /// What is drawn.
    pub(crate) blocks: Vec<Value>,
}

/// What people do to messages, by the `action_id` of the button.
pub(crate) mod action {
    pub(crate) const ASK: &str = "jit_request";
    pub(crate) const TARGET: &str = "target";
    pub(crate) const APPROVE: &str = "jit_approve";
    pub(crate) const SHORTEN: &str = "jit_approve_edit";
    pub(crate) const DENY: &str = "jit_deny";
    pub(crate) const WITHDRAW: &str = "jit_withdraw";
    pub(crate) const DONE: &str = "jit_done";
    pub(crate) const REVOKE: &str = "jit_revoke";
    pub(crate) const AGAIN: &str = "jit_again";
    pub(crate) const REVIEW: &str = "jit_review";
}

/// The windows in which requests are decided, by their `callback_id`.
pub(crate) const REVIEW_WINDOW: &str = "jit_card";

/// The end of an id that people read and type.
pub(crate) fn short(id: RequestId) -> String {
    let id = id.to_string();
    id.get(id.len() - 6..).unwrap_or(&id).to_owned()
}

/// What a button carries: the request, and the beginning of the digest of what was shown (S12).
pub(crate) fn reference(request: &AccessRequest) -> String {
    format!("{}:{}", request.id, Digest::prefix(&request.digest()))
}

/// How a button looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Style {
    Default,
    Primary,
    Danger,
}

/// A question asked before a button does anything.
struct Confirm {
    title: &'static str,
    text: String,
    yes: &'static str,
    no: &'static str,
}

fn button(action: &'static str, label: &str, style: Style, value: &str) -> Value {
    let mut button = json!({
        "type": "button",
        "action_id": action,
        "text": plain(label, 75),
        "value": value,
    });
    let style = match style {
        Style::Default => return button,
        Style::Primary => "primary",
        Style::Danger => "danger",
    };
    button["style"] = style.into();
    button
}

fn labelled(mut button: Value, label: &str) -> Value {
    button["accessibility_label"] = crate::text::cut(label, 75).into();
    button
}

fn confirmed(mut button: Value, ask: &Confirm) -> Value {
    button["confirm"] = json!({
        "title": plain(ask.title, 100),
        "text": plain(&ask.text, 300),
        "confirm": plain(ask.yes, 30),
        "deny": plain(ask.no, 30),
    });
    button
}

fn actions(block: &str, buttons: Vec<Value>) -> Value {
    json!({"type": "actions", "block_id": block, "elements": buttons})
}

fn header(text: &str) -> Value {
    json!({"type": "header", "text": plain(text, 150)})
}

/// The button by which somebody returns access.
fn done_button(request: &AccessRequest) -> Value {
    let button = button(action::DONE, "I'm done", Style::Danger, &reference(request));
    let ask = Confirm {
        title: "End access now?",
        text: "You can ask again later.".to_owned(),
        yes: "End access",
        no: "Keep it",
    };
    confirmed(labelled(button, "End this access now"), &ask)
}

/// The button by which somebody asks for the same again.
fn again_button(request: &AccessRequest) -> Value {
    button(
        action::AGAIN,
        "Request again",
        Style::Default,
        &request.id.to_string(),
    )
}

/// What is asked for, as code and on one line.
fn what(scene: &Scene<'_>) -> Markup {
    let part = scene.request.parts.first();
    Markup::default().code(part.entitlement.as_str())
}
