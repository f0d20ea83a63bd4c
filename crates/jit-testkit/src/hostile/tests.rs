//! Each fault on demand, judged by the ledger; and the contract suite on every friendly nature.

use jit_core::ports::{GrantCall, InspectCall, Minted, Provisioner, RevokeCall};
use jit_core::provider::Answer;
use jit_core::request::RequestId;

use super::*;
use crate::friendly::{A, Friendly, MINUTE, V, Virtual, minted, seeded, standing};
use crate::provisioner::provisioner_contract;

/// One provider, one person, one thing to ask for.
struct Scene {
    clock: Arc<Virtual>,
    provider: HostileProvider,
    ledger: Ledger,
    handle: HostileHandle,
    target: Target,
    parameters: Parameters,
}

impl Scene {
    fn new(nature: Nature) -> Self {
        Self::seeded(nature, 7)
    }

    fn seeded(nature: Nature, seed: u64) -> Self {
        let clock = Virtual::new(Duration::ZERO);
        let target = Target {
            realm: nature.realm.clone(),
            subject: "ana@example.com".parse().unwrap(),
            resource: "admins".to_owned(),
        };
        let provider =
            HostileProvider::new(nature, clock.clone(), seeded(seed)).named("admins", "admins");
        Self {
            ledger: provider.ledger(),
            handle: provider.as_seen_by(clock.clone()),
            provider,
            clock,
            target,
            parameters: Parameters::new(),
        }
    }

    fn hostile(self, hostility: Hostility) -> Self {
        self.provider.set_hostility(hostility);
        self
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    fn grant_call(&self, request: u8) -> GrantCall<'_> {
        GrantCall {
            request: id(request),
            target: &self.target,
            parameters: &self.parameters,
            template: None,
            expires_at: self.now() + 60 * MINUTE,
            send_before: self.now() + MINUTE,
        }
    }

    async fn grant(&self, request: u8) -> Result<Answer, PortError> {
        self.handle.grant(self.grant_call(request)).await
    }

    async fn mint(&self, request: u8) -> Result<Minted, PortError> {
        self.handle.mint(self.grant_call(request)).await
    }

    async fn revoke(&self, request: u8) -> Result<Answer, PortError> {
        let call = RevokeCall {
            request: id(request),
            target: &self.target,
            parameters: &self.parameters,
            handle: None,
            send_before: self.now() + MINUTE,
        };
        self.handle.revoke(call).await
    }

    async fn inspect(&self, request: u8) -> Result<Presence, PortError> {
        let call = InspectCall {
            purpose: jit_core::ports::Purpose::TakeAway,
            request: id(request),
            target: &self.target,
            parameters: &self.parameters,
            handle: None,
            expires_at: self.now() + 60 * MINUTE,
            send_before: Some(self.now() + MINUTE),
        };
        self.handle.inspect(call).await
    }

    fn present(&self) -> bool {
        self.ledger
            .present(&self.target, &self.parameters, self.now())
    }

    fn intervals(&self) -> Vec<Interval> {
        let slot = self.target.slot_key(&self.parameters);
        self.ledger.effective_intervals(&slot)
    }

    fn fault(&self, name: &str) -> u64 {
        self.provider
            .fault_counts()
            .get(name)
            .copied()
            .unwrap_or_default()
    }
}

fn id(number: u8) -> RequestId {
    RequestId::new(Timestamp::from_unix_micros(1), [number; 10])
}

async fn pass(time: Duration) {
    tokio::time::advance(time).await;
}

// ------------------------------------------------------------------------------ the contract

#[tokio::test(start_paused = true)]
async fn the_friendly_adapters_pass_the_contract() {
    let clock = Virtual::new(Duration::ZERO);
    let provider = memory_standing(clock.clone(), seeded(1));
    provisioner_contract(&mut Friendly::of(clock.clone(), provider)).await;
    let provider = memory_minter(clock.clone(), seeded(1));
    provisioner_contract(&mut Friendly::of(clock, provider)).await;
}

#[tokio::test(start_paused = true)]
async fn asynchronous_providers_pass_the_contract_whether_pending_is_visible_or_not() {
    let mut nature = standing(Apply::Later);
    provisioner_contract(&mut Friendly::new(nature.clone())).await;
    nature.description.pending_visible = false;
    provisioner_contract(&mut Friendly::new(nature.clone())).await;
    nature.description.native_expiry = NativeExpiry::Exact;
    provisioner_contract(&mut Friendly::new(nature)).await;
}

