//! The card in the channel of those who decide: one builder for every state, and the lines of its
//! thread.

use std::collections::BTreeSet;
use std::time::Duration;

use jit_core::Ttl;
use jit_core::audit::{Actor, AuditEvent, Fact};
use jit_core::policy::Who;
use jit_core::request::{
    AccessRequest, Approver, CancelReason, Cause, End, Grant, Mismatch, Phase, RequestId, Stage,
    Stuck,
};
use serde_json::{Value, json};

use super::background::background;
use super::{
    Confirm, Message, Scene, Style, action, actions, button, confirmed, header, labelled,
    reference, short, what,
};
use crate::deciders::Mentions;
use crate::text::{MARKUP_LIMIT, Markup, Show, plain, quote, spoken, whole};

/// How many names a step of the ladder shows.
const STEP_NAMES: usize = 5;

/// The card as the record is now.
pub(crate) fn card(scene: &Scene<'_>) -> Message {
    let request = scene.request;
    let mut blocks = vec![header(&format!("Access request {}", short(request.id)))];
    blocks.push(facts(scene));
    if let Some(warning) = scene.warning {
        blocks.push(json!({
            "type": "section",
            "block_id": "warning",
            "text": plain(&format!("⚠ {warning}"), 3_000),
        }));
    }
    blocks.extend(parameters(request));
    blocks.push(quote(request.reason.as_str()));
    if let Stage::Denied { reason, .. } = &request.stage {
        blocks.push(quote(reason.as_str()));
    }
    let buttons = buttons(request);
    if !buttons.is_empty() {
        blocks.push(actions("decide", buttons));
    }
    blocks.extend(background(scene));
    blocks.extend(ladder(request));
    let state = state(scene);
    let mut status = state.context();
    status["block_id"] = "status".into();
    blocks.push(status);
    blocks.push(Markup::default().code(&request.id.to_string()).context());
    let text = Markup::default()
        .person(&request.requester, scene.names)
        .text(" asks for ")
        .then(what(scene))
        .text(" for ")
        .ttl(request.ttl)
        .text(" · ")
        .then(state);
    Message {
        text: text.as_str().to_owned(),
        blocks,
    }
}

/// The card as an answer that nobody changes later: what can be done is behind a button that opens
/// it as it is then, because a button of its own would stay when there is nothing to do any more.
pub(crate) fn card_to_open(scene: &Scene<'_>) -> Message {
    let mut message = card(scene);
    let decide = |block: &&mut Value| block["block_id"] == "decide";
    if let Some(block) = message.blocks.iter_mut().find(decide) {
        let reference = reference(scene.request);
        let open = button(action::REVIEW, "Open…", Style::Default, &reference);
        *block = actions("open", vec![open]);
    }
    message
}

fn facts(scene: &Scene<'_>) -> Value {
    let request = scene.request;
    let mut who = Markup::new("*Who*\n").person(&request.requester, scene.names);
    if request.beneficiary != request.requester {
        who = who.text(" for ").person(&request.beneficiary, scene.names);
    }
    let asked = Markup::new("*How long*\n").ttl(request.ttl);
    let needed = request.terms.approvals;
    let tier = Markup::new("*Tier*\n")
        .code(request.terms.tier.as_str())
        .text(" · ")
        .number(needed.into())
        .text(if needed == 1 {
            " approval"
        } else {
            " approvals"
        });
    let mut fields = vec![
        who,
        named(scene),
        Markup::new("*Meaning*\n").code(&scene.title),
        asked,
        tier,
    ];
    if matches!(request.stage, Stage::Pending) {
        fields.push(Markup::new("*Answer by*\n").at(request.decide_by, Show::DayAndTime));
    }
    let part = request.parts.first();
    if let Some(fallback) = &part.fallback {
        let instead = Markup::new("*If it cannot be made*\n");
        fields.push(instead.code(fallback.entitlement.as_str()).text(" instead"));
    }
    let residual = part.lives_on(request.ttl.duration());
    if residual > Duration::ZERO {
        let secs = residual.as_secs();
        let lasting = Ttl::from_secs(secs).map_or_else(|_| format!("{secs} s"), spoken);
        fields.push(Markup::new("*Lives on after the end*\nat most ").code(&lasting));
    }
    let fields: Vec<Value> = fields.iter().map(Markup::object).collect();
    json!({"type": "section", "block_id": "facts", "fields": fields})
}

