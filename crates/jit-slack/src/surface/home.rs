//! The App Home: what one person has, waits for and must decide.

use jit_core::engine::Extent;
use jit_core::request::AccessRequest;
use serde_json::{Value, json};

use super::card::state;
use super::reply::{Reply, Stranger, reply};
use super::{Scene, Style, action, actions, button, done_button, header, reference, what};
use crate::text::{Markup, Show};

/// Rows of each list; Slack draws 100 blocks at most.
const ROWS: usize = 12;

/// What the home of one person shows, each list from the newest to the oldest.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Home<'a> {
    pub(crate) active: &'a [Scene<'a>],
    pub(crate) to_decide: &'a [Scene<'a>],
    /// Whether that is all that waits for them.
    pub(crate) extent: Extent,
    pub(crate) waiting: &'a [Scene<'a>],
    pub(crate) recent: &'a [Scene<'a>],
}

/// The home.
pub(crate) fn home(lists: &Home<'_>) -> Value {
    let ask = button(action::ASK, "Request access", Style::Primary, "home");
    let mut blocks = vec![header("Your access"), actions("ask", vec![ask])];
    list(&mut blocks, "Active now", lists.active, active_row);
    list(
        &mut blocks,
        "Waiting for you",
        lists.to_decide,
        deciding_row,
    );
    if lists.extent == Extent::PerhapsMore {
        let more = "There may be more: whether you are in a group cannot be found out now. Open \
                    this page again in a minute.";
        blocks.push(Markup::new(more).context());
    }
    list(&mut blocks, "Waiting for others", lists.waiting, plain_row);
    list(&mut blocks, "Recent", lists.recent, plain_row);
    blocks.push(Markup::new("Times are shown in your time zone.").context());
    view(blocks)
}

/// The home of somebody who is nobody here: why, and what to do.
pub(crate) fn home_for_strangers(stranger: Stranger) -> Value {
    view(reply(&Reply::Stranger(stranger), None).blocks)
}

fn view(blocks: Vec<Value>) -> Value {
    json!({"type": "home", "callback_id": "jit_home", "blocks": blocks})
}

fn list(
    blocks: &mut Vec<Value>,
    title: &'static str,
    scenes: &[Scene<'_>],
    row: fn(&Scene<'_>) -> Value,
) {
    blocks.push(json!({"type": "divider"}));
    blocks.push(header(title));
    if scenes.is_empty() {
        blocks.push(Markup::new("Nothing").context());
    }
    blocks.extend(scenes.iter().take(ROWS).map(row));
    let more = scenes.len().saturating_sub(ROWS);
    if more > 0 {
        let more = u64::try_from(more).unwrap_or(u64::MAX);
        let line = Markup::new("and ").number(more).text(" more: `/jit list`");
        blocks.push(line.context());
    }
}

fn row(line: &Markup, request: &AccessRequest, button: Option<Value>) -> Value {
    let mut row = line.section();
    // The same request may stand in two lists, and block ids are unique.
    if let Some(button) = button {
        row["block_id"] = request.id.to_string().into();
        row["accessory"] = button;
    }
    row
}

fn active_row(scene: &Scene<'_>) -> Value {
    let request = scene.request;
    let mut line = what(scene);
    if let Some(grant) = request.grant() {
        line = line.text("\nuntil ").at(grant.expires_at, Show::DayAndTime);
    }
    row(&line, request, Some(done_button(request)))
}

fn deciding_row(scene: &Scene<'_>) -> Value {
    let request = scene.request;
    let line = Markup::default()
        .person(&request.requester, scene.names)
        .text(" asks for ")
        .then(what(scene))
        .text(" for ")
        .ttl(request.ttl);
    let review = button(
        action::REVIEW,
        "Review",
        Style::Default,
        &reference(request),
    );
    row(&line, request, Some(review))
}

fn plain_row(scene: &Scene<'_>) -> Value {
    let line = what(scene).text("\n").then(state(scene));
    row(&line, scene.request, None)
}