#[tokio::test(start_paused = true)]
async fn minters_of_every_declaration_pass_the_contract() {
    let mut nature = minted();
    nature.description.listable = false;
    nature.description.native_expiry = NativeExpiry::AtMost(60 * MINUTE);
    provisioner_contract(&mut Friendly::new(nature.clone())).await;
    nature.description.revocable = false;
    provisioner_contract(&mut Friendly::new(nature)).await;

    let mut nature = minted();
    nature.description.native_expiry = NativeExpiry::None;
    provisioner_contract(&mut Friendly::new(nature.clone())).await;
    nature.description.native_expiry = NativeExpiry::AtLeast(MINUTE);
    provisioner_contract(&mut Friendly::new(nature)).await;
}

// -------------------------------------------------------------------------------- the faults

#[tokio::test(start_paused = true)]
async fn a_call_that_is_turned_away_changes_nothing() {
    let cases = [
        (Fault::Throttled, Effect::None),
        (Fault::ErrorBefore, Effect::None),
        (Fault::ErrorBeforeUnknown, Effect::Unknown),
        (Fault::Outage, Effect::None),
        (Fault::Forbidden, Effect::None),
    ];
    for (fault, effect) in cases {
        let hostility = Hostility {
            throttled: 1_000 * u16::from(fault == Fault::Throttled),
            error_before: 1_000 * u16::from(fault == Fault::ErrorBefore),
            error_before_unknown: 1_000 * u16::from(fault == Fault::ErrorBeforeUnknown),
            outage: 1_000 * u16::from(fault == Fault::Outage),
            forbidden: 1_000 * u16::from(fault == Fault::Forbidden),
            outage_max: MINUTE,
            forbidden_max: MINUTE,
            retry_after_max: MINUTE,
            ..Hostility::default()
        };
        let scene = Scene::new(standing(Apply::AtOnce)).hostile(hostility);
        let error = scene.grant(1).await.unwrap_err();
        assert_eq!(error.effect, effect, "{fault:?}");
        assert!(scene.inspect(1).await.is_err(), "{fault:?} hits reads too");
        pass(V + A).await;
        assert!(!scene.present(), "{fault:?} changes nothing");
        assert!(scene.fault(fault.as_str()) > 0, "{fault:?} is counted");
    }
}

#[tokio::test(start_paused = true)]
async fn a_throttled_caller_is_told_how_long_to_wait() {
    let scene = Scene::new(standing(Apply::AtOnce)).hostile(Hostility {
        throttled: 1_000,
        retry_after_max: MINUTE,
        ..Hostility::default()
    });
    let mut waits = Vec::new();
    for _ in 0..50 {
        let kind = scene.grant(1).await.unwrap_err().kind;
        let ErrorKind::RateLimited { retry_after_ms } = kind else {
            continue;
        };
        waits.extend(retry_after_ms);
    }
    assert_eq!(waits.len(), 50);
    assert_eq!(waits.iter().max(), Some(&60_000));
    assert!(waits.iter().any(|wait| *wait < 60_000));
}

