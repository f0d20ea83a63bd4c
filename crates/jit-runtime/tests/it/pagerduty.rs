//! Whoever is on call at PagerDuty decides, and alarms reach it: a real daemon, and a PagerDuty that
//! is simulated on loopback.

use jit_core::Timestamp;
use jit_core::ports::Alarm;
use jit_runtime::build::Adapters;
use okta_sim::{Away, OnCall, Setup, Sim};

use crate::house::{House, until};

const TOKEN: &str = "a-simulated-pagerduty-token";
const ROUTING_KEY: &str = "0123456789abcdef0123456789abcdef";

/// An installation in which whoever is on call decides: Bob, at first.
pub(crate) struct OnCallHouse {
    pub(crate) house: House,
    sim: Sim,
}

impl OnCallHouse {
    pub(crate) fn new() -> Self {
        let sim = Sim::start(Setup::default()).unwrap();
        let address = format!("{}/pagerduty", sim.url());
        Self::calling(&address, sim)
    }

    fn calling(address: &str, sim: Sim) -> Self {
        let house = House::new();
        let world = sim.world();
        let bob = world.add_responder("Bob Example", "Bob@Example.com");
        let schedule = world.add_schedule("Database");
        let decide = "rights = [\"approve\", \"revoke\"]\nentitlements = [\"*\"]\n\
                      principals = [\"group:operations\"]";
        let on_call = decide.replace("group:operations", "oncall:primary");
        let rota = format!(
            "[pagerduty]\napi = \"{address}\"\nevents = \"{address}\"\n[[rota]]\n\
             name = \"primary\"\npagerduty = {{ schedule = \"{schedule}\" }}\n[audit]\n"
        );
        house.rewrite("jit.toml", &[(decide, &on_call), ("[audit]\n", &rota)]);
        world.put_on_call(OnCall {
            user: bob,
            schedule: Some(schedule),
            escalation_policy: world.add_escalation_policy("Database first"),
            level: 1,
            from_micros: None,
            until_micros: None,
        });
        let secrets =
            format!("JIT_PAGERDUTY_TOKEN={TOKEN}\nJIT_PAGERDUTY_ROUTING_KEY={ROUTING_KEY}\n");
        std::fs::write(house.file(".env"), secrets).unwrap();
        Self { house, sim }
    }

    /// How often it was called.
    pub(crate) fn calls(&self) -> usize {
        self.sim.world().calls().len()
    }
}

#[tokio::test]
async fn whoever_is_on_call_there_decides() {
    let on_call = OnCallHouse::new();
    let daemon = on_call.house.daemon().await;
    let (ana, bob) = on_call.house.callers(&daemon).await;
    let id = ana.asked("1h").await;
    let active = bob.approve(&id).await;
    assert_eq!(active["approvals"][0]["by"], "bob@example.com");
    ana.wait_for(&id, "active").await;
    daemon.stop().await;
}

#[tokio::test]
async fn while_it_does_not_answer_nobody_is_refused_and_nobody_decides() {
    let on_call = OnCallHouse::new();
    on_call.sim.world().away(Away::Unavailable);
    let daemon = on_call.house.daemon().await;
    let (ana, bob) = on_call.house.callers(&daemon).await;
    let id = ana.asked("1h").await;
    let (status, said) = bob.decide(&id, "approve").await;
    assert_eq!(status, 503, "{said}");
    on_call.sim.world().calm();
    until("it is asked again", async || {
        let (status, _) = bob.decide(&id, "approve").await;
        (status == 200).then_some(())
    })
    .await;
    daemon.stop().await;
}

/// Whoever needs nothing of a rota that takes calls and answers none asks as ever.
#[tokio::test]
async fn while_it_hangs_whoever_is_on_call_by_nothing_asks() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", silent.local_addr().unwrap());
    let on_call = OnCallHouse::calling(&address, Sim::start(Setup::default()).unwrap());
    let daemon = on_call.house.daemon().await;
    let (ana, bob) = on_call.house.callers(&daemon).await;
    let id = ana.asked("1h").await;
    assert_eq!(ana.show(&id).await["status"], "pending");
    let (status, said) = bob.decide(&id, "approve").await;
    assert_eq!(status, 503, "{said}");
    daemon.stop().await;
}

#[tokio::test]
async fn while_nobody_is_on_call_what_nobody_else_decides_is_refused_at_once() {
    let on_call = OnCallHouse::new();
    on_call.sim.world().clear_on_calls();
    let daemon = on_call.house.daemon().await;
    let (ana, _) = on_call.house.callers(&daemon).await;
    let (status, said) = ana.ask("1h").await;
    assert_eq!(status, 422, "{said}");
    assert_eq!(said["error"]["code"], "nobody_eligible");
    daemon.stop().await;
}

#[tokio::test]
async fn an_alarm_opens_an_alert_there() {
    let on_call = OnCallHouse::new();
    let adapters = Adapters::open(&on_call.house.config()).await.unwrap();
    let alarm = Alarm {
        request: None,
        summary: "a grant is stuck".to_owned(),
        at: Timestamp::MIN,
    };
    adapters.pager.page(&alarm).await.unwrap();
    let events = on_call.sim.world().events();
    assert_eq!(events.len(), 1);
    assert_eq!(events[0].payload["summary"], "a grant is stuck");
}