/// What is asked for, and what that is called by its parameters, which stand below it whole.
fn named(scene: &Scene<'_>) -> Markup {
    let line = Markup::new("*What*\n").then(what(scene));
    match &scene.request.parts.first().label {
        Some(label) => line.text("\n").code(label),
        None => line,
    }
}

/// What is asked for exactly: all of it, because whoever approves answers for all of it.
fn parameters(request: &AccessRequest) -> Vec<Value> {
    let parameters = &request.parts.first().parameters;
    if parameters.is_empty() {
        return vec![];
    }
    let parameters = Value::from(parameters.clone()).to_string();
    let mut blocks = vec![Markup::new("*Parameters*").section()];
    blocks.extend(whole(&parameters));
    blocks
}

fn buttons(request: &AccessRequest) -> Vec<Value> {
    let reference = reference(request);
    match &request.stage {
        Stage::Pending => vec![
            labelled(
                button(
                    action::APPROVE,
                    &format!("Approve {}", spoken(request.ttl)),
                    Style::Primary,
                    &reference,
                ),
                &format!("Approve request {}", short(request.id)),
            ),
            button(
                action::SHORTEN,
                "Approve for less…",
                Style::Default,
                &reference,
            ),
            labelled(
                button(action::DENY, "Deny…", Style::Danger, &reference),
                &format!("Deny request {}", short(request.id)),
            ),
            button(action::WITHDRAW, "Withdraw", Style::Default, &reference),
        ],
        Stage::Granted(grant) if grant.is_live() && !is_ending(&grant.phase) => {
            let ask = Confirm {
                title: "Revoke?",
                text: "The access ends at once.".to_owned(),
                yes: "Revoke",
                no: "Back",
            };
            let button = button(action::REVOKE, "Revoke now", Style::Danger, &reference);
            vec![confirmed(button, &ask)]
        }
        Stage::Granted(_)
        | Stage::Denied { .. }
        | Stage::Withdrawn { .. }
        | Stage::Lapsed
        | Stage::Invalidated { .. } => vec![],
    }
}

fn is_ending(phase: &Phase) -> bool {
    match phase {
        Phase::Revoking { .. } | Phase::Settling { .. } => true,
        Phase::Approved
        | Phase::Provisioning { .. }
        | Phase::Active
        | Phase::Closed { .. }
        | Phase::Cancelled { .. } => false,
    }
}

/// Who else may decide, and from when on, while it waits.
fn ladder(request: &AccessRequest) -> Option<Value> {
    if request.stage != Stage::Pending || request.ladder.is_empty() {
        return None;
    }
    let steps = request.ladder.iter().map(|rung| match rung.reached_at {
        Some(at) => whom(Markup::new(":ladder: "), &rung.to)
            .text(" may decide since ")
            .at(at, Show::Time),
        None => whom(Markup::new(":ladder: "), &rung.to)
            .text(" may decide from ")
            .at(rung.at, Show::Time),
    });
    let steps: Vec<Value> = steps.map(|step| step.object()).collect();
    Some(json!({"type": "context", "block_id": "ladder", "elements": steps}))
}

/// Whom a step of the ladder names, as the rules do.
fn whom(mut line: Markup, to: &BTreeSet<Who>) -> Markup {
    for (place, who) in to.iter().take(STEP_NAMES).enumerate() {
        if place > 0 {
            line = line.text(", ");
        }
        line = match who {
            Who::AnyPerson => line.text("everybody"),
            Who::Manager => line.text("the manager"),
            Who::AnyAgent | Who::Group(_) | Who::Principal(_) => line.code(&who.to_string()),
        };
    }
    match u64::try_from(to.len().saturating_sub(STEP_NAMES)) {
        Ok(0) | Err(_) => line,
        Ok(more) => line.text(" and ").number(more).text(" more"),
    }
}

/// How far it is, in one line.
pub(super) fn state(scene: &Scene<'_>) -> Markup {
    let names = scene.names;
    match &scene.request.stage {
        Stage::Pending => pending(scene),
        Stage::Denied { by, .. } => Markup::new(":no_entry: Denied by ").person(by, names),
        Stage::Withdrawn { by } => {
            Markup::new(":leftwards_arrow_with_hook: Withdrawn by ").person(by, names)
        }
        Stage::Lapsed => Markup::new(":zzz: Nobody answered in time"),
        Stage::Invalidated { why } => Markup::new(":no_entry: No longer valid: ").text(match why {
            Mismatch::PolicyChanged => "what it asked for has changed",
            Mismatch::NoLongerEligible => "the person may no longer have it",
            Mismatch::Revoked => "it was revoked",
        }),
        Stage::Granted(grant) => granted(scene, grant),
    }
}

