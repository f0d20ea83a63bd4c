//! What people read: a pure function from the record to a message. Nothing here decides or calls
//! anything.
//!
//! There is no parse mode, so nothing is markup. Telegram still makes links and mentions of what looks
//! like one, except in code: every word that is not ours is drawn as code, and stays words (S13).

use std::time::Duration;

use jit_core::catalog::Catalog;
use jit_core::engine::{Background, Use};
use jit_core::request::{
    AccessRequest, Approver, CancelReason, Cause, End, Grant, Mismatch, Part, Phase, RequestId,
    Stage, Stuck,
};
use jit_core::{Timestamp, Ttl};
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::macros::format_description;

use crate::bot::Message;

/// The longest text of a message, in characters.
/// Source: <https://core.telegram.org/bots/api#sendmessage>
const TEXT_LIMIT: usize = 4_096;
/// What is kept free of the words of others, for those of this program.
const OURS: usize = 400;
/// What is kept free for the lines behind a long parameter: a reason for a denial, names.
const TAIL: usize = 1_600;

/// Whether everything that is asked for is on the card.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shown {
    /// It is.
    Whole,
    /// It is too long, so that nobody can answer for it here.
    Cut,
}

/// The card as the record is now, without its buttons.
pub(crate) fn card(
    request: &AccessRequest,
    catalog: &Catalog,
    background: Option<&Background>,
) -> (Message, Shown) {
    let mut text = Text::new();
    text.ours("Access request ").theirs(short(request.id)).end();
    text.ours("Who: ").theirs(request.requester.as_str());
    if request.beneficiary != request.requester {
        text.ours(" for ").theirs(request.beneficiary.as_str());
    }
    text.end();
    for part in request.parts.iter() {
        text.ours("What: ").theirs(part.entitlement.as_str()).end();
        if let Some(entry) = catalog.get(&part.entitlement) {
            text.ours("Meaning: ").theirs(&entry.title).end();
        }
        if let Some(label) = &part.label {
            text.ours("That is: ").theirs(label).end();
        }
        instead(&mut text, request, part);
    }
    text.ours("How long: ").ours(&spoken(request.ttl)).end();
    terms(&mut text, request);
    text.ours("Why: ").theirs(request.reason.as_str()).end();
    parameters(&mut text, request);
    text.end();
    let shown = text.shown;
    state(&mut text, request);
    text.end();
    if let (Stage::Pending, Shown::Cut) = (&request.stage, shown) {
        text.ours("It is too long to be decided here; read it at a terminal: jit show ");
        text.theirs(short(request.id)).end();
    }
    if let Some(background) = background {
        known(&mut text, background);
    }
    text.theirs(request.id.to_string());
    (text.message(), shown)
}

/// What is known about what is asked for, in small print: as much of it as there is room for.
fn known(text: &mut Text, known: &Background) {
    if !known.allows.is_empty() {
        text.aside(|text| text.ours("Can: ").theirs(&known.allows));
    }
    text.aside(|text| match known.by_person.first() {
        None => text.ours("Had it never before"),
        Some(_) => list(
            text.ours("Had it before: "),
            &known.by_person,
            |text, it| {
                text.ours(&utc(it.from));
            },
        ),
    });
    text.aside(|text| match known.of_entitlement.first() {
        None => text.ours("Nobody ever had it"),
        Some(_) => list(text.ours("Had by: "), &known.of_entitlement, |text, it| {
            text.theirs(it.who.as_str())
                .ours(&format!(" {}", utc(it.from)));
        }),
    });
    text.aside(|text| match known.holders.first() {
        None => text.ours("Nobody has it now"),
        Some(_) => {
            list(text.ours("Has it now: "), &known.holders, |text, it| {
                text.theirs(it.who.as_str())
                    .ours(&format!(" until {}", utc(it.until)));
            });
            more(text, known.more_holders)
        }
    });
    if !known.strangers.is_empty() {
        text.aside(|text| {
            text.ours("⚠ Stands without a grant: ");
            for (place, subject) in known.strangers.iter().enumerate() {
                text.ours(if place > 0 { ", " } else { "" })
                    .theirs(subject.as_str());
            }
            more(text, known.more_strangers)
        });
    }
}

fn list<'t>(text: &'t mut Text, uses: &[Use], say: impl Fn(&mut Text, &Use)) -> &'t mut Text {
    for (place, it) in uses.iter().enumerate() {
        text.ours(if place > 0 { ", " } else { "" });
        say(text, it);
    }
    text
}

fn more(text: &mut Text, more: usize) -> &mut Text {
    match more {
        0 => text,
        more => text.ours(&format!(" and {more} more")),
    }
}

/// What is said once of a request that nobody answers.
pub(crate) fn reminder(request: &AccessRequest) -> Message {
    let mut text = Text::new();
    text.ours("🔔 ").theirs(request.requester.as_str());
    text.ours(" still waits for an answer about ");
    text.theirs(request.parts.first().entitlement.as_str());
    text.ours("; it lapses ").ours(&utc(request.decide_by));
    text.message()
}

