//! The one state of a simulator behind one lock, and what waits for it to change.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;

use crate::faults::{FaultTable, Limits, Switch};
use crate::messages::Messages;
use crate::socket::Sockets;
use crate::views::Views;
use crate::webhook::{Client, Post};
use crate::workspace::{Channel, Email, Visibility, Workspace};

/// How the app is reached.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Mode {
    /// Over its WebSockets.
    #[default]
    Socket,
    /// By signed POSTs below this address.
    Http {
        /// Without a trailing slash; `/slack/command` and so on are appended.
        base_url: String,
    },
}

/// One Web API call as it came.
#[derive(Debug, Clone)]
pub struct Call {
    /// As in `chat.postMessage`.
    pub method: String,
    /// Its arguments, from query, form or JSON.
    pub body: Value,
    /// When it came.
    pub at: Instant,
    /// The token it came with, empty for none.
    pub token: String,
    /// What it was answered, `Null` before that and after a fault that says nothing.
    pub answer: Value,
}

/// A right to open one modal, soon.
#[derive(Debug)]
pub(crate) struct Trigger {
    pub(crate) user: String,
    pub(crate) at: Instant,
    pub(crate) used: Used,
    /// The view the gesture was made in.
    pub(crate) view: Option<String>,
}

/// Whether a single-use thing was used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Used {
    No,
    Yes,
}

/// A right to answer into a conversation, five times in half an hour.
#[derive(Debug, Clone)]
pub(crate) struct Responder {
    pub(crate) user: String,
    pub(crate) channel: String,
    /// The message that was clicked.
    pub(crate) source: Option<String>,
    pub(crate) at: Instant,
    pub(crate) uses: u32,
}

/// An envelope that waits for its acknowledgement.
#[derive(Debug)]
pub(crate) struct Pending {
    /// When it was sent last.
    pub(crate) at: Instant,
    pub(crate) sockets: Vec<u64>,
    pub(crate) payload_allowed: PayloadAllowed,
    pub(crate) answer: Option<oneshot::Sender<Option<Value>>>,
    /// What went wrong with an acknowledgement, if one came.
    pub(crate) astray: Option<&'static str>,
}

/// Whether an acknowledgement may carry a payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PayloadAllowed {
    No,
    Yes,
}

#[derive(Debug)]
pub(crate) struct State {
    pub(crate) workspace: Workspace,
    pub(crate) messages: Messages,
    pub(crate) views: Views,
    pub(crate) sockets: Sockets,
    pub(crate) triggers: HashMap<String, Trigger>,
    pub(crate) responders: HashMap<String, Responder>,
    pub(crate) pending: HashMap<String, Pending>,
    pub(crate) settled: BTreeSet<String>,
    /// The options an app offered last, by view and action.
    pub(crate) offered: HashMap<(String, String), Vec<Value>>,
    pub(crate) calls: Vec<Call>,
    pub(crate) faults: FaultTable,
    pub(crate) latency: Duration,
    pub(crate) scale: f64,
    pub(crate) mode: Mode,
    pub(crate) twice: u32,
    pub(crate) last_post: Option<(Post, Vec<(String, String)>)>,
    pub(crate) pace: Switch,
    pub(crate) limits: Limits,
    pub(crate) posted_at: BTreeMap<String, Instant>,
    pub(crate) seen_errors: Vec<String>,
    pub(crate) violations: Vec<String>,
    counter: u64,
    random: u64,
}

impl State {
    fn new(workspace: Workspace) -> Self {
        let random = getrandom::u64().unwrap_or(0x9E37_79B9_7F4A_7C15);
        let mut state = Self {
            workspace,
            messages: Messages::default(),
            views: Views::default(),
            sockets: Sockets::default(),
            triggers: HashMap::new(),
            responders: HashMap::new(),
            pending: HashMap::new(),
            settled: BTreeSet::new(),
            offered: HashMap::new(),
            calls: vec![],
            faults: FaultTable::default(),
            latency: Duration::ZERO,
            scale: 1.0,
            mode: Mode::Socket,
            twice: 0,
            last_post: None,
            pace: Switch::Off,
            limits: Limits::default(),
            posted_at: BTreeMap::new(),
            seen_errors: vec![],
            violations: vec![],
            counter: 0,
            random,
        };
        let people: Vec<String> = state.workspace.users.keys().cloned().collect();
        for user in people {
            state.direct(&user);
        }
        state
    }