#[tokio::test(start_paused = true)]
async fn a_lost_reply_leaves_its_effect() {
    let scene = Scene::new(standing(Apply::AtOnce));
    scene.provider.fail_next_write(Fault::LostReply);
    let error = scene.grant(1).await.unwrap_err();
    assert_eq!(error.effect, Effect::Unknown);
    assert!(scene.present());
    assert_eq!(scene.inspect(1).await.unwrap(), Presence::Present);
    assert_eq!(scene.fault("lost_reply"), 1);
    scene.provider.fail_next_read(Fault::LostReply);
    scene.grant(1).await.unwrap();
    scene.inspect(1).await.unwrap_err();
    scene.inspect(1).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_lost_mint_leaves_a_credential_that_nobody_holds() {
    let scene = Scene::new(minted());
    scene.provider.fail_next_write(Fault::LostReply);
    scene.mint(1).await.unwrap_err();
    scene.mint(1).await.unwrap();
    let made = scene.ledger.minted(id(1));
    assert_eq!(made.len(), 2, "each mint makes a credential of its own");
    let handles: Vec<_> = made.iter().map(|one| one.handle.clone()).collect();
    assert_ne!(handles.first(), handles.last());
    pass(60 * MINUTE).await;
    let made = scene.ledger.minted(id(1));
    let ended = made.iter().map(|one| one.ended_by).collect::<Vec<_>>();
    assert_eq!(ended, [Some(Hand::ProviderClock); 2]);
}

#[tokio::test(start_paused = true)]
async fn a_late_call_lands_behind_its_callers_back_and_within_v() {
    let reach = V - Duration::from_secs(10);
    let mut delays = Vec::new();
    let mut applied = Vec::new();
    for seed in 0..200 {
        let scene = Scene::seeded(standing(Apply::Later), seed).hostile(Hostility {
            late: 1_000,
            ..Hostility::default()
        });
        let error = scene.grant(1).await.unwrap_err();
        assert_eq!(error.effect, Effect::Unknown);
        pass(V + A).await;
        assert!(scene.present(), "it lands");
        let call = scene.ledger.calls().pop().unwrap();
        let accepted = call.accepted_at.unwrap();
        delays.push(accepted.since(call.signed_at));
        applied.push(call.effective_at.unwrap().since(accepted));
    }
    assert_eq!(
        delays.iter().max(),
        Some(&reach),
        "the whole of V is used but for the allowance for wrong clocks, and no more"
    );
    assert!(delays.iter().any(|delay| *delay < MINUTE));
    assert_eq!(applied.iter().max(), Some(&A), "the whole of A, no more");
}

#[tokio::test(start_paused = true)]
async fn a_late_effect_is_not_seen_before_it_lands() {
    let scene = Scene::new(standing(Apply::AtOnce));
    scene.provider.fail_next_write(Fault::Late);
    scene.grant(1).await.unwrap_err();
    let call = scene.ledger.calls().pop().unwrap();
    assert_eq!(call.fate, Fate::Travelling);
    assert_eq!(scene.inspect(1).await.unwrap(), Presence::Absent);
    assert!(!scene.present());
}

#[tokio::test(start_paused = true)]
async fn an_operation_during_a_pending_one_is_a_conflict() {
    let scene = Scene::seeded(standing(Apply::Later), 3);
    assert_eq!(scene.grant(1).await.unwrap(), Answer::Accepted);
    let error = scene.revoke(1).await.unwrap_err();
    assert_eq!(
        (error.kind, error.effect),
        (ErrorKind::Conflict, Effect::None)
    );
    pass(A).await;
    assert!(scene.present(), "a refused delete takes nothing away");
    assert_eq!(scene.revoke(1).await.unwrap(), Answer::Accepted);
    let error = scene.grant(2).await.unwrap_err();
    assert_eq!(
        (error.kind, error.effect),
        (ErrorKind::Conflict, Effect::None)
    );
    pass(A).await;
    assert!(!scene.present());
    assert_eq!(scene.fault("conflict"), 2);
}

#[tokio::test(start_paused = true)]
async fn pending_operations_are_seen_only_where_that_is_declared() {
    let scene = Scene::seeded(standing(Apply::Later), 3);
    scene.grant(1).await.unwrap();
    assert_eq!(scene.inspect(1).await.unwrap(), Presence::InFlight);
    pass(A).await;
    assert_eq!(scene.inspect(1).await.unwrap(), Presence::Present);

    let mut nature = standing(Apply::Later);
    nature.description.pending_visible = false;
    let scene = Scene::seeded(nature, 3);
    scene.grant(1).await.unwrap();
    assert_eq!(scene.inspect(1).await.unwrap(), Presence::Absent);
    assert_eq!(scene.fault("unseen_pending"), 1);
    pass(A).await;
    assert_eq!(scene.inspect(1).await.unwrap(), Presence::Present);
}

#[tokio::test(start_paused = true)]
async fn an_accepted_call_may_come_to_nothing() {
    let scene = Scene::new(standing(Apply::Later)).hostile(Hostility {
        failed: 1_000,
        ..Hostility::default()
    });
    assert_eq!(scene.grant(1).await.unwrap(), Answer::Accepted);
    assert_eq!(scene.inspect(1).await.unwrap(), Presence::InFlight);
    pass(A).await;
    assert_eq!(scene.inspect(1).await.unwrap(), Presence::Absent);
    assert_eq!(scene.ledger.calls().pop().unwrap().fate, Fate::Failed);
    assert_eq!(scene.fault("failed"), 1);

    let scene = Scene::new(standing(Apply::AtOnce)).hostile(Hostility {
        failed: 1_000,
        ..Hostility::default()
    });
    let answer = scene.grant(1).await.unwrap();
    assert_eq!(
        answer,
        Answer::Applied,
        "what is applied at once cannot fail"
    );
    assert!(scene.present());
}

#[tokio::test(start_paused = true)]
async fn outages_and_refusals_last_and_then_are_over() {
    let scene = Scene::new(standing(Apply::AtOnce));
    scene.provider.outage_until(scene.now() + MINUTE);
    let error = scene.grant(1).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unavailable);
    pass(MINUTE).await;
    scene.grant(1).await.unwrap();
    scene.provider.forbidden_until(scene.now() + MINUTE);
    let error = scene.revoke(1).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Forbidden);
    pass(MINUTE).await;
    scene.revoke(1).await.unwrap();

    let scene = Scene::seeded(standing(Apply::AtOnce), 3).hostile(Hostility {
        outage: 1_000,
        outage_max: MINUTE,
        ..Hostility::default()
    });
    scene.grant(1).await.unwrap_err();
    scene.provider.set_hostility(Hostility::default());
    scene.grant(1).await.expect_err("an outage goes on");
    pass(MINUTE).await;
    scene.grant(1).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn each_process_is_judged_by_its_own_clock() {
    let scene = Scene::new(standing(Apply::AtOnce));
    let ahead = Virtual::new(5 * MINUTE);
    let hasty = scene.provider.as_seen_by(ahead);
    let refused = hasty.grant(scene.grant_call(1)).await.unwrap_err();
    assert_eq!(refused.effect, Effect::None);
    assert_eq!(scene.ledger.calls(), [], "nothing was transmitted");
    assert_eq!(scene.fault("past_its_time"), 1);
    scene.grant(1).await.unwrap();
    let call = scene.ledger.calls().pop().unwrap();
    assert_eq!(
        call.signed_at,
        scene.now(),
        "the ledger keeps the true time"
    );
}

