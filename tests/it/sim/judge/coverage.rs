//! What a run has met.

use std::collections::BTreeMap;

use jit_core::audit::{CallResult, Fact};
use jit_core::request::{End, Status};

use super::Judge;

impl Judge<'_> {
    /// How often each edge of the state diagram was taken.
    pub(super) fn count_edges(&self, counts: &mut BTreeMap<String, u64>) {
        for story in self.stories.values() {
            let mut before: Option<Status> = None;
            for (_, event) in &story.events {
                let after = event.event.status;
                let edge = match (&event.event.what, before) {
                    (Fact::Cancelled { why, .. }, _) => Some(format!("edge cancelled {why:?}")),
                    (Fact::Invalidated { why, .. }, _) => Some(format!("edge invalidated {why:?}")),
                    (
                        Fact::Closed {
                            end: End::Superseded { .. },
                        },
                        Some(before),
                    ) => Some(format!("edge {before} to superseded")),
                    (
                        Fact::Closed {
                            end: End::Gone { cause },
                        },
                        _,
                    ) => Some(format!("edge closed {cause:?}")),
                    (Fact::GrantIntended { .. }, Some(Status::Provisioning)) => {
                        Some("edge provisioning to provisioning".to_owned())
                    }
                    (
                        Fact::GrantAnswered {
                            answer: CallResult::Unknown { .. },
                            ..
                        },
                        _,
                    ) => Some("answer unknown".to_owned()),
                    (Fact::LateEffect { .. }, Some(before)) => {
                        *counts
                            .entry(format!("late effect on {before}"))
                            .or_default() += 1;
                        Some(format!("edge {before} to {after}"))
                    }
                    (_, Some(before)) if before != after => {
                        Some(format!("edge {before} to {after}"))
                    }
                    _ => None,
                };
                // What may come together with a change of the status.
                let beside = match &event.event.what {
                    Fact::ApprovalDropped { .. } => Some("approval dropped".to_owned()),
                    Fact::ApprovalRetracted { .. } => Some("approval retracted".to_owned()),
                    Fact::Stuck { why } => Some(format!("stuck {why:?}")),
                    Fact::Unstuck => Some("unstuck".to_owned()),
                    Fact::Missing => Some("missing".to_owned()),
                    Fact::StoreAway { .. } => Some("revoked without the store".to_owned()),
                    Fact::FellBack { .. } => Some("fell back".to_owned()),
                    _ => None,
                };
                edge.into_iter()
                    .chain(beside)
                    .for_each(|edge| *counts.entry(edge).or_default() += 1);
                before = Some(after);
            }
        }
    }
}