fn pending(scene: &Scene<'_>) -> Markup {
    let request = scene.request;
    let count = u64::try_from(request.approvals.len()).unwrap_or(u64::MAX);
    let mut line = Markup::new(":hourglass_flowing_sand: Pending · ")
        .number(count)
        .text(" of ")
        .number(request.terms.approvals.into())
        .text(" approvals");
    for approval in &request.approvals {
        line = line
            .text(" · ")
            .then(approver(&approval.by, scene))
            .text(" approved ")
            .at(approval.at, Show::Time);
    }
    line
}

fn approver(by: &Approver, scene: &Scene<'_>) -> Markup {
    match by {
        Approver::Person(id) => Markup::default().person(id, scene.names),
        Approver::Automatic => Markup::new("nobody: the tier approves by itself"),
    }
}

fn granted(scene: &Scene<'_>, grant: &Grant) -> Markup {
    let stuck = grant.stuck.map(|why| match why {
        Stuck::NotAccepted => "no revoke was accepted yet",
        Stuck::NotVerified => "it is not verified gone yet",
        Stuck::Refused => "the provider refuses to take it away",
    });
    match &grant.phase {
        Phase::Approved | Phase::Provisioning { .. } => {
            approved(scene, grant).text(" · being given")
        }
        Phase::Active => approved(scene, grant)
            .text(" · active until ")
            .at(grant.expires_at, Show::DayAndTime),
        Phase::Revoking { ending } => match stuck {
            Some(why) => Markup::new(":rotating_light: STUCK: ")
                .text(why)
                .text("; people were paged, and it is tried again"),
            None => Markup::new(":hourglass: Ending: ").text(cause(ending.cause)),
        },
        Phase::Settling { ending, .. } => over(ending.cause),
        Phase::Closed {
            end: End::Gone { cause },
        } => over(*cause),
        Phase::Closed {
            end: End::Superseded { by },
        } => taken_over(*by),
        Phase::Cancelled { why } => Markup::new(":no_entry: Never given: ").text(cancelled(*why)),
    }
}

fn taken_over(by: RequestId) -> Markup {
    Markup::new(":fast_forward: Taken over by ").code(&by.to_string())
}

/// By whom and for how long.
fn approved(scene: &Scene<'_>, grant: &Grant) -> Markup {
    let request = scene.request;
    let mut line = Markup::new(":white_check_mark: Approved by ");
    for (place, approval) in request.approvals.iter().enumerate() {
        if place > 0 {
            line = line.text(", ");
        }
        line = line.then(approver(&approval.by, scene));
    }
    let secs = grant.expires_at.since(grant.approved_at).as_secs();
    match Ttl::from_secs(secs) {
        Ok(given) if given != request.ttl => line
            .text(" for ")
            .ttl(given)
            .text(" (asked ")
            .ttl(request.ttl)
            .text(")"),
        Ok(given) => line.text(" for ").ttl(given),
        Err(_) => line,
    }
}

