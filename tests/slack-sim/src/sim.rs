//! The simulator as tests hold it.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::routing::{any, post};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::time::Instant;

use crate::api;
use crate::control;
use crate::deliver::{Outcome, Parcel, event, gesture};
use crate::faults::{Faults, Switch};
use crate::gesture::CannotDo;
use crate::messages::Message;
use crate::modal::refuse;
use crate::person::{PATIENCE, Person, Place};
use crate::respond;
use crate::socket::{self, Disconnect, Link, Order};
use crate::state::{Call, Inner, Mode};
use crate::webhook::{Post, Reply, Signature, signed, unix_now};
use crate::workspace::{Standing, Workspace};

/// A simulated Slack on loopback. Dropping it stops it.
#[derive(Debug)]
pub struct SlackSim {
    pub(crate) inner: Arc<Inner>,
}

impl Drop for SlackSim {
    fn drop(&mut self) {
        self.inner.stop();
    }
}

impl SlackSim {
    /// Starts on a free port.
    ///
    /// # Panics
    /// If loopback has no free port.
    pub async fn start(workspace: Workspace) -> Self {
        let any_port = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        Self::start_at(any_port, workspace)
            .await
            .expect("loopback has a free port")
    }

    /// Starts at an address.
    ///
    /// # Errors
    /// If the address cannot be bound.
    pub async fn start_at(address: SocketAddr, workspace: Workspace) -> std::io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let inner = Arc::new(Inner::new(workspace, listener.local_addr()?));
        let router = Router::new()
            .route("/api/{method}", any(api::call))
            .route("/link/", any(socket::link))
            .route("/link", any(socket::link))
            .route("/response/{id}", post(respond::respond))
            .merge(control::router())
            .with_state(inner.clone());
        inner.spawn(async move {
            // Serving ends with the simulator.
            let _ = axum::serve(listener, router).await;
        });
        Ok(Self { inner })
    }

    /// The base of the Web API, without a trailing slash.
    pub fn api_url(&self) -> String {
        self.inner.url("/api")
    }

    /// The page on which a person uses the workspace.
    pub fn page_url(&self) -> String {
        self.inner.url("/")
    }

    /// The bot token.
    pub fn bot_token(&self) -> &str {
        self.inner.look(|state| state.bot_token())
    }

    /// The app-level token.
    pub fn app_token(&self) -> &str {
        self.inner.look(|state| state.app_token())
    }

    /// The secret that HTTP mode signs with.
    pub fn signing_secret(&self) -> &str {
        self.inner.look(|state| state.signing_secret())
    }

    /// The id of the workspace.
    pub fn team(&self) -> String {
        self.inner.look(|state| state.workspace.team.clone())
    }

    /// The user id of our bot.
    pub fn bot_user(&self) -> String {
        self.inner.look(|state| state.workspace.bot_user.clone())
    }

    /// A person of the workspace.
    ///
    /// # Panics
    /// If there is none of this id.
    pub fn user(&self, id: &str) -> Person {
        if !self
            .inner
            .look(|state| state.workspace.users.contains_key(id))
        {
            refuse(&CannotDo(format!("there is no user {id}")));
        }
        Person {
            inner: self.inner.clone(),
            id: id.to_owned(),
        }
    }

    /// Waits until somebody sees such a message.
    ///
    /// # Panics
    /// If it does not come; the message says what they see.
    pub async fn wait_for(
        &self,
        person: &Person,
        place: impl Into<Place>,
        is_it: impl Fn(&Message) -> bool,
    ) -> Message {
        let channel = place.into().channel(&person.id);
        let found = self.inner.until(PATIENCE, |state| {
            state
                .messages
                .seen_by(&person.id, &channel)
                .into_iter()
                .find(&is_it)
        });
        if let Some(message) = found.await {
            return message;
        }
        let seen: Vec<String> = person.seen(&channel).iter().map(Message::words).collect();
        let errors = self.seen_errors();
        let why = format!(
            "{} sees no such message in {channel}, but {seen:#?}; errors {errors:?}",
            person.id
        );
        refuse(&CannotDo(why))
    }

    /// Waits, for at most five seconds, until something is so; it need not be of the simulator.
    pub async fn wait_until(&self, mut is_so: impl FnMut(&Self) -> bool) -> bool {
        let mut changes = self.inner.changes();
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            changes.mark_unchanged();
            if is_so(self) {
                return true;
            }
            // Whether it changed or a moment passed, it is looked at again.
            let _ = tokio::time::timeout(Duration::from_millis(20), changes.changed()).await;
        }
        is_so(self)
    }

    /// Every call of a Web API method (`*` for all), in order.
    pub fn calls(&self, method: &str) -> Vec<Call> {
        let of = |it: &&Call| method == "*" || it.method == method;
        self.inner
            .look(|state| state.calls.iter().filter(of).cloned().collect())
    }

    /// Every call so far, in order; they are forgotten, so that long runs stay small. Nothing may
    /// be under way.
    pub fn take_calls(&self) -> Vec<Call> {
        self.inner.with(|state| std::mem::take(&mut state.calls))
    }

    /// Makes Web API calls go wrong.
    pub fn faults(&self) -> Faults {
        Faults {
            inner: self.inner.clone(),
        }
    }

    /// Every Web API answer takes this much longer.
    pub fn latency_ms(&self, ms: u64) {
        self.inner
            .with(|state| state.latency = Duration::from_millis(ms));
    }

    /// Says goodbye on every connection.
    pub fn disconnect(&self, why: Disconnect) {
        self.inner.with(|state| {
            for id in state.sockets.live.keys().copied().collect::<Vec<_>>() {
                state.sockets.goodbye(id, why);
            }
        });
    }

    /// Says goodbye on one connection, any.
    pub fn disconnect_one(&self, why: Disconnect) {
        self.inner.with(|state| {
            let random = state.draw();
            if let Some(id) = state.sockets.chosen(random) {
                state.sockets.goodbye(id, why);
            }
        });
    }

    /// Socket Mode is switched on again after [`Disconnect::LinkDisabled`].
    pub fn enable_link(&self) {
        self.inner.with(|state| state.sockets.link = Link::Enabled);
    }

    /// Drops every connection without a word.
    pub fn cut_sockets(&self) {
        self.inner
            .with(|state| state.sockets.tell_all(|| Order::Cut));
    }

    /// Drops one connection without a word, any.
    pub fn cut_one(&self) {
        self.inner.with(|state| {
            let random = state.draw();
            if let Some(id) = state.sockets.chosen(random) {
                state.sockets.tell(id, Order::Cut);
            }
        });
    }

    /// Drops every connection in the middle of a frame.
    pub fn tear_sockets(&self) {
        self.inner
            .with(|state| state.sockets.tell_all(|| Order::Tear));
    }

    /// Every connection stays open and neither hears nor says anything any more.
    pub fn freeze_sockets(&self) {
        self.inner
            .with(|state| state.sockets.tell_all(|| Order::Freeze));
    }

    /// New WebSockets are refused with 503.
    pub fn refuse_sockets(&self, when: impl Into<Switch>) {
        self.inner.with(|state| state.sockets.refuse = when.into());
    }

    /// New WebSockets are accepted and dropped before `hello`.
    pub fn accept_then_drop(&self, when: impl Into<Switch>) {
        self.inner.with(|state| state.sockets.drop = when.into());
    }

    /// New WebSockets are accepted and answer pings, and never say `hello`.
    pub fn silence_sockets(&self, when: impl Into<Switch>) {
        self.inner.with(|state| state.sockets.silent = when.into());
    }

    /// From now on tickets are for connections to this address, such as `wss://localhost:4804`,
    /// where somebody else takes the TLS off.
    pub fn sockets_at(&self, base: &str) {
        self.inner
            .with(|state| state.sockets.address = Some(base.to_owned()));
    }

    /// How many WebSockets are open.
    pub fn connections(&self) -> usize {
        self.inner.look(|state| state.sockets.live.len())
    }

    /// When `apps.connections.open` was called.
    pub fn opens(&self) -> Vec<Instant> {
        self.inner.look(|state| state.sockets.opens.clone())
    }

    /// The next envelopes are sent twice, perhaps over two connections.
    pub fn deliver_twice(&self, envelopes: u32) {
        self.inner.with(|state| state.twice = envelopes);
    }

    /// Whether a channel takes only about one message a second.
    pub fn pace_channels(&self, when: impl Into<Switch>) {
        self.inner.with(|state| state.pace = when.into());
    }

    /// Whether each method takes only so many calls in a minute.
    pub fn limit_methods(&self, when: impl Into<Switch>) {
        self.inner.with(|state| state.limits.when = when.into());
    }

    /// Takes a scope from the installed app.
    pub fn revoke_scope(&self, scope: &str) {
        self.inner
            .with(|state| state.workspace.scopes.remove(scope));
    }

    /// Gives a user group other members and tells the app.
    pub async fn edit_group(&self, id: &str, users: &[&str]) -> Outcome {
        let users = users.iter().map(|it| (*it).to_owned()).collect();
        match edit_group(&self.inner, id, users).await {
            Some(outcome) => outcome,
            None => refuse(&CannotDo(format!("there is no group {id}"))),
        }
    }

    /// Deactivates an account and tells the app.
    pub async fn deactivate(&self, user: &str) -> Outcome {
        match deactivate(&self.inner, user).await {
            Some(outcome) => outcome,
            None => refuse(&CannotDo(format!("there is no user {user}"))),
        }
    }

    /// How the app is reached.
    pub fn mode(&self, mode: Mode) {
        self.inner.with(|state| state.mode = mode);
    }

    /// Sends any payload as it is; an event, too, only once.
    pub async fn raw(&self, by: Option<&Person>, envelope_type: &str, payload: Value) -> Outcome {
        let who = by.map_or("nobody", |it| it.id.as_str());
        let what = format!("{who} sent a raw {envelope_type}");
        gesture(&self.inner, &what, Parcel::new(envelope_type, payload)).await
    }

    /// Sends any event, again if it is not acknowledged.
    pub async fn event(&self, body: Value) -> Outcome {
        event(&self.inner, body).await
    }

    /// When somebody saw Slack's own error, and why.
    pub fn seen_errors(&self) -> Vec<String> {
        self.inner.look(|state| state.seen_errors.clone())
    }

    /// What the app did that Slack does not take, seen by somebody or not.
    pub fn violations(&self) -> Vec<String> {
        self.inner.look(|state| state.violations.clone())
    }

    /// Scales Slack's deadlines; none gets below 100 ms.
    pub fn time_scale(&self, scale: f64) {
        self.inner
            .with(|state| state.scale = scale.clamp(0.0, 1000.0));
    }

    fn base_url(&self) -> String {
        match self.inner.look(|state| state.mode.clone()) {
            Mode::Http { base_url } => base_url,
            Mode::Socket => refuse(&CannotDo("the app is reached over sockets".to_owned())),
        }
    }

    /// POSTs anything to the app in HTTP mode.
    ///
    /// # Errors
    /// What went wrong on the way.
    pub async fn post(&self, post: &Post, how: Signature) -> Result<Reply, String> {
        let headers = signed(post, self.signing_secret(), how);
        self.inner
            .client
            .send(&self.base_url(), post, &headers)
            .await
    }

    /// The POST that a payload would go in.
    pub fn post_of(&self, envelope_type: &str, payload: Value) -> Post {
        crate::deliver::post(&Parcel::new(envelope_type, payload))
    }

    /// Sends the last POST again, byte for byte, signature and all.
    ///
    /// # Errors
    /// What went wrong on the way, or that there was none.
    pub async fn replay_last(&self) -> Result<Reply, String> {
        let Some((post, headers)) = self.inner.look(|state| state.last_post.clone()) else {
            return Err("nothing was sent yet".to_owned());
        };
        self.inner
            .client
            .send(&self.base_url(), &post, &headers)
            .await
    }

    /// Asks for the challenge as Slack does when the address is configured.
    ///
    /// # Errors
    /// What went wrong on the way.
    pub async fn verify_url(&self, challenge: &str) -> Result<Reply, String> {
        let body = json!({
            "token": "deprecated-verification-token", "challenge": challenge,
            "type": "url_verification",
        });
        self.post(&self.post_of("events_api", body), Signature::Valid)
            .await
    }

    /// Pings the command address as Slack does to check its certificate.
    ///
    /// # Errors
    /// What went wrong on the way.
    pub async fn ssl_check(&self) -> Result<Reply, String> {
        let body = json!({"ssl_check": "1", "token": "deprecated-verification-token"});
        self.post(&self.post_of("slash_commands", body), Signature::Valid)
            .await
    }
}

