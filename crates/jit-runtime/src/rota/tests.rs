//! Whoever is on call, by the contracts of a rota and of a directory.

use std::sync::atomic::{AtomicUsize, Ordering};

use jit_core::principal::PrincipalKind;
use jit_testkit::directory::{
    Breakage, Change, Counterpart, DirectoryFixture, Someone, directory_contract,
};
use jit_testkit::rota::{
    Counterpart as RotaCounterpart, Duty, RotaFixture, Sight, Turn, rota_contract,
};
use jit_testkit::sample;
use jit_testkit::time::ManualClock;

use super::*;
use crate::people::tests::Written;

const GROUP: &str = "oncall:primary";
/// When a call that is not answered is given up.
const GIVEN_UP: Duration = Duration::from_millis(2_900);

/// Somebody at a switchboard who says who is on call, by a name that is no canonical id.
#[derive(Debug, Default)]
struct Switchboard {
    on_call: Mutex<BTreeSet<PrincipalId>>,
    failing: Mutex<Option<Breakage>>,
    /// How long every answer takes.
    takes: Mutex<Duration>,
    asked: AtomicUsize,
}

#[async_trait]
impl Rota for Switchboard {
    async fn on_call(&self, _: Timestamp) -> Result<BTreeSet<PrincipalId>, PortError> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let takes = *self.takes.lock().unwrap();
        tokio::time::sleep(takes).await;
        let failing = *self.failing.lock().unwrap();
        let kind = match failing {
            None => return Ok(self.on_call.lock().unwrap().clone()),
            Some(Breakage::Refusal) => ErrorKind::Forbidden,
            Some(Breakage::Throttling) => ErrorKind::RateLimited {
                retry_after_ms: None,
            },
            Some(Breakage::Outage | Breakage::Garbage) => ErrorKind::Unavailable,
            Some(Breakage::Hang) => {
                tokio::time::sleep(GIVEN_UP).await;
                ErrorKind::Unavailable
            }
        };
        Err(PortError::nothing_done("switchboard", "ask", kind))
    }
}

/// The configured people with a group of whoever is on call.
struct OnCall {
    written: Written,
    board: Arc<Switchboard>,
    clock: Arc<ManualClock>,
    directory: Arc<WithRotas>,
}

fn over(
    inner: Arc<dyn Directory>,
    board: &Arc<Switchboard>,
    clock: &Arc<ManualClock>,
) -> Arc<WithRotas> {
    let rota: Arc<dyn Rota> = board.clone();
    let rotas = BTreeMap::from([(GROUP.parse().unwrap(), rota)]);
    Arc::new(WithRotas::new(inner, rotas, clock.clone()))
}

impl OnCall {
    fn new() -> Self {
        let (written, board) = (Written::new(), Arc::new(Switchboard::default()));
        let clock = Arc::new(ManualClock::at(sample::start()));
        let directory = over(Arc::new(written.people()), &board, &clock);
        let this = Self {
            written,
            board,
            clock,
            directory,
        };
        this.on_call().insert(alias(Someone::Ana));
        this
    }

    fn on_call(&self) -> MutexGuard<'_, BTreeSet<PrincipalId>> {
        self.board.on_call.lock().unwrap()
    }

    fn asked(&self) -> usize {
        self.board.asked.load(Ordering::Relaxed)
    }
}

/// What the switchboard calls them.
fn alias(who: Someone) -> PrincipalId {
    match who {
        Someone::Ana => "a.lopez@example.com".parse().unwrap(),
        Someone::Bob => "bob@example.com".parse().unwrap(),
    }
}

fn id(name: &str) -> PrincipalId {
    name.parse().unwrap()
}

