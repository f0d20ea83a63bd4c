//! The judge: reads the provider's ledger, the store and the audit after a run, knows nothing of
//! how the engine works, and says which promise was broken.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jit_core::Timestamp;
use jit_core::audit::{AuditEvent, CallResult, Fact};
use jit_core::digest::Digest;
use jit_core::engine::verify_audit;
use jit_core::principal::PrincipalId;
use jit_core::provider::{Kind, SlotKey, Target};
use jit_core::request::{AccessRequest, Approver, End, RequestId, Status};
use jit_testkit::hostile::{Hand, HostileProvider, Interval, Operation};

use super::{Mood, Outcome, REALM, SKEW, World};

/// One request's audit, each event with the true time of its commit.
struct Story {
    record: AccessRequest,
    events: Vec<(Timestamp, AuditEvent)>,
}

/// A time in which a grant owned its slot.
#[derive(Debug, Clone, Copy)]
struct Life {
    owner: RequestId,
    from: Timestamp,
    until: Timestamp,
    /// When the access had to end: the end that counted, and the time to take it away.
    ends_by: Timestamp,
}

struct Judge<'a> {
    world: &'a World,
    stories: BTreeMap<RequestId, Story>,
    violations: Vec<String>,
}

pub(crate) async fn judge(world: &World, ended: bool) -> Outcome {
    let journal = world.store.journal.lock().unwrap().clone();
    let records = world.records().await;
    let mut stories: BTreeMap<RequestId, Story> = records
        .into_iter()
        .map(|record| {
            (
                record.id,
                Story {
                    record,
                    events: vec![],
                },
            )
        })
        .collect();
    for committed in &journal {
        let event = committed.sealed.event().unwrap();
        let id: RequestId = event.chain.parse().unwrap();
        if let Some(story) = stories.get_mut(&id) {
            story.events.push((committed.at, event));
        }
    }
    let mut judge = Judge {
        world,
        stories,
        violations: vec![],
    };
    if !ended {
        judge.violation("L2", "something was never brought to its end");
    }
    judge.audit().await;
    judge.decisions();
    judge.deadlines();
    judge.calls(&world.standing);
    judge.calls(&world.minter);
    judge.slots();
    judge.credentials();
    let mut counts = world.counts.all();
    judge.count_edges(&mut counts);
    for provider in [&world.standing, &world.minter] {
        for (fault, count) in provider.fault_counts() {
            *counts.entry(format!("fault {fault}")).or_default() += count;
        }
    }
    let bodies: String = journal
        .iter()
        .map(|it| format!("{}{}", it.at, it.sealed.body))
        .collect();
    let calls = format!(
        "{:?}{:?}",
        world.standing.ledger().calls(),
        world.minter.ledger().calls()
    );
    let trace = Digest::of_parts(&[bodies.as_bytes(), calls.as_bytes()]);
    Outcome {
        violations: judge.violations,
        counts,
        trace,
    }
}