    pub(crate) fn bot_token(&self) -> &'static str {
        "xoxb-sim-0000000001-bot"
    }

    pub(crate) fn app_token(&self) -> &'static str {
        "xapp-1-A0JITAPP1-sim-0000000001"
    }

    pub(crate) fn signing_secret(&self) -> &'static str {
        "5160a1b2c3d4e5f60718293a4b5c6d7e"
    }

    /// An id nobody had before.
    pub(crate) fn fresh(&mut self, prefix: &str) -> String {
        self.counter += 1;
        let random = self.draw() & 0xFFFF;
        format!("{prefix}{:06X}{random:04X}", self.counter)
    }

    /// A number nobody foresees (splitmix64).
    pub(crate) fn draw(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut it = self.random;
        it = (it ^ (it >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        it = (it ^ (it >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        it ^ (it >> 31)
    }

    /// A deadline of Slack's in simulated time, long enough for a busy machine.
    pub(crate) fn scaled(&self, real: Duration) -> Duration {
        real.mul_f64(self.scale).max(Duration::from_millis(100))
    }

    /// The conversation between a person and our bot.
    pub(crate) fn direct(&mut self, user: &str) -> String {
        let id = direct_id(user);
        let bot = self.workspace.bot_user.clone();
        self.workspace
            .channels
            .entry(id.clone())
            .or_insert_with(|| Channel::direct(&id, user, &bot));
        id
    }

    pub(crate) fn trigger(&mut self, user: &str, view: Option<&str>) -> String {
        let id = self.fresh("1337.4242.");
        let trigger = Trigger {
            user: user.to_owned(),
            at: Instant::now(),
            used: Used::No,
            view: view.map(str::to_owned),
        };
        self.triggers.insert(id.clone(), trigger);
        id
    }

    pub(crate) fn responder(&mut self, user: &str, channel: &str, source: Option<&str>) -> String {
        let id = self.fresh("R");
        let responder = Responder {
            user: user.to_owned(),
            channel: channel.to_owned(),
            source: source.map(str::to_owned),
            at: Instant::now(),
            uses: 0,
        };
        self.responders.insert(id.clone(), responder);
        id
    }

    /// The user as interactive payloads name them.
    pub(crate) fn user_ref(&self, id: &str) -> Value {
        let user = self.workspace.users.get(id);
        let name = user.map_or("unknown", |it| it.name.as_str());
        let team = user
            .and_then(|it| it.team.as_deref())
            .unwrap_or(&self.workspace.team);
        json!({"id": id, "username": name, "name": name, "team_id": team})
    }

    pub(crate) fn team_ref(&self) -> Value {
        json!({"id": self.workspace.team, "domain": self.workspace.domain})
    }

    pub(crate) fn channel_name(&self, id: &str) -> String {
        match self.workspace.channels.get(id) {
            Some(it) if it.visibility == Visibility::Direct => "directmessage".to_owned(),
            Some(it) => it.name.clone(),
            None => "unknown".to_owned(),
        }
    }

    pub(crate) fn user_json(&self, id: &str) -> Option<Value> {
        let email = if self.workspace.scopes.contains("users:read.email") {
            Email::Shown
        } else {
            Email::Hidden
        };
        self.workspace
            .users
            .get(id)
            .map(|it| it.json(&self.workspace.team, email))
    }
}

/// The conversation with our bot is named after the person.
pub(crate) fn direct_id(user: &str) -> String {
    format!("D{}", user.strip_prefix(['U', 'W']).unwrap_or(user))
}

/// What the tasks of a simulator share.
pub(crate) struct Inner {
    state: Mutex<State>,
    changed: watch::Sender<u64>,
    closing: watch::Sender<bool>,
    pub(crate) address: SocketAddr,
    pub(crate) client: Client,
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inner")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

impl Inner {
    pub(crate) fn new(workspace: Workspace, address: SocketAddr) -> Self {
        Self {
            state: Mutex::new(State::new(workspace)),
            changed: watch::Sender::new(0),
            closing: watch::Sender::new(false),
            address,
            client: Client::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the state and wakes whoever waits.
    pub(crate) fn with<R>(&self, change: impl FnOnce(&mut State) -> R) -> R {
        let result = change(&mut self.lock());
        self.changed.send_modify(|it| *it = it.wrapping_add(1));
        result
    }

    /// Reads the state.
    pub(crate) fn look<R>(&self, read: impl FnOnce(&State) -> R) -> R {
        read(&self.lock())
    }

    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Waits, at most `limit`, until the state shows what is looked for.
    pub(crate) async fn until<T>(
        &self,
        limit: Duration,
        mut found: impl FnMut(&State) -> Option<T>,
    ) -> Option<T> {
        let mut changes = self.changes();
        let deadline = Instant::now() + limit;
        loop {
            changes.mark_unchanged();
            if let Some(it) = self.look(&mut found) {
                return Some(it);
            }
            if tokio::time::timeout_at(deadline, changes.changed())
                .await
                .is_err()
            {
                return self.look(&mut found);
            }
        }
    }

    /// Runs a task until the simulator stops.
    pub(crate) fn spawn(self: &Arc<Self>, task: impl Future<Output = ()> + Send + 'static) {
        let mut closing = self.closing.subscribe();
        tokio::spawn(async move {
            tokio::select! {
                () = task => {}
                _ = closing.wait_for(|it| *it) => {}
            }
        });
    }

    pub(crate) fn stop(&self) {
        self.closing.send_replace(true);
    }

    pub(crate) fn stopped(&self) -> bool {
        *self.closing.borrow()
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Somebody saw Slack's own error.
    pub(crate) fn saw_error(&self, what: String) {
        self.with(|state| state.seen_errors.push(what));
    }

    /// The app did what Slack does not take, though perhaps nobody saw it.
    pub(crate) fn violation(&self, what: String) {
        self.with(|state| state.violations.push(what));
    }
}