/// Gives a group these members; nothing if there is no such group.
pub(crate) async fn edit_group(
    inner: &Arc<Inner>,
    id: &str,
    users: Vec<String>,
) -> Option<Outcome> {
    let body = inner.with(|state| {
        let stamp = state.messages.stamp();
        let group = state.workspace.groups.get_mut(id)?;
        let old = std::mem::replace(&mut group.users, users.clone());
        let (before, now): (BTreeSet<_>, BTreeSet<_>) =
            (old.into_iter().collect(), users.into_iter().collect());
        let added: Vec<&String> = now.difference(&before).collect();
        let removed: Vec<&String> = before.difference(&now).collect();
        Some(json!({
            "type": "subteam_members_changed", "subteam_id": id,
            "team_id": state.workspace.team, "date_previous_update": 1_790_000_000,
            "date_update": unix_now(), "added_users": added,
            "added_users_count": added.len(), "removed_users": removed,
            "removed_users_count": removed.len(), "event_ts": stamp,
        }))
    })?;
    Some(event(inner, body).await)
}

/// Deactivates an account; nothing if there is no such account.
pub(crate) async fn deactivate(inner: &Arc<Inner>, user: &str) -> Option<Outcome> {
    let body = inner.with(|state| {
        state.workspace.users.get_mut(user)?.standing = Standing::Deactivated;
        let shown = state.user_json(user)?;
        let stamp = state.messages.stamp();
        Some(json!({
            "type": "user_change", "user": shown, "cache_ts": unix_now(), "event_ts": stamp,
        }))
    })?;
    Some(event(inner, body).await)
}