impl Judge<'_> {
    fn violation(&mut self, invariant: &str, what: impl std::fmt::Display) {
        self.violations.push(format!("{invariant}: {what}"));
    }

    /// S16, S15: the audit is whole, and no secret is anywhere in it or in the store.
    async fn audit(&mut self) {
        let report = verify_audit(&self.world.store.memory).await.unwrap();
        for problem in report.problems {
            self.violation("S16", problem);
        }
        let secrets = self.world.secrets.lock().unwrap().clone();
        let mut collected = BTreeSet::new();
        for (id, _) in &secrets {
            if !collected.insert(*id) {
                self.violation("S15", format!("{id} was collected twice"));
            }
        }
        let stored: String = self
            .world
            .store
            .memory
            .stored()
            .into_iter()
            .map(|(_, text)| text)
            .collect();
        let chains = self.world.store.memory.all_chains();
        let chains: String = chains
            .into_values()
            .flatten()
            .map(|sealed| sealed.body)
            .collect();
        for (id, secret) in secrets {
            if stored.contains(&secret) || chains.contains(&secret) {
                self.violation("S15", format!("the secret of {id} was kept"));
            }
        }
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
                    } if !approvers.insert(by.clone()) => {
                        found.push(("S5", format!("{id}: {by} counted twice")));
                    }
                    Fact::ApprovalDropped { by } | Fact::ApprovalRetracted { by } => {
                        approvers.remove(by);
                    }
                    Fact::Denied { .. }
                    | Fact::Withdrawn
                    | Fact::Lapsed
                    | Fact::Invalidated { .. } => decided += 1,
                    Fact::Granted { .. } => {
                        decided += 1;
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
            if self
                .world
                .people
                .was_away(who, at - Duration::from_secs(6), at)
            {
                found.push(("S11", format!("{}: {who} was away at {at}", record.id)));
            }
        }
        for by in approvers {
            if own.contains(&by) {
                found.push((
                    "S9",
                    format!("{}: {by} decided their own request", record.id),
                ));
            }
        }
        found
    }

    /// What the provider could not do, or was asked to do late, is not ours: before this instant
    /// the bounds of a hostile run do not count.
    fn bounds_from(&self, at: Timestamp) -> Timestamp {
        match self.world.plan.mood {
            Mood::Calm => at,
            Mood::Hostile => {
                let calm_from = self
                    .world
                    .calm_from
                    .lock()
                    .unwrap()
                    .unwrap_or(Timestamp::MAX);
                // A hostile provider is out for two minutes at the most and fails one call in four.
                (at + Duration::from_secs(900)).min(at.max(calm_from) + Duration::from_secs(180))
            }
        }
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
        let provider = story.record.parts.first().provider;
        let late = Duration::from_secs(60 + 30) + provider.applied_within * 2;
        let mut found = vec![];
        let mut revoking_since: Option<Timestamp> = None;
        let mut flagged = false;
        for (at, event) in &story.events {
            match (&event.event.what, event.event.status) {
                (Fact::Stuck { .. }, _) => flagged = true,
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

    /// S1, S16: every call that was sent was intended first, once, and within its time.
    fn calls(&mut self, provider: &HostileProvider) {
        let mut sent: BTreeMap<(RequestId, Timestamp), usize> = BTreeMap::new();
        for call in provider.ledger().calls() {
            let id = call.request;
            let Some(story) = self.stories.get(&id) else {
                self.violation("S1", format!("a call for {id}, which does not exist"));
                continue;
            };
            match call.operation {
                Operation::Grant | Operation::Mint => {
                    let intended = story.events.iter().filter(|(at, event)| {
                        let send_before = match &event.event.what {
                            Fact::GrantIntended { send_before, .. } => *send_before,
                            _ => return false,
                        };
                        send_before == call.send_before && *at <= call.signed_at
                    });
                    // Two attempts may have one deadline: that of the grant.
                    let times = sent.entry((id, call.send_before)).or_default();
                    *times += 1;
                    if intended.count() < *times {
                        self.violation("S1", format!("{id}: a grant call without its intent"));
                    }
                    if call.signed_at >= call.send_before + SKEW {
                        self.violation("S3", format!("{id}: a grant call was sent too late"));
                    }
                }
                Operation::Revoke => {
                    let intended = story.events.iter().any(|(at, event)| {
                        let says = matches!(event.event.what, Fact::RevokeIntended { .. });
                        says && *at <= call.signed_at
                    });
                    if !intended {
                        self.violation("S16", format!("{id}: a delete without intent"));
                    }
                }
            }
        }
    }

    /// The times in which this request's grant owned its slot.
    fn lives(&self, story: &Story) -> Vec<Life> {
        let provider = story.record.parts.first().provider;
        let expires_at = story.record.grant().map(|grant| grant.expires_at);
        let mut ends_by = self.bounds_from(expires_at.unwrap_or(Timestamp::MAX))
            + Duration::from_secs(30)
            + provider.applied_within * 2
            + SKEW;
        if provider.kind == Kind::Minted {
            let gone_by = story.record.grant().and_then(|grant| {
                provider.gone_by(
                    grant.send_before.unwrap_or(grant.expires_at),
                    grant.expires_at,
                )
            });
            ends_by = ends_by.max(gone_by.unwrap_or(Timestamp::MIN) + SKEW);
        }
        let mut lives: Vec<Life> = vec![];
        let mut open: Option<Timestamp> = None;
        for (at, event) in &story.events {
            match (event.event.status.is_live(), open) {
                (true, None) => open = Some(*at),
                (false, Some(from)) => {
                    // A grant that a late effect re-opened must end soon after that.
                    let ends_by = if lives.is_empty() {
                        ends_by
                    } else {
                        self.bounds_from(ends_by.max(from)) + Duration::from_secs(90)
                    };
                    lives.push(Life {
                        owner: story.record.id,
                        from,
                        until: *at,
                        ends_by,
                    });
                    open = None;
                }
                (true, Some(_)) | (false, None) => {}
            }
        }
        if let Some(from) = open {
            let until = Timestamp::MAX;
            lives.push(Life {
                owner: story.record.id,
                from,
                until,
                ends_by,
            });
        }
        lives
    }

    /// S2, S3, S4, L1: access stands only while a grant owns its slot, one at a time, and goes in
    /// time.
    fn slots(&mut self) {
        let mut by_slot: BTreeMap<SlotKey, Vec<Life>> = BTreeMap::new();
        for story in self.stories.values() {
            let part = story.record.parts.first();
            if part.provider.kind == Kind::Standing {
                // What the slot really is, whatever the record calls it.
                let realm = REALM.to_owned();
                let target = Target {
                    realm,
                    ..part.target.clone()
                };
                let slot = target.slot_key(&part.parameters);
                by_slot.entry(slot).or_default().extend(self.lives(story));
            }
        }
        let mut found = vec![];
        for (slot, lives) in &mut by_slot {
            lives.sort_by_key(|life| life.from);
            for pair in lives.windows(2) {
                if let [one, two] = pair
                    && two.from < one.until
                {
                    found.push(("S4", format!("{} and {} at once", one.owner, two.owner)));
                }
            }
            let intervals = self.world.standing.ledger().effective_intervals(slot);
            found.extend(covered(&intervals, lives));
        }
        for (slot, ..) in self.world.standing.ledger().slots() {
            if !by_slot.contains_key(&slot) {
                let intervals = self.world.standing.ledger().effective_intervals(&slot);
                found.extend(covered(&intervals, &[]));
            }
        }
        found
            .into_iter()
            .for_each(|(invariant, what)| self.violation(invariant, what));
    }

    /// The same for credentials, whose slot is the request itself.
    fn credentials(&mut self) {
        let ledger = self.world.minter.ledger();
        let mut found = vec![];
        for (id, story) in &self.stories {
            found.extend(covered(&ledger.minted(*id), &self.lives(story)));
        }
        found
            .into_iter()
            .for_each(|(invariant, what)| self.violation(invariant, what));
    }

    /// How often each edge of the state diagram was taken.
    fn count_edges(&self, counts: &mut BTreeMap<String, u64>) {
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
                    (Fact::ApprovalDropped { .. }, _) => Some("approval dropped".to_owned()),
                    (Fact::ApprovalRetracted { .. }, _) => Some("approval retracted".to_owned()),
                    (Fact::Stuck { why }, _) => Some(format!("stuck {why:?}")),
                    (Fact::Missing, _) => Some("missing".to_owned()),
                    _ => None,
                };
                edge.into_iter()
                    .for_each(|edge| *counts.entry(edge).or_default() += 1);
                before = Some(after);
            }
        }
    }
}

/// Every instant of every interval must lie in the life of a grant that had not ended for long.
fn covered(intervals: &[Interval], lives: &[Life]) -> Vec<(&'static str, String)> {
    let mut found = vec![];
    for interval in intervals
        .iter()
        .filter(|interval| matches!(interval.by, Hand::Ours(_)))
    {
        let until = interval.until.unwrap_or(Timestamp::MAX);
        let mut at = interval.from;
        for life in lives
            .iter()
            .filter(|life| life.until > interval.from && life.from < until)
        {
            if life.from > at {
                found.push((
                    "S3",
                    format!("{:?} stands since {at} without owner", interval.by),
                ));
            }
            let end = until.min(life.until);
            if end > life.ends_by {
                let (owner, by) = (life.owner, life.ends_by);
                found.push((
                    "L1",
                    format!("{owner} should be gone by {by}, is there until {end}"),
                ));
            }
            at = at.max(life.until);
        }
        if at < until {
            let by = interval.by;
            found.push((
                "S2",
                format!("{by:?} stands from {at} to {until} without owner"),
            ));
        }
    }
    found
}