#[async_trait]
impl DirectoryFixture for OnCall {
    fn counterpart(&self) -> Counterpart {
        Counterpart {
            name: "a switchboard",
            cannot_show: vec![],
        }
    }
    fn directory(&self) -> Arc<dyn Directory> {
        self.directory.clone()
    }
    fn names(&self, who: Someone) -> Vec<String> {
        self.written.names(who)
    }
    fn group(&self) -> GroupName {
        GROUP.parse().unwrap()
    }
    fn nobody(&self) -> PrincipalId {
        id("nobody@example.com")
    }
    fn several(&self) -> Option<PrincipalId> {
        Some(id("ops"))
    }
    async fn change(&mut self, change: Change) {
        match change {
            Change::Join(who) => drop(self.on_call().insert(alias(who))),
            Change::Leave(who) => drop(self.on_call().remove(&alias(who))),
            of_people => {
                self.written.change(of_people);
                let people = Arc::new(self.written.people());
                self.directory = over(people, &self.board, &self.clock);
            }
        }
    }
    async fn break_calls(&mut self, how: Breakage) {
        *self.board.failing.lock().unwrap() = Some(how);
    }
    async fn mend(&mut self) {
        *self.board.failing.lock().unwrap() = None;
    }
    async fn pass(&mut self, time: Duration) {
        self.clock.advance(time);
        // Whoever asks behind somebody's back is done by then.
        tokio::time::sleep(time).await;
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_is_on_call_keeps_the_contract_of_a_directory() {
    directory_contract(&mut OnCall::new()).await;
}

#[tokio::test(start_paused = true)]
async fn everybody_who_asks_at_once_waits_for_one_answer() {
    let house = OnCall::new();
    *house.board.takes.lock().unwrap() = Duration::from_millis(500);
    let (ana, group) = (id("ana@example.com"), GROUP.parse().unwrap());
    let profiles = join_all([(); 20].map(|()| house.directory.profile(&ana)));
    let (profiles, members) = join(profiles, house.directory.members(&group)).await;
    for profile in profiles {
        assert!(profile.unwrap().unwrap().groups.contains(&group));
    }
    assert_eq!(members.unwrap().unwrap(), BTreeSet::from([ana]));
    assert_eq!(house.asked(), 1);
}

#[tokio::test(start_paused = true)]
async fn whoever_looks_is_answered_at_once_and_sees_the_next_one_soon() {
    let mut house = OnCall::new();
    let (bob, group) = (id("bob@example.com"), GROUP.parse().unwrap());
    house.directory.members(&group).await.unwrap();
    house.change(Change::Join(Someone::Bob)).await;
    house.pass(FRESH + Duration::from_micros(1)).await;
    *house.board.takes.lock().unwrap() = Duration::from_secs(1);
    let begun = Instant::now();
    let looked = async || {
        let profile = house.directory.profile_lately(&bob).await;
        profile.unwrap().unwrap().groups.contains(&group)
    };
    assert!(!looked().await && !looked().await, "as it was known");
    assert_eq!(begun.elapsed(), Duration::ZERO, "nobody was waited for");
    tokio::time::sleep(Duration::from_millis(1_001)).await;
    assert!(looked().await, "it was found out meanwhile");
    assert_eq!(house.asked(), 2, "and once");
}

#[tokio::test(start_paused = true)]
async fn what_a_rota_said_long_ago_is_told_to_nobody() {
    let mut house = OnCall::new();
    let group = GROUP.parse().unwrap();
    house.directory.members(&group).await.unwrap();
    house.pass(LATELY + Duration::from_micros(1)).await;
    house.break_calls(Breakage::Outage).await;
    house.directory.members_lately(&group).await.unwrap_err();
    let ana = house.directory.profile_lately(&id("ana")).await;
    assert!(ana.unwrap().unwrap().groups_unknown.contains(&group));
}

/// A directory that takes its time, and is never too late.
struct Slow(ConfiguredPeople, Duration);
use crate::people::ConfiguredPeople;

#[async_trait]
impl Directory for Slow {
    async fn profile(&self, id: &PrincipalId) -> Result<Option<Profile>, PortError> {
        tokio::time::sleep(self.1).await;
        self.0.profile(id).await
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_rota_over_a_slow_directory_is_in_time_all_the_same() {
    let house = OnCall::new();
    let slow = Duration::from_millis(2_500);
    *house.board.takes.lock().unwrap() = slow;
    let inner = Arc::new(Slow(house.written.people(), slow));
    let directory = over(inner, &house.board, &house.clock);
    let begun = Instant::now();
    let bob = directory.profile(&id("bob")).await.unwrap().unwrap();
    assert!(begun.elapsed() < Duration::from_secs(3));
    // Who ana is could not be looked up any more.
    assert!(bob.groups_unknown.contains(&GROUP.parse().unwrap()));
    house.clock.advance(FAILED_FOR);
    let begun = Instant::now();
    let members = directory.members(&GROUP.parse().unwrap()).await;
    assert_eq!(
        members.unwrap().unwrap(),
        BTreeSet::from([id("ana@example.com")])
    );
    assert!(begun.elapsed() < Duration::from_secs(10));
}

/// Whoever is on call by no rota waits for one that hangs once, and not each time.
#[tokio::test(start_paused = true)]
async fn a_rota_that_hangs_holds_up_nobody_for_long() {
    let mut house = OnCall::new();
    house.break_calls(Breakage::Hang).await;
    let (bob, group) = (id("bob"), GROUP.parse().unwrap());
    let mut took = vec![];
    for _ in 0..3 {
        let begun = Instant::now();
        let bob = house.directory.profile(&bob).await.unwrap().unwrap();
        assert!(bob.groups_unknown.contains(&group));
        took.push(begun.elapsed());
    }
    assert!(took[0] <= ROTA_LIMIT, "{took:?}");
    assert_eq!(took[1..], [Duration::ZERO; 2]);
    // When it is back it is asked again soon.
    house.mend().await;
    house.pass(FAILED_FOR).await;
    let bob = house.directory.profile(&bob).await.unwrap().unwrap();
    assert!(!bob.groups_unknown.contains(&group));
}

/// A directory that knew otherwise, and shows that to whoever only looks.
struct Renamed(ConfiguredPeople);

#[async_trait]
impl Directory for Renamed {
    async fn profile(&self, id: &PrincipalId) -> Result<Option<Profile>, PortError> {
        self.0.profile(id).await
    }
    async fn profile_lately(&self, _: &PrincipalId) -> Result<Option<Profile>, PortError> {
        self.0.profile(&id("bob")).await
    }
}

#[tokio::test(start_paused = true)]
async fn s9_who_is_on_call_is_decided_by_what_names_lead_to_now() {
    let house = OnCall::new();
    let inner = Arc::new(Renamed(house.written.people()));
    let directory = over(inner, &house.board, &house.clock);
    let group: GroupName = GROUP.parse().unwrap();
    let is_on_call = async |who: &str| {
        let profile = directory.profile(&id(who)).await.unwrap().unwrap();
        profile.groups.contains(&group)
    };
    assert!(is_on_call("ana").await && !is_on_call("bob").await);
    let members = directory.members(&group).await.unwrap().unwrap();
    assert_eq!(members, BTreeSet::from([id("ana@example.com")]));
}

#[tokio::test]
async fn a_program_is_never_on_call() {
    let house = OnCall::new();
    house.on_call().insert(id("agent:robot"));
    let robot = house.directory.profile(&id("agent:robot")).await;
    let robot = robot.unwrap().unwrap();
    assert!(matches!(robot.kind, PrincipalKind::Agent { .. }));
    assert!(robot.groups.is_empty());
    let members = house.directory.members(&GROUP.parse().unwrap()).await;
    assert_eq!(
        members.unwrap().unwrap(),
        BTreeSet::from([id("ana@example.com")])
    );
}

/// A rota of the configuration.
struct Weekly {
    written: Written,
    rota: WeeklyRota,
}

#[async_trait]
impl RotaFixture for Weekly {
    fn counterpart(&self) -> RotaCounterpart {
        let no_calls = "what was read at the start is there";
        let failing = |how| (Sight::Breakage(how), no_calls);
        let mut cannot_show: Vec<_> = Breakage::ALL.map(failing).into();
        cannot_show.push((Sight::SecondTurn, "everybody in a shift is called at once"));
        RotaCounterpart {
            name: "a configuration",
            cannot_show,
        }
    }
    fn rota(&self) -> Arc<dyn Rota> {
        Arc::new(self.rota.clone())
    }
    fn directory(&self) -> Arc<dyn Directory> {
        Arc::new(self.written.people())
    }
    fn id(&self, who: Someone) -> PrincipalId {
        self.written.known[who as usize].profile.id.clone()
    }
    fn now(&self) -> Timestamp {
        sample::start()
    }
    async fn duties(&mut self, duties: &[Duty]) {
        let hour = |at: Option<Timestamp>, otherwise: &str| {
            at.map_or(otherwise.to_owned(), |at| {
                at.to_string().split_at(11).1.split_at(5).0.to_owned()
            })
        };
        let shift = |duty: &Duty| {
            assert_eq!(duty.turn, Turn::First);
            let (from, until) = (hour(duty.from, "00:00"), hour(duty.until, "24:00"));
            Shift {
                hours: format!("mon-sun {from}-{until} UTC").parse().unwrap(),
                people: vec![id(&self.written.names(duty.who)[1])],
                turns_from: None,
            }
        };
        let shifts = duties.iter().map(shift).collect();
        self.rota = WeeklyRota { shifts };
    }
    async fn break_calls(&mut self, _: Breakage) {}
    async fn mend(&mut self) {}
}

#[tokio::test]
async fn a_rota_of_the_configuration_keeps_the_contract() {
    rota_contract(&mut Weekly {
        written: Written::new(),
        rota: WeeklyRota::default(),
    })
    .await;
}
