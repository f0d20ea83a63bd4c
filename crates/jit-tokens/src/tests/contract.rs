//! The contract of the port, by each service.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use jit_core::Timestamp;
use jit_core::ports::{Clock, GrantCall, Minted, PortError, Provisioner};
use jit_core::provider::{Parameters, Target};
use jit_core::request::RequestId;
use jit_testkit::front::{Front, Meddle};
use jit_testkit::provisioner::{
    Ask, Breakage, Counterpart, ProvisionerFixture, Sight, provisioner_contract,
};
use jit_testkit::time::ManualClock;
use services_sim::{Fault, Grafana, HomeAssistant, InfluxDb};

use super::{Kept, clock, entitlement, now_of, profile, settings};
use crate::Tokens;
use crate::service::marker;

/// What a simulated service shows of itself.
trait Truth: Send + Sync {
    fn set_fault(&self, fault: Option<Fault>);
    fn works(&self, secret: &str) -> bool;
    /// Whether any token of this request is accepted.
    fn is_effective(&self, request: RequestId) -> bool;
}

struct Fixture {
    name: &'static str,
    clock: Arc<ManualClock>,
    tokens: Arc<dyn Provisioner>,
    truth: Box<dyn Truth>,
    known: &'static str,
    alias: Option<&'static str>,
}

impl Truth for Grafana {
    fn set_fault(&self, fault: Option<Fault>) {
        Self::set_fault(self, fault);
    }
    fn works(&self, secret: &str) -> bool {
        Self::works(self, secret)
    }
    fn is_effective(&self, request: RequestId) -> bool {
        let marker = marker(request);
        let named = self.tokens().into_iter().filter(|it| it.name == marker);
        named.into_iter().any(|it| Self::works(self, &it.key))
    }
}

impl Truth for InfluxDb {
    fn set_fault(&self, fault: Option<Fault>) {
        Self::set_fault(self, fault);
    }
    fn works(&self, secret: &str) -> bool {
        Self::works(self, secret)
    }
    fn is_effective(&self, request: RequestId) -> bool {
        let marker = marker(request);
        let all = self.authorizations().into_iter();
        all.filter(|it| it.description == marker)
            .any(|it| !it.is_deleted)
    }
}

/// Tokens of Home Assistant bear no name, so it is noted which were made while which request was
/// served.
struct Noting {
    inner: Tokens,
    sim: Arc<HomeAssistant>,
    /// Each request, and how many tokens there were before.
    began: Arc<Mutex<Vec<(RequestId, usize)>>>,
}

#[async_trait]
impl Meddle for Noting {
    fn behind(&self) -> &dyn Provisioner {
        &self.inner
    }
    async fn mint(&self, call: GrantCall<'_>) -> Result<Minted, PortError> {
        let before = self.sim.issued();
        self.began.lock().unwrap().push((call.request, before));
        self.inner.mint(call).await
    }
}

struct Noted {
    sim: Arc<HomeAssistant>,
    began: Arc<Mutex<Vec<(RequestId, usize)>>>,
}

impl Truth for Noted {
    fn set_fault(&self, fault: Option<Fault>) {
        self.sim.set_fault(fault);
    }
    fn works(&self, secret: &str) -> bool {
        self.sim.works(secret)
    }
    fn is_effective(&self, request: RequestId) -> bool {
        let began = self.began.lock().unwrap();
        let mut from = began.iter().skip_while(|(of, _)| *of != request);
        let Some((_, first)) = from.next() else {
            return false;
        };
        let later = from.find(|(of, _)| *of != request);
        let end = later.map_or(self.sim.issued(), |(_, end)| *end);
        let theirs = (*first..end).filter_map(|number| self.sim.token(number));
        theirs.into_iter().any(|token| self.sim.works(&token))
    }
}

