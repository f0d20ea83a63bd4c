//! A whole service around a simulated workspace: an engine in memory, a provider that does what it
//! is told, and people who are on both sides.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use jit_core::Timestamp;
use jit_core::catalog::{Catalog, Entitlement, ParameterRule};
use jit_core::engine::{ClockTrust, Engine, EngineParts};
use jit_core::policy::{Effect, Policy, Right, Rule, Tier, Who};
use jit_core::ports::{Clock, Directory, PortError, Provisioner, Query, RequestStore};
use jit_core::principal::{GroupName, PrincipalId, PrincipalKind, Profile};
use jit_core::request::{AccessRequest, Status};
use jit_slack::{
    Commands, Connection, EmailMatch, Names, Reached, Route, Settings, Slack, SlackParts, Transport,
};
use jit_testkit::hostile::{HostileProvider, memory_standing};
use jit_testkit::stage::{Beeper, People, id, ttl};
use jit_testkit::store::MemoryStore;
use jit_testkit::time::{ManualClock, SeededRandom};
use secrecy::SecretString;
use slack_sim::{Person, SlackSim, Workspace};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// How Slack reaches the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum By {
    Socket,
    Http,
}

/// How often whoever works looks whether there is something to do.
const OFTEN: Duration = Duration::from_millis(5);
/// The same where time is simulated, and each look is real work.
const SELDOM: Duration = Duration::from_millis(50);

/// A directory with a mistake in it that shows now and then, and which may take its time.
#[derive(Debug, Default)]
pub(crate) struct Shaky {
    people: Arc<People>,
    /// The next so many questions make it panic.
    pub(crate) panics: AtomicUsize,
    /// How long each answer takes.
    pub(crate) takes: Mutex<Duration>,
    /// How many questions are open, and how many were at most.
    open: AtomicUsize,
    pub(crate) open_at_most: AtomicUsize,
}

#[async_trait]
impl Directory for Shaky {
    async fn profile(&self, id: &PrincipalId) -> Result<Option<Profile>, PortError> {
        let fewer = |left: usize| left.checked_sub(1);
        let panics = self
            .panics
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, fewer);
        assert!(panics.is_err(), "a mistake of the directory's");
        let takes = *self.takes.lock().unwrap();
        if !takes.is_zero() {
            let open = self.open.fetch_add(1, Ordering::SeqCst) + 1;
            self.open_at_most.fetch_max(open, Ordering::SeqCst);
            tokio::time::sleep(takes).await;
            self.open.fetch_sub(1, Ordering::SeqCst);
        }
        self.people.profile(id).await
    }

    async fn members(&self, group: &GroupName) -> Result<Option<BTreeSet<PrincipalId>>, PortError> {
        self.people.members(group).await
    }
}

/// Everything at once.
pub(crate) struct World {
    pub(crate) slack: Arc<SlackSim>,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) store: Arc<MemoryStore>,
    pub(crate) people: Arc<People>,
    pub(crate) shaky: Arc<Shaky>,
    /// The directory that the engine asks.
    pub(crate) directory: Arc<dyn Directory>,
    pub(crate) provider: HostileProvider,
    pub(crate) engine: Arc<Engine>,
    pub(crate) adapter: Slack,
    pub(crate) connection: Option<Connection>,
    stop: Option<oneshot::Sender<()>>,
    door: Option<JoinHandle<()>>,
    working: Vec<JoinHandle<()>>,
}

impl Drop for World {
    fn drop(&mut self) {
        for working in &self.working {
            working.abort();
        }
        if let Some(door) = &self.door {
            door.abort();
        }
    }
}

fn tier(name: &str, approvals: u8) -> Tier {
    Tier {
        name: name.parse().unwrap(),
        ttl_default: ttl("30m"),
        ttl_max: ttl("4h"),
        approvals,
        decision_window: ttl("1h"),
        automatic: None,
        residual_max_secs: 0,
    }
}