fn over(why: Cause) -> Markup {
    match why {
        Cause::Failed => {
            Markup::new(":warning: It could not be given or went missing, and is gone")
        }
        Cause::Expired | Cause::Ended | Cause::Revoked => {
            Markup::new(":lock: Ended: ").text(cause(why))
        }
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

/// What the thread says of these events, a line each; nothing where there is nothing to say.
pub(crate) fn thread(scene: &Scene<'_>, news: &[AuditEvent], whom: &Mentions) -> Option<Message> {
    let mut said: Option<Markup> = None;
    let mut quotes = vec![];
    for event in news {
        let Some(line) = line(scene, event, whom) else {
            continue;
        };
        said = Some(match said {
            // Cut between lines: within one it might lose the end of a code span.
            Some(before) if before.len() + line.len() > MARKUP_LIMIT - 100 => {
                said = Some(before.text("\n… and more, as the card shows"));
                break;
            }
            Some(before) => before.text("\n").then(line),
            None => line,
        });
        quotes.extend(reason_of(&event.event.what).map(quote));
    }
    let said = said?;
    let mut blocks = vec![said.section()];
    blocks.extend(quotes.into_iter().take(10));
    Some(Message {
        text: said.as_str().to_owned(),
        blocks,
    })
}

/// What the thread says of a request that nobody answers.
pub(crate) fn reminder(scene: &Scene<'_>, whom: &Mentions) -> Message {
    let line = mention(Markup::new(":bell: "), whom)
        .person(&scene.request.requester, scene.names)
        .text(" still waits for an answer; it lapses ")
        .at(scene.request.decide_by, Show::DayAndTime);
    Message {
        text: line.as_str().to_owned(),
        blocks: vec![line.section()],
    }
}

fn mention(mut line: Markup, whom: &Mentions) -> Markup {
    for group in &whom.groups {
        line = line.group(group).text(" ");
    }
    for user in &whom.users {
        line = line.user(user).text(" ");
    }
    line
}

fn reason_of(fact: &Fact) -> Option<&str> {
    match fact {
        Fact::Denied { reason } => Some(reason.as_str()),
        Fact::Invalidated { reason, .. }
        | Fact::Cancelled { reason, .. }
        | Fact::Ending { reason, .. } => reason.as_ref().map(|reason| reason.as_str()),
        _ => None,
    }
}

fn line(scene: &Scene<'_>, event: &AuditEvent, mentioned: &Mentions) -> Option<Markup> {
    let names = scene.names;
    let by = |line: Markup| match &event.actor {
        Actor::Principal { id, .. } => line.text(" by ").person(id, names),
        Actor::System | Actor::Operator => line,
    };
    Some(match &event.event.what {
        Fact::Approved {
            by, count, needed, ..
        } => Markup::new(":white_check_mark: Approved by ")
            .then(approver(by, scene))
            .text(" · ")
            .number((*count).into())
            .text(" of ")
            .number((*needed).into()),
        Fact::ApprovalDropped { by } => Markup::new(":warning: The approval of ")
            .person(by, names)
            .text(" no longer counts: the right to approve is gone"),
        Fact::ApprovalRetracted { by } => Markup::default()
            .person(by, names)
            .text(" took the approval back"),
        Fact::Denied { .. } => by(Markup::new(":no_entry: Denied")),
        Fact::Withdrawn => by(Markup::new(":leftwards_arrow_with_hook: Withdrawn")),
        Fact::Escalated { to, .. } => {
            let line = mention(Markup::new(":ladder: "), mentioned);
            whom(line.text("Nobody decided so far; from now on so may "), to)
        }
        Fact::Lapsed => Markup::new(":zzz: Nobody answered in time; ask again"),
        Fact::Invalidated { .. } => by(Markup::new(":no_entry: No longer valid")),
        Fact::Cancelled { why, .. } => {
            Markup::new(":no_entry: Never given: ").text(cancelled(*why))
        }
        Fact::Activated { expires_at } => {
            Markup::new(":unlock: Active until ").at(*expires_at, Show::DayAndTime)
        }
        Fact::FellBack { to } => {
            Markup::new(":warning: It could not be made; instead: ").code(to.as_str())
        }
        Fact::Collected => Markup::new(":unlock: Collected"),
        Fact::Ending { cause: why, .. } => {
            by(Markup::new(":hourglass: Ending: ").text(cause(*why)))
        }
        Fact::Settling { .. } => Markup::new(":lock: Ended, and verified at the provider"),
        Fact::Reappeared => Markup::new(":warning: It was gone and is there again; revoking"),
        Fact::LateEffect { .. } => Markup::new(":warning: A call took effect late; looking again"),
        Fact::StoreAway { .. } => {
            Markup::new(":warning: Taken away on time while the store was away; looking again")
        }
        Fact::Missing => {
            Markup::new(":warning: The access is missing at the provider, by other hands")
        }
        Fact::Stuck { .. } => {
            Markup::new(":rotating_light: STUCK: the end is late, people were paged")
        }
        Fact::Unstuck => Markup::new(":ok: No longer stuck"),
        Fact::Closed {
            end: End::Superseded { by },
        } => taken_over(*by),
        Fact::Requested { .. }
        | Fact::Granted { .. }
        | Fact::GrantIntended { .. }
        | Fact::GrantAnswered { .. }
        | Fact::RevokeIntended { .. }
        | Fact::RevokeAnswered { .. }
        | Fact::Closed {
            end: End::Gone { .. },
        } => return None,
    })
}
