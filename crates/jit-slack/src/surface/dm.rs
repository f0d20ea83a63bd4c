//! What the person who gets the access is told in private.

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
    /// It is over, or will never be.
    Over,
}

/// The message of this moment. The first is changed into what is true once the access is over, so
/// that no button is left that does nothing.
pub(crate) fn dm(scene: &Scene<'_>, moment: Moment) -> Message {
    match moment {
        Moment::Given => given(scene),
        Moment::Expiring => expiring(scene),
        Moment::Over => over(scene),
    }
}

fn ends_at(scene: &Scene<'_>) -> Timestamp {
    let grant = scene.request.grant();
    grant.map_or(scene.request.decide_by, |grant| grant.expires_at)
}

fn given(scene: &Scene<'_>) -> Message {
    let request = scene.request;
    let minted = request.parts.first().provider.kind == Kind::Minted;
    let waits = request
        .grant()
        .is_some_and(|grant| matches!(grant.phase, Phase::Approved));
    let line = match (minted && waits, request.grant()) {
        (true, Some(grant)) => Markup::new(":white_check_mark: ")
            .then(what(scene))
            .text(" is approved; collect it by ")
            .at(grant.provision_by, Show::DayAndTime),
        _ => Markup::new(":white_check_mark: ")
            .then(what(scene))
            .text(" is yours until ")
            .at(ends_at(scene), Show::DayAndTime),
    };
    let mut blocks = vec![line.section()];
    if !scene.how_to_use.is_empty() {
        let how = plain(scene.how_to_use, 3_000);
        blocks.push(serde_json::json!({"type": "section", "text": how}));
    }
    blocks.push(actions("grant", vec![done_button(request)]));
    Message {
        text: line.as_str().to_owned(),
        blocks,
    }
}

fn expiring(scene: &Scene<'_>) -> Message {
    let request = scene.request;
    let line = Markup::new(":alarm_clock: ")
        .then(what(scene))
        .text(" ends ")
        .at(ends_at(scene), Show::Time)
        .text(". Nothing is renewed by itself; ask again if you need longer.");
    let buttons = vec![again_button(request), done_button(request)];
    Message {
        text: line.as_str().to_owned(),
        blocks: vec![line.section(), actions("expiring", buttons)],
    }
}

fn over(scene: &Scene<'_>) -> Message {
    let request = scene.request;
    let line = Markup::default()
        .then(what(scene))
        .text(" · ")
        .then(state(scene));
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
            // A later grant of theirs goes on without a gap.
            Phase::Closed {
                end: End::Superseded { .. },
            } => None,
            Phase::Settling { .. } | Phase::Closed { .. } | Phase::Cancelled { .. } => {
                Some(Moment::Over)
            }
        },
    }
}