#[tokio::test(start_paused = true)]
async fn the_limit_is_judged_when_the_call_is_signed_and_not_when_it_begins() {
    let mut outcomes = [0, 0];
    for seed in 0..60 {
        let scene = Scene::seeded(standing(Apply::AtOnce), seed).hostile(Hostility {
            slow: 1_000,
            ..Hostility::default()
        });
        let mut call = scene.grant_call(1);
        call.send_before = scene.now() + Duration::from_secs(2);
        let limit = call.send_before;
        match scene.handle.grant(call).await {
            Ok(_) => {
                assert!(scene.ledger.calls().pop().unwrap().signed_at < limit);
                outcomes[0] += 1;
            }
            Err(error) => {
                assert_eq!(error.effect, Effect::None);
                assert_eq!(scene.ledger.calls(), []);
                outcomes[1] += 1;
            }
        }
    }
    assert!(outcomes.iter().all(|count| *count > 5), "{outcomes:?}");
}

#[tokio::test(start_paused = true)]
async fn a_dropped_call_has_happened_or_not() {
    let (mut before, mut after) = (0, 0);
    for seed in 0..60 {
        let scene = Scene::seeded(standing(Apply::Later), seed).hostile(Hostility {
            slow: 1_000,
            ..Hostility::default()
        });
        let call = tokio::time::timeout(Duration::from_secs(2), scene.grant(1));
        if call.await.is_ok() {
            continue;
        }
        pass(V + A).await;
        before += scene.fault("dropped_before_sending");
        after += scene.fault("dropped_after_sending");
        assert_eq!(
            scene.present(),
            scene.fault("dropped_after_sending") == 1,
            "what was sent happens although its caller is gone, and nothing else does"
        );
    }
    assert!(before > 5 && after > 5, "{before} before, {after} after");
}

#[tokio::test(start_paused = true)]
async fn a_call_takes_ten_seconds_at_most() {
    for seed in 0..40 {
        let scene = Scene::seeded(standing(Apply::AtOnce), seed).hostile(Hostility {
            slow: 1_000,
            lost_reply: 500,
            latency_max: MINUTE / 60,
            ..Hostility::default()
        });
        let start = scene.now();
        let _ = scene.grant(1).await;
        // Tokio's timers round up to whole milliseconds, once per wait.
        let most = SLOWEST_CALL + Duration::from_millis(5);
        assert!(scene.now().since(start) <= most);
    }
}

