//! What was decided: once, by enough people who may, by a service that may.

use std::collections::BTreeSet;
use std::time::Duration;

use jit_core::Timestamp;
use jit_core::audit::{Fact, Link, SystemFact};
use jit_core::principal::PrincipalId;
use jit_core::request::{Approver, RequestId, Status};

use super::slots::applying;
use super::{Judge, Story};

/// Facts may be 5 s old at a commit, which takes a moment itself.
const FACTS_OLD: Duration = Duration::from_secs(6);
/// Whether new access is paused is read before people are looked up, which may take three tries of
/// three seconds each.
const READINESS_OLD: Duration = Duration::from_secs(16);
/// Above this offset a replica grants and approves nothing (K1).
const CLOCK_LIMIT: Duration = Duration::from_secs(5);

impl Judge<'_> {
    pub(super) fn decided(&mut self) {
        self.decisions();
        self.ready();
        self.deadlines();
    }

    /// S5, S6, S9, S11: each request is decided once, by enough people who may.
    fn decisions(&mut self) {
        let mut found = vec![];
        for (id, story) in &self.stories {
            let mut decided = 0;
            let mut approvers: BTreeSet<PrincipalId> = BTreeSet::new();
            let mut expires_at: Option<Timestamp> = None;
            for (at, event) in &story.events {
                match &event.event.what {
                    Fact::Approved {
                        by: Approver::Person(by),
                        ..
                    } if !approvers.insert(self.world.people.canonical(by)) => {
                        found.push(("S5", format!("{id}: {by} counted twice")));
                    }
                    Fact::ApprovalDropped { by } | Fact::ApprovalRetracted { by } => {
                        approvers.remove(by);
                    }
                    Fact::Denied { .. }
                    | Fact::Withdrawn
                    | Fact::Lapsed
                    | Fact::Invalidated { .. } => decided += 1,
                    Fact::Granted { expires_at, .. } => {
                        decided += 1;
                        let longest = event.at + story.record.ttl.duration();
                        if *expires_at > longest {
                            found.push(("S6", format!("{id}: ends after {longest}")));
                        }
                        let automatic = matches!(
                            story.record.approvals.first().map(|it| &it.by),
                            Some(Approver::Automatic)
                        );
                        let needed = usize::from(story.record.terms.approvals);
                        if !automatic && approvers.len() < needed {
                            found.push(("S5", format!("{id}: too few people approved")));
                        }
                        found.extend(self.absent(story, &approvers, *at));
                    }
                    Fact::GrantIntended { .. } => {
                        found.extend(self.absent(story, &approvers, *at));
                    }
                    _ => {}
                }
                if let (Some(before), Some(after)) = (expires_at, event.event.expires_at)
                    && after > before
                {
                    found.push((
                        "S6",
                        format!("{id}: the end moved from {before} to {after}"),
                    ));
                }
                expires_at = event.event.expires_at.or(expires_at);
            }
            if decided != 1 {
                found.push(("S5", format!("{id}: decided {decided} times")));
            }
        }
        found
            .into_iter()
            .for_each(|(invariant, what)| self.violation(invariant, what));
    }

    /// Whoever had to be there and was not, for longer than facts may be old.
    fn absent(
        &self,
        story: &Story,
        approvers: &BTreeSet<PrincipalId>,
        at: Timestamp,
    ) -> Vec<(&'static str, String)> {
        let record = &story.record;
        let own = [&record.requester, &record.beneficiary];
        let mut found = vec![];
        for who in own.into_iter().chain(approvers) {
            let people = &self.world.people;
            if let Some(loss) = people.lacked(who, at - FACTS_OLD, at) {
                let id = record.id;
                found.push(("S11", format!("{id}: {who} lacked their {loss:?} at {at}")));
            }
        }
        for by in approvers {
            let by = &self.world.people.canonical(by);
            let is_own = own
                .iter()
                .any(|own| self.world.people.canonical(own) == *by);
            if is_own {
                found.push((
                    "S9",
                    format!("{}: {by} decided their own request", record.id),
                ));
            }
        }
        found
    }

    /// K1 and the pause: nothing is approved or granted while an operator paused new access, or by
    /// a replica that had to know that its clock is off.
    fn ready(&mut self) {
        let journal = self.world.diary.committed.lock().unwrap().clone();
        let mut paused_since: Option<Timestamp> = None;
        let mut newest: Vec<(Timestamp, Timestamp)> = vec![];
        let mut found = vec![];
        for committed in &journal {
            let at = committed.at;
            if let Ok(link) = serde_json::from_str::<Link<SystemFact>>(&committed.sealed.body) {
                match link.event {
                    SystemFact::Paused => paused_since = paused_since.or(Some(at)),
                    SystemFact::Resumed => paused_since = None,
                    _ => {}
                }
                continue;
            }
            let event = committed.sealed.event().unwrap();
            let gives = match &event.event.what {
                // Nothing of the kind is asked about an approval that is not the last.
                Fact::Granted { .. } | Fact::GrantIntended { .. } => true,
                _ => false,
            };
            let seen = newest
                .iter()
                .rev()
                .find(|(when, _)| *when <= at - FACTS_OLD);
            let newest_at = newest
                .last()
                .map_or(event.at, |(_, newest)| event.at.max(*newest));
            let chain = &event.chain;
            if gives {
                if paused_since.is_some_and(|since| at > since + READINESS_OLD) {
                    found.push(("Paused", format!("{chain}: gave access at {at}")));
                }
                // It saw that commit when it last asked what is due, before its facts.
                if let Some((_, ahead)) = seen
                    && *ahead > committed.clock + CLOCK_LIMIT
                {
                    let clock = committed.clock;
                    found.push((
                        "K1",
                        format!("{chain}: gave access at {clock}, which is off"),
                    ));
                }
            }
            newest.push((at, newest_at));
        }
        found
            .into_iter()
            .for_each(|(invariant, what)| self.violation(invariant, what));
    }

    /// L5: everything that waits comes to an end by its deadline, and what is stuck is paged.
    fn deadlines(&mut self) {
        let slack = Duration::from_secs(20);
        let mut found = vec![];
        let pages = self.world.pages.lock().unwrap().clone();
        for (id, story) in &self.stories {
            let mut since: Option<(Status, Timestamp, Timestamp)> = None;
            for (at, event) in &story.events {
                let status = event.event.status;
                if let Some((before, _, deadline)) = since
                    && before != status
                    && *at > self.bounds_from(deadline) + slack
                {
                    found.push(("L5", format!("{id}: {before} until {at}, not {deadline}")));
                }
                since = match (&event.event.what, status) {
                    (Fact::Granted { provision_by, .. }, _) => {
                        Some((Status::Approved, *at, *provision_by))
                    }
                    (_, Status::Pending) => Some((Status::Pending, *at, story.record.decide_by)),
                    (_, Status::Approved) => since,
                    _ => None,
                };
                if matches!(event.event.what, Fact::Stuck { .. })
                    && !pages.iter().any(|page| page.request == Some(*id))
                {
                    found.push(("L5", format!("{id}: stuck, and nobody was paged")));
                }
            }
            found.extend(self.stuck(*id, story));
        }
        found
            .into_iter()
            .for_each(|(invariant, what)| self.violation(invariant, what));
    }

    /// L5: an ending without progress is flagged. L2: it is tried again and again.
    fn stuck(&self, id: RequestId, story: &Story) -> Vec<(&'static str, String)> {
        let provider = story.record.place().provider;
        let late = Duration::from_secs(60 + 30) + provider.applied_within * applying(story);
        let mut found = vec![];
        let mut revoking_since: Option<Timestamp> = None;
        let mut flagged = false;
        let mut was = Status::Pending;
        for (at, event) in &story.events {
            let before = std::mem::replace(&mut was, event.event.status);
            match (&event.event.what, event.event.status) {
                (Fact::Stuck { .. }, _) => flagged = true,
                // Its end was seen without the store, which is believed only where it came in time.
                (_, Status::Settling) if before == Status::Active => {
                    let expires_at = story.record.grant().map(|grant| grant.expires_at);
                    let by = expires_at.unwrap_or(*at) + late + self.clock_room();
                    if self.stood_at(story, by) {
                        found.push(("L5", format!("{id}: there at {by}, never stuck")));
                    }
                }
                (_, Status::Revoking) => {
                    revoking_since.get_or_insert(*at);
                }
                _ => {
                    if let Some(since) = revoking_since.take()
                        && *at > since + late
                        && !flagged
                    {
                        found.push(("L5", format!("{id}: late since {since}, never stuck")));
                    }
                    flagged = false;
                }
            }
        }
        found
    }
}
