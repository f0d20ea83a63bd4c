//! What the person who gets the access is told in private, and who asked for it.

use jit_core::principal::PrincipalId;
use jit_core::request::{End, Phase, Stage};
use jit_core::{Timestamp, provider::Kind};

use super::card::state;
use super::{Message, Scene, actions, again_button, done_button, what};
use crate::text::{Markup, Show, plain, quote};

/// What a person is told of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Moment {
    /// The access is there, or waits to be collected until this instant.
    Given,
    /// It ends soon.
    Expiring,
    /// Others took it away at the provider.
    Missing,
    /// A later grant goes on with it, and has messages of its own.
    TakenOver,
    /// It is over, or will never be.
    Over,
}

/// The message of this moment, for this reader: who asks for somebody else is told as well, and
/// has nothing themselves. The first is changed into what is true once the access is over or taken
/// over, so that no button is left that does nothing.
pub(crate) fn dm(scene: &Scene<'_>, moment: Moment, reader: &PrincipalId) -> Message {
    match moment {
        Moment::Given => given(scene, reader),
        Moment::Expiring => expiring(scene, reader),
        Moment::Missing => missing(scene, reader),
        Moment::TakenOver => taken_over(scene, reader),
        Moment::Over => over(scene, reader),
    }
}

fn ends_at(scene: &Scene<'_>) -> Timestamp {
    let grant = scene.request.grant();
    grant.map_or(scene.request.decide_by, |grant| grant.expires_at)
}

fn has_it(scene: &Scene<'_>, reader: &PrincipalId) -> bool {
    scene.request.beneficiary == *reader
}

/// What it is, and whose where it is not the reader's own.
fn whose(scene: &Scene<'_>, reader: &PrincipalId) -> Markup {
    let line = Markup::default().then(what(scene));
    if has_it(scene, reader) {
        return line;
    }
    line.text(" for ")
        .person(&scene.request.beneficiary, scene.names)
}

fn given(scene: &Scene<'_>, reader: &PrincipalId) -> Message {
    let request = scene.request;
    let minted = request.parts.first().provider.kind == Kind::Minted;
    let waits = request
        .grant()
        .is_some_and(|grant| matches!(grant.phase, Phase::Approved));
    let line = Markup::new(":white_check_mark: ");
    let line = match (minted && waits, request.grant()) {
        // A credential is collected by whoever asked for it.
        (true, Some(grant)) if request.requester == *reader => line
            .then(whose(scene, reader))
            .text(" is approved; collect it by ")
            .at(grant.provision_by, Show::DayAndTime),
        (true, Some(grant)) => line
            .then(what(scene))
            .text(" is approved for you; ")
            .person(&request.requester, scene.names)
            .text(" collects it by ")
            .at(grant.provision_by, Show::DayAndTime),
        _ if has_it(scene, reader) => line
            .then(what(scene))
            .text(" is yours until ")
            .at(ends_at(scene), Show::DayAndTime),
        _ => line
            .person(&request.beneficiary, scene.names)
            .text(" has ")
            .then(what(scene))
            .text(" until ")
            .at(ends_at(scene), Show::DayAndTime),
    };
    let mut blocks = vec![line.section()];
    if has_it(scene, reader) && !scene.how_to_use.is_empty() {
        let how = plain(&scene.how_to_use, 3_000);
        blocks.push(serde_json::json!({"type": "section", "text": how}));
    }
    // Both may return it early.
    blocks.push(actions("grant", vec![done_button(request)]));
    Message {
        text: line.as_str().to_owned(),
        blocks,
    }
}

fn expiring(scene: &Scene<'_>, reader: &PrincipalId) -> Message {
    let request = scene.request;
    let line = Markup::new(":alarm_clock: ")
        .then(whose(scene, reader))
        .text(" ends ")
        .at(ends_at(scene), Show::Time)
        .text(". Nothing is renewed by itself; ask again if ")
        .text(match has_it(scene, reader) {
            true => "you need longer.",
            false => "they need longer.",
        });
    let buttons = vec![again_button(request), done_button(request)];
    Message {
        text: line.as_str().to_owned(),
        blocks: vec![line.section(), actions("expiring", buttons)],
    }
}

fn missing(scene: &Scene<'_>, reader: &PrincipalId) -> Message {
    let line = Markup::new(":warning: ")
        .then(whose(scene, reader))
        .text(
            " is missing at the provider: somebody took it away there. It is not given again by \
             itself; return it, and ask again if ",
        )
        .text(match has_it(scene, reader) {
            true => "you need it.",
            false => "they need it.",
        });
    Message {
        text: line.as_str().to_owned(),
        blocks: vec![
            line.section(),
            actions("missing", vec![done_button(scene.request)]),
        ],
    }
}

/// What was said of a grant that a later one goes on with: its end is not the end of the access,
/// and neither of its buttons does anything.
fn taken_over(scene: &Scene<'_>, reader: &PrincipalId) -> Message {
    let line = whose(scene, reader).text(" · ").then(state(scene));
    Message {
        text: line.as_str().to_owned(),
        blocks: vec![line.section()],
    }
}

fn over(scene: &Scene<'_>, reader: &PrincipalId) -> Message {
    let request = scene.request;
    let line = whose(scene, reader).text(" · ").then(state(scene));
    let mut blocks = vec![line.section()];
    if let Stage::Denied { reason, .. } = &request.stage {
        blocks.push(quote(reason.as_str()));
    }
    blocks.push(actions("over", vec![again_button(request)]));
    Message {
        text: line.as_str().to_owned(),
        blocks,
    }
}

/// What the person is to know at this stage, if anything.
pub(crate) fn dm_moment(stage: &Stage, kind: Kind) -> Option<Moment> {
    match stage {
        Stage::Pending => None,
        Stage::Denied { .. }
        | Stage::Withdrawn { .. }
        | Stage::Lapsed
        | Stage::Invalidated { .. } => Some(Moment::Over),
        Stage::Granted(grant) => match &grant.phase {
            // A credential waits for its asker; other access is only told once it is there.
            Phase::Approved if kind == Kind::Minted => Some(Moment::Given),
            Phase::Active => Some(Moment::Given),
            Phase::Approved | Phase::Provisioning { .. } | Phase::Revoking { .. } => None,
            Phase::Closed {
                end: End::Superseded { .. },
            } => Some(Moment::TakenOver),
            Phase::Settling { .. } | Phase::Closed { .. } | Phase::Cancelled { .. } => {
                Some(Moment::Over)
            }
        },
    }
}