// -------------------------------------------------------------------------------- the ledger

#[tokio::test(start_paused = true)]
async fn the_ledger_says_whose_call_gave_and_ended_access() {
    let scene = Scene::new(standing(Apply::AtOnce));
    scene.grant(1).await.unwrap();
    let given = scene.now();
    pass(MINUTE).await;
    scene.grant(2).await.unwrap();
    let again = scene.ledger.calls().pop().unwrap();
    assert_eq!(again.fate, Fate::Unchanged, "recorded, and nothing changed");
    scene.revoke(2).await.unwrap();
    let expected = Interval {
        by: Hand::Ours(id(1)),
        handle: None,
        from: given,
        until: Some(scene.now()),
        ended_by: Some(Hand::Ours(id(2))),
    };
    assert_eq!(scene.intervals(), [expected]);
    assert!(!scene.present());
    let before = scene.now() - Duration::from_micros(1);
    assert!(
        scene
            .ledger
            .present(&scene.target, &scene.parameters, before)
    );
    assert_eq!(scene.ledger.slots().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_other_hands_gave_is_marked_and_a_delete_takes_it_too() {
    let scene = Scene::new(standing(Apply::AtOnce));
    scene
        .provider
        .foreign_grant(&scene.target, &scene.parameters);
    scene.grant(1).await.unwrap();
    scene.revoke(1).await.unwrap();
    let interval = scene.intervals().pop().unwrap();
    assert_eq!(
        (interval.by, interval.ended_by),
        (Hand::Foreign, Some(Hand::Ours(id(1))))
    );
    scene.grant(2).await.unwrap();
    scene
        .provider
        .foreign_revoke(&scene.target, &scene.parameters);
    let interval = scene.intervals().pop().unwrap();
    assert_eq!(
        (interval.by, interval.ended_by),
        (Hand::Ours(id(2)), Some(Hand::Foreign))
    );
    assert_eq!(scene.inspect(2).await.unwrap(), Presence::Absent);
    assert_eq!(scene.fault("foreign"), 2);

    let scene = Scene::new(standing(Apply::AtOnce)).hostile(Hostility {
        foreign: 1_000,
        ..Hostility::default()
    });
    scene.grant(1).await.unwrap();
    pass(FOREIGN_WITHIN).await;
    assert!(!scene.present());
    assert_eq!(scene.fault("foreign"), 1);

    let scene = Scene::new(minted());
    let minted = scene.mint(1).await.unwrap();
    scene.provider.foreign_end(&minted.handle.unwrap());
    let made = scene.ledger.minted(id(1)).pop().unwrap();
    assert_eq!(made.ended_by, Some(Hand::Foreign));
}

#[tokio::test(start_paused = true)]
async fn the_providers_own_clock_ends_access_and_a_new_grant_moves_its_end() {
    let mut nature = standing(Apply::AtOnce);
    nature.description.native_expiry = NativeExpiry::Exact;
    let scene = Scene::new(nature);
    scene.grant(1).await.unwrap();
    pass(30 * MINUTE).await;
    scene.grant(2).await.unwrap();
    let end = scene.now() + 60 * MINUTE;
    pass(59 * MINUTE).await;
    assert!(scene.present(), "the later end holds");
    pass(MINUTE).await;
    let interval = scene.intervals().pop().unwrap();
    assert_eq!(interval.until, Some(end));
    assert_eq!(interval.ended_by, Some(Hand::ProviderClock));
}

#[tokio::test(start_paused = true)]
async fn a_call_that_lands_past_the_providers_own_end_gives_nothing() {
    let mut nature = standing(Apply::AtOnce);
    nature.description.native_expiry = NativeExpiry::Exact;
    for seed in 0..20 {
        let scene = Scene::seeded(nature.clone(), seed);
        scene.provider.fail_next_write(Fault::Late);
        let mut call = scene.grant_call(1);
        call.expires_at = scene.now() + Duration::from_secs(1);
        let end = call.expires_at;
        scene.handle.grant(call).await.unwrap_err();
        pass(V).await;
        let call = scene.ledger.calls().pop().unwrap();
        let is_in_time = call.effective_at.unwrap() < end;
        assert_eq!(scene.intervals().len(), usize::from(is_in_time));
    }
}

#[tokio::test(start_paused = true)]
async fn one_seed_gives_one_history_and_virtual_years_are_cheap() {
    async fn history(seed: u64) -> (Vec<Call>, BTreeMap<&'static str, u64>) {
        let scene = Scene::seeded(standing(Apply::Later), seed).hostile(Hostility {
            throttled: 50,
            error_before: 50,
            error_before_unknown: 50,
            lost_reply: 50,
            late: 50,
            failed: 50,
            forbidden: 5,
            outage: 5,
            foreign: 20,
            brink: 30,
            brink_of_deletes: 30,
            longest: 100,
            slow: 100,
            latency_max: Duration::from_millis(300),
            retry_after_max: MINUTE,
            forbidden_max: 10 * MINUTE,
            outage_max: 10 * MINUTE,
        });
        for turn in 0..1_000 {
            let _ = scene.grant(turn as u8).await;
            pass(60 * MINUTE).await;
            let _ = scene.inspect(turn as u8).await;
            let _ = scene.revoke(turn as u8).await;
            pass(60 * MINUTE).await;
        }
        (scene.ledger.calls(), scene.provider.fault_counts())
    }
    let (one, faults) = history(1).await;
    for name in [
        "throttled",
        "error_before",
        "error_before_unknown",
        "lost_reply",
        "late",
        "failed",
        "forbidden",
        "outage",
        "foreign",
        "slow",
    ] {
        assert!(
            faults.contains_key(name),
            "{name} never happened: {faults:?}"
        );
    }
    let start = one.first().unwrap().signed_at;
    let relative = |calls: &[Call], start: Timestamp| -> Vec<(Duration, Fate)> {
        let since = |call: &Call| (call.signed_at.since(start), call.fate);
        calls.iter().map(since).collect()
    };
    let (again, _) = history(1).await;
    let other_start = again.first().unwrap().signed_at;
    assert_eq!(relative(&one, start), relative(&again, other_start));
    let (other, _) = history(2).await;
    let other_start = other.first().unwrap().signed_at;
    assert_ne!(relative(&one, start), relative(&other, other_start));
}

#[tokio::test(start_paused = true)]
async fn a_poisoned_slot_fails_alone_and_only_for_its_time() {
    for poison in [Poison::Refuses, Poison::Hangs, Poison::Unreadable] {
        let scene = Scene::new(standing(Apply::AtOnce));
        scene.grant(1).await.unwrap();
        let slot = scene.ledger.slots().remove(0).0;
        let until = scene.provider.shared.clock.now() + MINUTE;
        scene.provider.poison(slot, poison, until);
        let revoked = scene.revoke(1).await;
        let seen = scene.inspect(1).await;
        match poison {
            Poison::Refuses => {
                assert_eq!(revoked.unwrap_err().kind, ErrorKind::Forbidden);
                assert_eq!(seen.unwrap(), Presence::Present);
            }
            Poison::Hangs => {
                assert_eq!(revoked.unwrap_err().effect, Effect::Unknown);
                assert_eq!(seen.unwrap_err().kind, ErrorKind::Unavailable);
            }
            Poison::Unreadable => {
                revoked.unwrap();
                assert_eq!(seen.unwrap_err().kind, ErrorKind::Unavailable);
            }
        }
        pass(MINUTE).await;
        scene.revoke(1).await.unwrap();
        assert_eq!(scene.inspect(1).await.unwrap(), Presence::Absent);
    }
}

#[tokio::test(start_paused = true)]
async fn on_the_brink_a_call_is_sent_at_its_last_instant_or_not_at_all() {
    let scene = Scene::new(standing(Apply::AtOnce)).hostile(Hostility {
        brink: 1_000,
        ..Hostility::default()
    });
    for turn in 0..20 {
        let mut call = scene.grant_call(turn);
        call.send_before = scene.now() + MINUTE / 2;
        // What comes too late is not sent.
        drop(scene.handle.grant(call).await);
    }
    let sent = scene.ledger.calls();
    for call in &sent {
        assert_eq!(
            call.send_before.since(call.signed_at),
            Duration::from_millis(1)
        );
    }
    let late = scene.fault("past_its_time");
    assert!(
        late > 0 && !sent.is_empty(),
        "{late} late, {} sent",
        sent.len()
    );
}