pub(crate) fn rule(who: &str, rights: &[Right]) -> Rule {
    Rule {
        name: who.to_owned(),
        effect: Effect::Allow,
        rights: rights.iter().copied().collect(),
        entitlements: vec!["*".parse().unwrap()],
        principals: vec![who.parse().unwrap()],
        hours: None,
        after: None,
    }
}

/// As long as a name may be, and told from another by its end alone.
pub(crate) fn long(end: &str) -> String {
    format!("long-{}{end}", "x".repeat(187))
}

/// `memory/admins` needs one approval, `memory/vault` two, and there are 500 accounts beside them.
fn catalog() -> Catalog {
    let entry = |name: String, title: &str, tier: &str| Entitlement {
        id: format!("memory/{name}").parse().unwrap(),
        resource: "admins".to_owned(),
        title: title.to_owned(),
        how_to_use: "Sign in again.".to_owned(),
        tier: tier.parse().unwrap(),
        parameters: ParameterRule::Refused,
        display: None,
        template: None,
        allows: String::new(),
        fallback: None,
    };
    let accounts =
        (0..500).map(|number| entry(format!("account-{number:03}"), "An account", "one"));
    [
        entry("admins".to_owned(), "Administer the wiki", "one"),
        entry("vault".to_owned(), "Open the vault", "two"),
        entry(long("a"), "Named at length", "one"),
        entry(long("b"), "Named at length", "one"),
    ]
    .into_iter()
    .chain(accounts)
    .collect()
}