/// The other way to the same thing, which is approved with it.
fn instead(text: &mut Text, request: &AccessRequest, part: &Part) {
    let Some(fallback) = &part.fallback else {
        return;
    };
    let fallback = fallback.entitlement.as_str();
    let may_turn = match request.grant().map(|grant| (grant.fell_back, &grant.phase)) {
        Some((true, _)) => {
            text.ours("It could not be made; given instead: ");
            text.theirs(fallback).end();
            return;
        }
        Some((false, phase)) => matches!(phase, Phase::Approved | Phase::Provisioning { .. }),
        None => request.stage == Stage::Pending,
    };
    if may_turn {
        text.ours("If it cannot be made: ").theirs(fallback);
        text.ours(" instead").end();
    }
}

fn terms(text: &mut Text, request: &AccessRequest) {
    let needed = request.terms.approvals;
    let word = if needed == 1 { "approval" } else { "approvals" };
    text.ours("Tier: ").theirs(request.terms.tier.as_str());
    text.ours(&format!(" · {needed} {word}")).end();
    if request.stage == Stage::Pending {
        text.ours("Answer by: ").ours(&utc(request.decide_by)).end();
    }
    let asked = request.ttl.duration();
    let parts = request.parts.iter();
    let residual = parts.map(|part| part.lives_on(asked)).max();
    let residual = residual.unwrap_or_default();
    if residual > Duration::ZERO {
        let lasting = Ttl::from_secs(residual.as_secs());
        let lasting = lasting.map_or_else(|_| format!("{} s", residual.as_secs()), spoken);
        text.ours("Lives on after the end: at most ")
            .ours(&lasting)
            .end();
    }
}

fn parameters(text: &mut Text, request: &AccessRequest) {
    for part in request.parts.iter().filter(|it| !it.parameters.is_empty()) {
        let written = Value::from(part.parameters.clone()).to_string();
        text.ours("Parameters: ");
        text.theirs_up_to(&written, TEXT_LIMIT - TAIL).end();
    }
}

/// How far it is, in one line.
fn state(text: &mut Text, request: &AccessRequest) {
    match &request.stage {
        Stage::Pending => pending(text, request),
        Stage::Denied { by, reason } => {
            text.ours("⛔ Denied by ").theirs(by.as_str());
            text.ours(": ").theirs(reason.as_str())
        }
        Stage::Withdrawn { by } => text.ours("↩ Withdrawn by ").theirs(by.as_str()),
        Stage::Lapsed => text.ours("💤 Nobody answered in time"),
        Stage::Invalidated { why } => text.ours("⛔ No longer valid: ").ours(match why {
            Mismatch::PolicyChanged => "what it asked for has changed",
            Mismatch::NoLongerEligible => "the person may no longer have it",
            Mismatch::Revoked => "it was revoked",
        }),
        Stage::Granted(grant) => granted(text, request, grant),
    };
}

fn pending<'t>(text: &'t mut Text, request: &AccessRequest) -> &'t mut Text {
    let (count, needed) = (request.approvals.len(), request.terms.approvals);
    text.ours(&format!("⏳ Pending · {count} of {needed} approvals"));
    for approval in &request.approvals {
        text.ours(" · ");
        approver(text, &approval.by).ours(" approved");
    }
    text
}

fn approver<'t>(text: &'t mut Text, by: &Approver) -> &'t mut Text {
    match by {
        Approver::Person(id) => text.theirs(id.as_str()),
        Approver::Automatic => text.ours("nobody: the tier approves by itself"),
    }
}

fn granted<'t>(text: &'t mut Text, request: &AccessRequest, grant: &Grant) -> &'t mut Text {
    match &grant.phase {
        Phase::Approved | Phase::Provisioning { .. } => {
            approved(text, request, grant).ours(" · being given")
        }
        Phase::Active => {
            approved(text, request, grant);
            if grant.missing_since.is_some() {
                text.ours(" · ⚠ the access is missing, by other hands");
            }
            text.ours(" · active until ").ours(&utc(grant.expires_at))
        }
        Phase::Revoking { ending } => match grant.stuck {
            Some(why) => text.ours("🚨 STUCK: ").ours(match why {
                Stuck::NotAccepted => "no revoke was accepted yet; people were paged",
                Stuck::NotVerified => "it is not verified gone yet; people were paged",
                Stuck::Refused => "the provider refuses to take it away; people were paged",
            }),
            None => text.ours("⌛ Ending: ").ours(cause(ending.cause)),
        },
        Phase::Settling { ending, .. } => over(text, ending.cause),
        Phase::Closed {
            end: End::Gone { cause },
        } => over(text, *cause),
        Phase::Closed {
            end: End::Superseded { by },
        } => text.ours("⏩ Taken over by ").theirs(by.to_string()),
        Phase::Cancelled { why } => text.ours("⛔ Never given: ").ours(cancelled(*why)),
    }
}

