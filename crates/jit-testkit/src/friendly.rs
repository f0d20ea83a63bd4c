//! The hostile provider in a friendly mood with everything that the contract suite wants of a
//! fixture, and the clock and the dice of this crate's own tests.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use jit_core::Timestamp;
use jit_core::catalog::{Entitlement, ParameterRule};
use jit_core::ports::{Clock, Provisioner, Random};
use jit_core::principal::{PrincipalKind, Profile};
use jit_core::provider::{Description, Kind, NativeExpiry, Parameters, Target};
use jit_core::request::RequestId;
use tokio::time::Instant;

use crate::hostile::{Apply, HostileHandle, HostileProvider, Hostility, Nature};
use crate::provisioner::{Ask, Breakage, Counterpart, ProvisionerFixture, Sight};

pub(crate) const MINUTE: Duration = Duration::from_secs(60);
pub(crate) const A: Duration = Duration::from_secs(20);
pub(crate) const V: Duration = Duration::from_secs(310);

/// Tokio's time, paused in these tests, and how far this clock is ahead of it.
pub(crate) struct Virtual {
    start: Instant,
    ahead: Duration,
}

impl Virtual {
    pub(crate) fn new(ahead: Duration) -> Arc<Self> {
        let start = Instant::now();
        Arc::new(Self { start, ahead })
    }
}

impl Clock for Virtual {
    fn now(&self) -> Timestamp {
        let epoch = Timestamp::from_unix_micros(1_800_000_000_000_000);
        epoch + self.start.elapsed() + self.ahead
    }
}

/// SplitMix64.
pub(crate) struct Seeded(AtomicU64);

impl Random for Seeded {
    fn fill(&self, buffer: &mut [u8]) {
        for chunk in buffer.chunks_mut(8) {
            let step = 0x9e37_79b9_7f4a_7c15;
            let mut z = self.0.fetch_add(step, Ordering::Relaxed).wrapping_add(step);
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^= z >> 31;
            chunk
                .iter_mut()
                .zip(z.to_le_bytes())
                .for_each(|(to, from)| *to = from);
        }
    }
}

pub(crate) fn seeded(seed: u64) -> Arc<Seeded> {
    Arc::new(Seeded(AtomicU64::new(seed)))
}

pub(crate) fn standing(apply: Apply) -> Nature {
    let later = apply == Apply::Later;
    Nature {
        realm: "sim".to_owned(),
        description: Description {
            kind: Kind::Standing,
            native_expiry: NativeExpiry::None,
            revocable: true,
            pending_visible: true,
            listable: true,
            accepted_within: V,
            applied_within: if later { A } else { Duration::ZERO },
            residual: Duration::ZERO,
        },
        apply,
        skew_allowance: Duration::from_secs(10),
    }
}

pub(crate) fn minted() -> Nature {
    let mut nature = standing(Apply::AtOnce);
    nature.description.kind = Kind::Minted;
    nature.description.native_expiry = NativeExpiry::Exact;
    nature
}

pub(crate) fn ask(person: &str, resource: &str) -> Ask {
    Ask {
        beneficiary: Profile {
            id: person.parse().unwrap(),
            kind: PrincipalKind::Person,
            active: true,
            groups: [].into(),
            groups_unknown: Default::default(),
            manager: None,
            subjects: [].into(),
        },
        entitlement: Entitlement {
            id: "sim/admins".parse().unwrap(),
            resource: resource.to_owned(),
            title: String::new(),
            how_to_use: String::new(),
            tier: "low".parse().unwrap(),
            parameters: ParameterRule::Refused,
            display: None,
            template: None,
            allows: String::new(),
            fallback: None,
        },
        parameters: Parameters::new(),
    }
}

pub(crate) struct Friendly {
    clock: Arc<Virtual>,
    provider: HostileProvider,
    pub(crate) hides: Vec<(Sight, &'static str)>,
    /// What stands between the suite and the provider.
    pub(crate) wrap: Box<dyn Fn(HostileHandle) -> Arc<dyn Provisioner> + Send>,
}

impl Friendly {
    pub(crate) fn new(nature: Nature) -> Self {
        let clock = Virtual::new(Duration::ZERO);
        let provider = HostileProvider::new(nature, clock.clone(), seeded(1));
        Self::of(clock, provider)
    }

    pub(crate) fn of(clock: Arc<Virtual>, provider: HostileProvider) -> Self {
        let provider = provider.named("admins", "group-1").named("root", "group-1");
        Self {
            clock,
            provider,
            hides: Vec::new(),
            wrap: Box::new(|handle| Arc::new(handle)),
        }
    }
}

#[async_trait]
impl ProvisionerFixture for Friendly {
    fn counterpart(&self) -> Counterpart {
        Counterpart {
            name: "the hostile provider in a friendly mood",
            cannot_show: self.hides.clone(),
        }
    }

    fn provisioner(&self) -> Arc<dyn Provisioner> {
        (self.wrap)(self.provider.as_seen_by(self.clock.clone()))
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    async fn pass(&mut self, time: Duration) {
        tokio::time::advance(time).await;
    }

    fn known(&self) -> Ask {
        ask("ana@example.com", "admins")
    }

    fn unknown(&self) -> Ask {
        ask("ana@example.com", "nobody-knows")
    }

    fn alias(&self) -> Option<(Arc<dyn Provisioner>, Ask)> {
        Some((self.provisioner(), ask("ana@example.com", "root")))
    }

    async fn crowd(&mut self) {
        for person in ["bob", "cy", "dee", "eve", "zoe"] {
            let target = Target {
                realm: self.provider.nature().realm.clone(),
                subject: person.parse().unwrap(),
                resource: "group-1".to_owned(),
            };
            self.provider.foreign_grant(&target, &Parameters::new());
        }
    }

    async fn is_effective(
        &mut self,
        request: RequestId,
        target: &Target,
        parameters: &Parameters,
    ) -> bool {
        let now = self.clock.now();
        let ledger = self.provider.ledger();
        ledger.present(target, parameters, now)
            || ledger.minted(request).iter().any(|one| one.covers(now))
    }

    async fn works(&mut self, secret: &str) -> bool {
        self.provider.ledger().works(secret)
    }

    async fn break_calls(&mut self, how: Breakage) {
        let mut hostility = Hostility::default();
        match how {
            Breakage::Refusal => hostility.forbidden = 1_000,
            Breakage::Throttling => hostility.throttled = 1_000,
            Breakage::Outage => hostility.error_before = 1_000,
            Breakage::LostReply => hostility.lost_reply = 1_000,
        }
        self.provider.set_hostility(hostility);
        if how == Breakage::Refusal {
            self.provider.forbidden_until(Timestamp::MAX);
        }
    }

    async fn mend(&mut self) {
        self.provider.set_hostility(Hostility::default());
        self.provider.forbidden_until(Timestamp::MIN);
    }
}