#[async_trait]
impl ProvisionerFixture for Fixture {
    fn counterpart(&self) -> Counterpart {
        let alias = (Sight::Alias, "there is one way to write it");
        Counterpart {
            name: self.name,
            cannot_show: self.alias.is_none().then_some(alias).into_iter().collect(),
        }
    }

    fn provisioner(&self) -> Arc<dyn Provisioner> {
        self.tokens.clone()
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    async fn pass(&mut self, time: Duration) {
        self.clock.advance(time);
    }

    fn known(&self) -> Ask {
        ask(self.known)
    }

    fn unknown(&self) -> Ask {
        ask("nothing of the kind")
    }

    fn alias(&self) -> Option<(Arc<dyn Provisioner>, Ask)> {
        self.alias.map(|alias| (self.tokens.clone(), ask(alias)))
    }

    async fn is_effective(&mut self, request: RequestId, _: &Target, _: &Parameters) -> bool {
        self.truth.is_effective(request)
    }

    async fn works(&mut self, secret: &str) -> bool {
        self.truth.works(secret)
    }

    async fn break_calls(&mut self, how: Breakage) {
        self.truth.set_fault(Some(match how {
            Breakage::Refusal => Fault::Forbidden,
            Breakage::Throttling => Fault::TooFast,
            Breakage::Outage => Fault::Failed,
            Breakage::LostReply => Fault::LoseReply,
        }));
    }

    async fn mend(&mut self) {
        self.truth.set_fault(None);
    }
}

fn ask(resource: &str) -> Ask {
    Ask {
        beneficiary: profile(),
        entitlement: entitlement(resource),
        parameters: Parameters::new(),
    }
}

#[tokio::test]
async fn e7_grafana_keeps_the_contract() {
    let clock = clock();
    let sim = Grafana::start(5, "admin-of-grafana", now_of(&clock)).await;
    let kept = Kept::with(&[
        ("jit_admin_token", "admin-of-grafana"),
        ("service_account_id", "5"),
    ]);
    let tokens = Tokens::of_grafana(settings(sim.url(), &kept, &clock)).unwrap();
    let mut fixture = Fixture {
        name: "services-sim (Grafana)",
        clock,
        tokens: Arc::new(tokens),
        truth: Box::new(sim),
        known: "service_account",
        alias: Some("5"),
    };
    provisioner_contract(&mut fixture).await;
}

#[tokio::test]
async fn e12_influxdb_keeps_the_contract() {
    let clock = clock();
    let sim = InfluxDb::start("00000000000000aa", "admin-of-influxdb").await;
    let kept = Kept::with(&[
        ("admin_token", "admin-of-influxdb"),
        ("org_id", "00000000000000aa"),
    ]);
    let tokens = Tokens::of_influxdb(settings(sim.url(), &kept, &clock)).unwrap();
    let mut fixture = Fixture {
        name: "services-sim (InfluxDB)",
        clock,
        tokens: Arc::new(tokens),
        truth: Box::new(sim),
        known: "buckets",
        alias: None,
    };
    provisioner_contract(&mut fixture).await;
}

#[tokio::test]
async fn e7_home_assistant_keeps_the_contract() {
    let clock = clock();
    let sim = HomeAssistant::start("refresh", "https://jit.example.com", now_of(&clock)).await;
    let (sim, began) = (Arc::new(sim), Arc::default());
    let kept = Kept::with(&[
        ("refresh_token", "refresh"),
        ("client_id", "https://jit.example.com"),
    ]);
    let tokens = Tokens::of_home_assistant(settings(sim.url(), &kept, &clock)).unwrap();
    let noting = Noting {
        inner: tokens,
        sim: Arc::clone(&sim),
        began: Arc::clone(&began),
    };
    let mut fixture = Fixture {
        name: "services-sim (Home Assistant)",
        clock,
        tokens: Arc::new(Front(noting)),
        truth: Box::new(Noted { sim, began }),
        known: "access_token",
        alias: None,
    };
    provisioner_contract(&mut fixture).await;
}