/// By whom and for how long.
fn approved<'t>(text: &'t mut Text, request: &AccessRequest, grant: &Grant) -> &'t mut Text {
    text.ours("✅ Approved by ");
    for (place, approval) in request.approvals.iter().enumerate() {
        if place > 0 {
            text.ours(", ");
        }
        approver(text, &approval.by);
    }
    match Ttl::from_secs(grant.expires_at.since(grant.approved_at).as_secs()) {
        Ok(given) => text.ours(" for ").ours(&spoken(given)),
        Err(_) => text,
    }
}

fn over(text: &mut Text, why: Cause) -> &mut Text {
    match why {
        Cause::Failed => text.ours("⚠ It could not be given or went missing, and is gone"),
        Cause::Expired | Cause::Ended | Cause::Revoked => text.ours("🔒 Ended: ").ours(cause(why)),
    }
}

fn cause(cause: Cause) -> &'static str {
    match cause {
        Cause::Expired => "its time is up",
        Cause::Ended => "returned early",
        Cause::Revoked => "revoked",
        Cause::Failed => "it failed",
    }
}

fn cancelled(why: CancelReason) -> &'static str {
    match why {
        CancelReason::PolicyChanged => "what was approved has changed",
        CancelReason::NoLongerEligible => "the person may no longer have it",
        CancelReason::AlreadyStands => "the access stands already",
        CancelReason::NotProvisioned => "it could not be given in time",
        CancelReason::NotCollected => "nobody collected it in time",
        CancelReason::Ended => "it was returned first",
        CancelReason::Revoked => "it was revoked first",
    }
}

/// The end of an id that people read and type.
fn short(id: RequestId) -> String {
    let id = id.to_string();
    id.get(id.len() - 6..).unwrap_or(&id).to_owned()
}

/// `2026-11-21 18:00 UTC`.
fn utc(at: Timestamp) -> String {
    let form = format_description!("[year]-[month]-[day] [hour]:[minute] UTC");
    let told = OffsetDateTime::from(at).format(form);
    told.unwrap_or_else(|_| "at an unknown time".to_owned())
}

/// `1 h 30 min`: a duration as people say it.
fn spoken(ttl: Ttl) -> String {
    let secs = ttl.as_secs();
    let parts = [
        (secs / 86_400, "d"),
        (secs / 3_600 % 24, "h"),
        (secs / 60 % 60, "min"),
        (secs % 60, "s"),
    ];
    let said: Vec<String> = parts
        .into_iter()
        .filter(|(number, _)| *number > 0)
        .map(|(number, unit)| format!("{number} {unit}"))
        .collect();
    said.join(" ")
}

/// A text that grows, with the places in it that are code. Those are counted in UTF-16 code units:
/// <https://core.telegram.org/bots/api#messageentity>.
#[derive(Debug)]
struct Text {
    shown: Shown,
    text: String,
    chars: usize,
    units: usize,
    entities: Vec<Value>,
}

impl Text {
    fn new() -> Self {
        Self {
            shown: Shown::Whole,
            text: String::new(),
            chars: 0,
            units: 0,
            entities: vec![],
        }
    }

    /// Words of this program.
    fn ours(&mut self, words: &str) -> &mut Self {
        self.text.push_str(words);
        self.chars += words.chars().count();
        self.units += words.encode_utf16().count();
        self
    }

    /// Words of anybody else.
    fn theirs(&mut self, words: impl AsRef<str>) -> &mut Self {
        self.theirs_up_to(words.as_ref(), TEXT_LIMIT - OURS)
    }

    /// The same, cut where the text would be longer than this.
    fn theirs_up_to(&mut self, words: &str, limit: usize) -> &mut Self {
        let room = limit.saturating_sub(self.chars);
        let mut kept: String = words.chars().map(inert).take(room).collect();
        if words.chars().count() > room {
            self.shown = Shown::Cut;
            kept.pop();
            kept.push('…');
        }
        let (offset, length) = (self.units, kept.encode_utf16().count());
        if length > 0 {
            let code = json!({"type": "code", "offset": offset, "length": length});
            self.entities.push(code);
        }
        self.ours(&kept)
    }

    /// A line that is left out where there is no room for it.
    fn aside(&mut self, line: impl FnOnce(&mut Self) -> &mut Self) {
        let before = (self.text.len(), self.chars, self.units, self.entities.len());
        line(self).end();
        if self.chars > TEXT_LIMIT - OURS {
            self.text.truncate(before.0);
            (self.chars, self.units) = (before.1, before.2);
            self.entities.truncate(before.3);
        }
    }

    fn end(&mut self) -> &mut Self {
        self.ours("\n")
    }

    fn message(self) -> Message {
        Message {
            text: self.text,
            entities: self.entities,
            buttons: vec![],
        }
    }
}

/// Marks that reorder or hide text, line separators and control characters become spaces: with them a
/// parameter could look like another.
fn inert(letter: char) -> char {
    let reorders = matches!(letter,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{180e}'
        | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
        | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}'
        | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e01ef}');
    match letter.is_control() || reorders {
        true => ' ',
        false => letter,
    }
}