pub(crate) fn settings() -> Settings {
    Settings {
        routes: vec![Route {
            entitlements: "*".parse().unwrap(),
            channel: "C0SEC".parse().unwrap(),
            remind: Some("S0OFFICERS".parse().unwrap()),
            warning: None,
        }],
        commands: Commands {
            admin_entitlement: Some("memory/admins".to_owned()),
            prod_entitlement: Some("memory/admins".to_owned()),
            ..Commands::default()
        },
        email_match: EmailMatch::Off,
        reactions: ["one".parse().unwrap()].into(),
        remind_after: ttl("10m"),
        warn_before: ttl("10m"),
    }
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::with(By::Socket, settings()).await
    }

    pub(crate) async fn with(by: By, settings: Settings) -> Self {
        let slack = SlackSim::start(Workspace::example()).await;
        let store = Arc::new(MemoryStore::new());
        Self::around(slack, store, by, settings).await
    }

    /// With these rules beside the usual ones.
    pub(crate) async fn ruled(settings: Settings, more: Vec<Rule>) -> Self {
        let slack = SlackSim::start(Workspace::example()).await;
        let store = Arc::new(MemoryStore::new());
        Self::built((names(), more), slack, store, By::Socket, settings).await
    }

    /// A service on this workspace and this store.
    pub(crate) async fn around(
        slack: impl Into<Arc<SlackSim>>,
        store: Arc<MemoryStore>,
        by: By,
        settings: Settings,
    ) -> Self {
        Self::built((names(), vec![]), slack, store, by, settings).await
    }

    /// The same, where the configuration names these users.
    pub(crate) async fn knowing(
        names: Names,
        slack: impl Into<Arc<SlackSim>>,
        store: Arc<MemoryStore>,
        by: By,
        settings: Settings,
    ) -> Self {
        Self::built((names, vec![]), slack, store, by, settings).await
    }

    pub(crate) async fn built(
        (names, more): (Names, Vec<Rule>),
        slack: impl Into<Arc<SlackSim>>,
        store: Arc<MemoryStore>,
        by: By,
        settings: Settings,
    ) -> Self {
        let slack = slack.into();
        // What is signed is signed now.
        let clock = Arc::new(ManualClock::at(match by {
            By::Socket => jit_testkit::sample::start(),
            By::Http => wall_clock(),
        }));
        let people = people();
        let shaky = Arc::new(Shaky {
            people: people.clone(),
            ..Shaky::default()
        });
        let random = Arc::new(SeededRandom::new(7));
        let provider = memory_standing(clock.clone(), random.clone());
        let secret = |text: &str| SecretString::from(text.to_owned());
        let transport = match by {
            By::Socket => Transport::Socket {
                app_token: secret(slack.app_token()),
            },
            By::Http => Transport::Http {
                signing_secrets: vec![secret("another"), secret(slack.signing_secret())],
            },
        };
        let mut rules = vec![
            rule("*", &[Right::Request]),
            rule("group:slack:S0OFFICERS", &[Right::Approve]),
            rule("bob@example.com", &[Right::Approve, Right::Revoke]),
            // Who is nobody in Slack, so that two can decide.
            rule("dora@example.com", &[Right::Approve]),
            rule("cleo@example.com", &[Right::OnBehalfOf]),
        ];
        rules.extend(more);
        let named = rules.iter().flat_map(|rule| &rule.principals);
        let groups = named.filter_map(|who| match who {
            Who::Group(group) => Some(group.clone()),
            Who::AnyPerson | Who::AnyAgent | Who::Manager | Who::Principal(_) => None,
        });
        let groups = groups.collect();
        let policy = Policy::new(vec![tier("one", 1), tier("two", 2)], rules).unwrap();
        let adapter = Slack::new(SlackParts {
            settings,
            api: slack.api_url(),
            bot_token: secret(slack.bot_token()),
            transport,
            directory: shaky.clone(),
            store: store.clone(),
            clock: clock.clone(),
            random: random.clone(),
            catalog: catalog(),
            policy: policy.clone(),
            names,
        })
        .unwrap();
        let handle: Arc<dyn Provisioner> = Arc::new(provider.as_seen_by(clock.clone()));
        let directory = adapter.directory(groups);
        let parts = EngineParts {
            store: store.clone(),
            directory: directory.clone(),
            provisioners: BTreeMap::from([("memory".parse().unwrap(), handle)]),
            notifiers: vec![adapter.notifier()],
            pager: Arc::new(Beeper::default()),
            clock: clock.clone(),
            random,
            policy,
            catalog: catalog(),
        };
        let engine = Arc::new(Engine::new(parts, ClockTrust::Compared).unwrap());
        let door = adapter.door(engine.clone());
        let connection = door.connection();
        if let Some(routes) = door.router() {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let base_url = format!("http://{}", listener.local_addr().unwrap());
            tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
            slack.mode(slack_sim::Mode::Http { base_url });
        }
        let (stop, stopped) = oneshot::channel();
        let door = tokio::spawn(door.run(async move {
            let _ = stopped.await;
        }));
        let working = vec![
            tokio::spawn(tend(engine.clone(), OFTEN)),
            tokio::spawn(announce(engine.clone(), OFTEN)),
        ];
        let world = Self {
            slack,
            clock,
            store,
            people,
            shaky,
            directory,
            provider,
            engine,
            adapter,
            connection,
            stop: Some(stop),
            door: Some(door),
            working,
        };
        if by == By::Socket {
            world
                .until("a connection", |slack| slack.connections() > 0)
                .await;
        }
        world
    }

    /// How far Slack is reached, as whoever watches the service is told.
    pub(crate) fn reached(&self) -> Reached {
        self.connection.as_ref().unwrap().reached()
    }

    pub(crate) async fn until(&self, what: &str, is_so: impl FnMut(&SlackSim) -> bool) {
        assert!(self.slack.wait_until(is_so).await, "there was never {what}");
    }

    /// For a test with simulated time: the clock goes on with it, and whoever works looks less
    /// often. Each step of it is held up so long in real time: the system may hold back what a
    /// socket is to send for up to 200 ms, in which the patience of Slack must not run out.
    pub(crate) fn clock_runs(&mut self, held: Duration) {
        for working in self.working.drain(..) {
            working.abort();
        }
        let (tending, announcing) = (self.engine.clone(), self.engine.clone());
        let clock = self.clock.clone();
        self.working = vec![
            tokio::spawn(tend(tending, SELDOM)),
            tokio::spawn(announce(announcing, SELDOM)),
            tokio::spawn(async move {
                loop {
                    if !held.is_zero() {
                        // Simulated time stands while this is waited for.
                        let real = move || std::thread::sleep(held);
                        tokio::task::spawn_blocking(real).await.unwrap();
                    }
                    tokio::time::sleep(SELDOM).await;
                    clock.advance(SELDOM);
                }
            }),
        ];
    }

    /// From now on another process on the same store announces everything.
    pub(crate) fn announced_elsewhere(&mut self) {
        self.working.remove(1).abort();
    }

    /// The door of another process on the same store, which takes over what was left.
    pub(crate) fn another_door(&self) -> JoinHandle<()> {
        let door = self.adapter.door(self.engine.clone());
        tokio::spawn(door.run(std::future::pending()))
    }

    /// Lets the door end as at a SIGTERM.
    pub(crate) async fn stop(&mut self) {
        drop(self.stop.take());
        if let Some(door) = self.door.take() {
            door.await.unwrap();
        }
    }

    pub(crate) async fn requests(&self) -> Vec<AccessRequest> {
        let all = Query {
            limit: 1_000,
            ..Query::default()
        };
        self.store.query(&all).await.unwrap()
    }

    /// The only request, once there is one with this status.
    pub(crate) async fn request(&self, status: Status) -> AccessRequest {
        for _ in 0..500 {
            let found = self.requests().await;
            if let Some(request) = found.into_iter().find(|it| it.status() == status) {
                return request;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let seen: Vec<_> = self.requests().await.iter().map(|it| it.status()).collect();
        panic!("no request is {status}, but {seen:?}")
    }

    /// Waits until everything that was acknowledged is worked on.
    pub(crate) async fn worked_through(&self) {
        for _ in 0..500 {
            if self.store.inputs_left() == 0 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{} inputs are left", self.store.inputs_left());
    }

    /// Whether the provider really has it.
    pub(crate) fn is_there(&self, request: &AccessRequest) -> bool {
        let part = request.parts.first();
        let ledger = self.provider.ledger();
        ledger.present(&part.target, &part.parameters, self.clock.now())
    }

    /// Asks for `memory/admins` through the form, as this person.
    pub(crate) async fn ask(&self, who: &str, entitlement: &str) {
        let person = self.slack.user(who);
        assert!(person.slash("/jit", "").in_channel("C0SEC").await.acked());
        let form = person.modal().await;
        form.pick("target", entitlement).await;
        let form = person
            .modal_where(|view| view.to_string().contains("\"policy\""))
            .await;
        form.fill("reason", "the checkout is down");
        let sent = form.submit().await;
        assert!(matches!(sent, slack_sim::Submitted::Updated(_)), "{sent:?}");
        // The input is worked on when the window says what came of it.
        person
            .modal_where(|view| !view.to_string().contains("One moment"))
            .await;
    }

    /// The record as it is now.
    pub(crate) async fn load(&self, request: &AccessRequest) -> AccessRequest {
        let stored = self.store.load(request.id).await.unwrap();
        stored.expect("what was asked for stays in the store")
    }

    /// What this person is told in their own conversation, in these words among others.
    pub(crate) async fn dm(&self, who: &str, says: &str) -> slack_sim::Message {
        let person = self.slack.user(who);
        let meant = |message: &slack_sim::Message| message.words().contains(says);
        self.slack.wait_for(&person, "dm", meant).await
    }

    /// One of those messages, once it says this.
    pub(crate) async fn dm_at(&self, who: &str, ts: &str, says: &str) -> slack_sim::Message {
        let person = self.slack.user(who);
        self.slack
            .wait_for(&person, "dm", |message| {
                message.ts == ts && message.words().contains(says)
            })
            .await
    }

    /// The home of this person, once it shows this; it is not opened again for that.
    pub(crate) async fn home(&self, who: &str, shows: &str) -> String {
        self.home_where(who, shows, |home| home.contains(shows))
            .await
    }

    /// The same, once it shows this no more.
    pub(crate) async fn home_without(&self, who: &str, shows: &str) -> String {
        let what = format!("not {shows}");
        let is_gone = |home: &str| !home.contains(shows);
        self.home_where(who, &what, is_gone).await
    }

    async fn home_where(&self, who: &str, what: &str, is_it: impl Fn(&str) -> bool) -> String {
        let person = self.slack.user(who);
        let mut last = None;
        for _ in 0..500 {
            last = person.home().await.map(|home| home.to_string());
            match last {
                Some(home) if is_it(&home) => return home,
                _ => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        }
        panic!("the home of {who} never shows {what}, but {last:?}")
    }

    /// Whether anybody anywhere in the workspace can still click this.
    pub(crate) async fn offers(&self, action: &str) -> Vec<String> {
        let mut offers = vec![];
        for who in ["U0ANA", "U0BOB", "U0CLEO"] {
            let person = self.slack.user(who);
            let mut seen = person.messages("C0SEC").await;
            seen.extend(person.messages("C0RANDOM").await);
            seen.extend(person.dm().await);
            let seen = seen.iter().filter(|it| it.shows(action));
            offers.extend(seen.map(|it| format!("{who} in {}: {}", it.channel, it.words())));
            let name = format!("\"{action}\"");
            let home = person.home().await.map(|it| it.to_string());
            let window = person.modal_now().map(|it| it.view().to_string());
            let views = home.into_iter().chain(window);
            offers.extend(views.filter(|it| it.contains(&name)));
        }
        offers
    }

    /// What this person alone is told in a channel, in these words among others.
    pub(crate) async fn told(
        &self,
        who: &Person,
        channel: &str,
        words: &str,
    ) -> slack_sim::Message {
        let meant =
            |message: &slack_sim::Message| message.ephemeral && message.words().contains(words);
        self.slack.wait_for(who, channel, meant).await
    }

    /// The card of the only request, as this person sees it, once it says this.
    pub(crate) async fn card(&self, who: &str, says: &str) -> slack_sim::Message {
        let person = self.slack.user(who);
        self.slack
            .wait_for(&person, "C0SEC", |message| {
                message.thread_ts.is_none() && message.words().contains(says)
            })
            .await
    }
}

/// Whoever pays what is due, without waiting for a clock.
async fn tend(engine: Arc<Engine>, pause: Duration) {
    loop {
        for due in engine.due(100).await.unwrap() {
            let _ = engine.tend(due.id).await;
        }
        tokio::time::sleep(pause).await;
    }
}

/// Whoever tells; as in the daemon, tending does not wait for it.
async fn announce(engine: Arc<Engine>, pause: Duration) {
    loop {
        engine.announce_due(50).await.unwrap();
        tokio::time::sleep(pause).await;
    }
}

#[allow(
    clippy::disallowed_methods,
    reason = "the simulator signs with the wall clock"
)]
pub(crate) fn wall_clock() -> Timestamp {
    let now = std::time::SystemTime::now();
    let since = now.duration_since(std::time::UNIX_EPOCH).unwrap();
    Timestamp::from_unix_micros(since.as_micros().try_into().unwrap())
}

fn people() -> Arc<People> {
    let people = People::default();
    for name in ["ana", "bob", "cleo", "dora"] {
        let profile = Profile {
            id: id(name),
            kind: PrincipalKind::Person,
            active: true,
            groups: match name {
                "bob" | "dora" => Default::default(),
                _ => ["wiki".parse().unwrap()].into(),
            },
            groups_unknown: Default::default(),
            manager: None,
            subjects: BTreeMap::new(),
        };
        people.profiles.lock().unwrap().insert(id(name), profile);
    }
    for (name, user) in [("ana", "U0ANA"), ("bob", "U0BOB"), ("cleo", "U0CLEO")] {
        let alias = format!("slack:{user}").parse().unwrap();
        people.aliases.lock().unwrap().insert(alias, id(name));
    }
    Arc::new(people)
}

fn names() -> Names {
    [("ana", "U0ANA"), ("bob", "U0BOB"), ("cleo", "U0CLEO")]
        .into_iter()
        .map(|(name, user)| (id(name), user.parse().unwrap()))
        .collect()
}
