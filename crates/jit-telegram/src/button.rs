//! What buttons carry: the id of their request and a random text. The store keeps the digest of that
//! with what the button is for; whoever takes it does so in one compare-and-set, so that it works once.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jit_core::Timestamp;
use jit_core::digest::Digest;
use jit_core::ports::{
    Commit, CommitError, ErrorKind, PortError, Random, RequestStore, Row, RowChange,
};
use jit_core::request::{AccessRequest, RequestId};
use serde::{Deserialize, Serialize};

use crate::ADAPTER;

/// The table of the store's small rows that holds the buttons of a request, by its id.
const TABLE: &str = "telegram_button";
/// Of random bytes, which are sent as twice as many digits. With the id of the request before them
/// that is 63 bytes, of the 64 that Telegram takes.
const BYTES: usize = 16;
/// How many buttons a request has; the oldest make room. A card has two.
const MOST: usize = 16;
/// How often a row is read again after somebody else wrote it first: each time one of those who click
/// at once was let through.
const TRIES: u32 = 40;
/// How often it is tried to give a button back, and the pause between.
const GIVEN_BACK: u32 = 3;
const PAUSE: Duration = Duration::from_millis(50);
/// Cards whose buttons are made and not shown yet that are remembered at once.
const UNSHOWN: usize = 1_000;

/// What a button does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Action {
    Approve,
    Deny,
}

/// What a button is for, as its row keeps it. A field is only ever added, with a default.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Button {
    /// The digest of what it carries.
    carries: Digest,
    /// The first 16 digits of the digest of what was shown.
    pub(crate) digest: String,
    /// What it does.
    pub(crate) action: Action,
    /// It is good before this instant.
    pub(crate) expires_at: Timestamp,
    /// The message under which it stands, once that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    message: Option<i64>,
    /// The input that used it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    used_by: Option<String>,
}

/// Which button was pressed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Pressed {
    /// The request that it names.
    pub(crate) request: RequestId,
    /// The digest of all that it carries.
    pub(crate) carries: Digest,
}

impl Pressed {
    /// What this is, if it has the form of what a button of ours carries.
    pub(crate) fn read(data: &str) -> Option<Self> {
        let (request, _) = data.split_once('.')?;
        Some(Self {
            request: request.parse().ok()?,
            carries: Digest::of(data.as_bytes()),
        })
    }
}

/// Why a button does nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoButton {
    /// There never was one, or not under this message.
    Unknown,
    /// Somebody used it.
    Used,
    /// Its time is over.
    Expired,
}

/// The buttons of one card, not used yet: what each carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pair {
    pub(crate) approve: String,
    pub(crate) deny: String,
}

/// For which card buttons are made.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct For {
    request: RequestId,
    digest: String,
    message: Option<i64>,
}

/// Makes and takes buttons.
pub(crate) struct Buttons {
    store: Arc<dyn RequestStore>,
    random: Arc<dyn Random>,
    /// Made, and perhaps not shown: while Telegram is away each try shows the same ones.
    unshown: Mutex<HashMap<For, Pair>>,
}

impl fmt::Debug for Buttons {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Buttons").finish_non_exhaustive()
    }
}

impl Buttons {
    pub(crate) fn new(store: Arc<dyn RequestStore>, random: Arc<dyn Random>) -> Self {
        Self {
            store,
            random,
            unshown: Mutex::default(),
        }
    }

    fn unshown(&self) -> MutexGuard<'_, HashMap<For, Pair>> {
        self.unshown.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Buttons for the card of this request under this message, or under one that is not posted yet.
    /// They are stored before anybody sees them.
    pub(crate) async fn make(
        &self,
        request: &AccessRequest,
        message: Option<i64>,
    ) -> Result<Pair, PortError> {
        let wanted = For::card(request, message);
        if let Some(pair) = self.unshown().get(&wanted).cloned() {
            return Ok(pair);
        }
        let pair = Pair {
            approve: self.drawn(request.id),
            deny: self.drawn(request.id),
        };
        let button = |data: &String, action| Button {
            carries: Digest::of(data.as_bytes()),
            digest: request.digest().prefix(),
            action,
            expires_at: request.decide_by,
            message,
            used_by: None,
        };
        let new = [
            button(&pair.approve, Action::Approve),
            button(&pair.deny, Action::Deny),
        ];
        let kept = self.change(request.id, "keep a button", |buttons| {
            buttons.retain(|it| new.iter().all(|new| new.carries != it.carries));
            buttons.extend(new.iter().cloned());
            buttons.drain(..buttons.len().saturating_sub(MOST));
        });
        kept.await?;
        let mut unshown = self.unshown();
        if unshown.len() >= UNSHOWN {
            unshown.clear();
        }
        unshown.insert(wanted, pair.clone());
        Ok(pair)
    }

    /// The card stands under this message now, with these buttons; they are good under no other.
    pub(crate) async fn shown(&self, request: &AccessRequest, before: Option<i64>, now: i64) {
        let Some(pair) = self.unshown().remove(&For::card(request, before)) else {
            return;
        };
        if before.is_some() {
            return;
        }
        let shown = [&pair.approve, &pair.deny].map(|data| Digest::of(data.as_bytes()));
        let bound = self.change(request.id, "bind a button", |buttons| {
            let of_this = |it: &&mut Button| shown.contains(&it.carries);
            buttons
                .iter_mut()
                .filter(of_this)
                .for_each(|it| it.message = Some(now));
        });
        // Where this fails, the button is good all the same.
        if let Err(error) = bound.await {
            tracing::info!(%error, "buttons could not be bound to their message");
        }
    }

    /// The card of this request may have been posted or changed, and nobody knows: its buttons stay
    /// good, and the next card has others.
    pub(crate) fn forget(&self, request: RequestId) {
        self.unshown().retain(|it, _| it.request != request);
    }

    /// Takes the button that was pressed, for this input; the same input may take it again.
    pub(crate) async fn take(
        &self,
        pressed: &Pressed,
        under: i64,
        by: &str,
        now: Timestamp,
    ) -> Result<Result<Button, NoButton>, PortError> {
        self.change(pressed.request, "take a button", |buttons| {
            let of_this = |it: &&mut Button| it.carries == pressed.carries;
            let button = buttons.iter_mut().find(of_this).ok_or(NoButton::Unknown)?;
            button.is_good(under, by, now)?;
            button.used_by = Some(by.to_owned());
            Ok(button.clone())
        })
        .await
    }

    /// Nothing came of what this input took the button for: it is good again.
    pub(crate) async fn give_back(&self, pressed: &Pressed, by: &str) -> Result<(), PortError> {
        let mut tries = 1;
        loop {
            let given = self.change(pressed.request, "give a button back", |buttons| {
                let of_this = |it: &&mut Button| {
                    it.carries == pressed.carries && it.used_by.as_deref() == Some(by)
                };
                buttons
                    .iter_mut()
                    .filter(of_this)
                    .for_each(|it| it.used_by = None);
            });
            match given.await {
                Err(error) if tries < GIVEN_BACK => {
                    tracing::info!(error = %error.chain(), "a button could not be given back yet");
                }
                given => return given,
            }
            tries += 1;
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Changes the buttons of a request in one compare-and-set, where there is anything to change.
    async fn change<T>(
        &self,
        request: RequestId,
        operation: &'static str,
        work: impl Fn(&mut Vec<Button>) -> T,
    ) -> Result<T, PortError> {
        let key = request.to_string();
        for _ in 0..TRIES {
            let row = self.store.row(TABLE, &key).await?;
            let mut buttons = match &row {
                Some(row) => read(row)?,
                None => vec![],
            };
            let before = buttons.clone();
            let said = work(&mut buttons);
            if buttons == before {
                return Ok(said);
            }
            let row = RowChange {
                row: Row {
                    table: TABLE,
                    key: key.clone(),
                    value: serde_json::to_string(&buttons)
                        .expect("a button has string keys and whole numbers, so it serialises"),
                },
                expected: row.map(|row| row.value),
            };
            let commit = Commit {
                rows: vec![row],
                ..Commit::default()
            };
            match self.store.commit(commit).await {
                Ok(_) => return Ok(said),
                Err(CommitError::Conflict) => {}
                Err(error) => return Err(failed(operation, error)),
            }
        }
        Err(failed(operation, CommitError::Conflict))
    }

    fn drawn(&self, request: RequestId) -> String {
        let mut bytes = [0; BYTES];
        self.random.fill(&mut bytes);
        let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        format!("{request}.{digits}")
    }
}

impl For {
    fn card(request: &AccessRequest, message: Option<i64>) -> Self {
        Self {
            request: request.id,
            digest: request.digest().prefix(),
            message,
        }
    }
}

impl Button {
    fn is_good(&self, under: i64, by: &str, now: Timestamp) -> Result<(), NoButton> {
        if self.message.is_some_and(|message| message != under) {
            return Err(NoButton::Unknown);
        }
        if self.used_by.as_deref().is_some_and(|user| user != by) {
            return Err(NoButton::Used);
        }
        match now < self.expires_at {
            true => Ok(()),
            false => Err(NoButton::Expired),
        }
    }
}

fn read(row: &Row) -> Result<Vec<Button>, PortError> {
    serde_json::from_str(&row.value).map_err(|error| {
        let kind = ErrorKind::Misconfigured;
        PortError::nothing_done(ADAPTER, "read a button", kind).because(error)
    })
}

fn failed(operation: &'static str, error: CommitError) -> PortError {
    match error {
        CommitError::Port(error) => error,
        CommitError::Conflict
        | CommitError::CounterFull { .. }
        | CommitError::InputDone
        | CommitError::TooLarge { .. } => {
            PortError::nothing_done(ADAPTER, operation, ErrorKind::Conflict).because(error)
        }
    }
}

#[cfg(test)]
mod tests {
    use jit_testkit::sample::{at, id};
    use jit_testkit::store::MemoryStore;
    use jit_testkit::time::SeededRandom;

    use super::*;

    /// The row of a request with a button that was used and one that was not shown yet, as released.
    const ROW: &str = r#"[{"carries":"1f09c93ce76d3c29356de2a20ac3ba8564833e9ae622312837c6d73854e32ba6","digest":"9b2c29b3aab190d3","action":"approve","expires_at":"2026-01-01T00:15:01Z","message":7,"used_by":"telegram/1"},{"carries":"011e23398daeccd4d75e0ed4c16457cf9bb8347827e733ed6b8a082b10e72d4e","digest":"9b2c29b3aab190d3","action":"deny","expires_at":"2026-01-01T00:15:01Z"}]"#;
    const APPROVE: &str = "req-01kdvdnaz8fajsn9atmndaa001.0123456789abcdef0123456789abcdef";
    const DENY: &str = "req-01kdvdnaz8fajsn9atmndaa001.fedcba9876543210fedcba9876543210";

    #[test]
    fn every_row_ever_released_still_loads() {
        let button = |data: &str, action, message, used_by: Option<&str>| Button {
            carries: Digest::of(data.as_bytes()),
            digest: "9b2c29b3aab190d3".to_owned(),
            action,
            expires_at: at(901),
            message,
            used_by: used_by.map(str::to_owned),
        };
        let buttons: Vec<Button> = serde_json::from_str(ROW).unwrap();
        let wanted = [
            button(APPROVE, Action::Approve, Some(7), Some("telegram/1")),
            button(DENY, Action::Deny, None, None),
        ];
        assert_eq!(buttons, wanted);
        assert_eq!(serde_json::to_string(&buttons).unwrap(), ROW);
    }

    #[tokio::test]
    async fn what_an_earlier_release_put_under_a_card_is_taken_once() {
        let store = Arc::new(MemoryStore::new());
        let key = id(1).to_string();
        let row = Row {
            table: "telegram_button",
            key: key.clone(),
            value: ROW.to_owned(),
        };
        let rows = vec![RowChange {
            row,
            expected: None,
        }];
        let commit = Commit {
            rows,
            ..Commit::default()
        };
        store.commit(commit).await.unwrap();
        let random = Arc::new(SeededRandom::new(1));
        let buttons = Buttons::new(store.clone(), random);
        let take = async |data, by| {
            let pressed = Pressed::read(data).unwrap();
            buttons.take(&pressed, 7, by, at(1)).await.unwrap()
        };
        assert_eq!(take(APPROVE, "telegram/2").await, Err(NoButton::Used));
        assert!(take(DENY, "telegram/3").await.is_ok());
        let now = store.row("telegram_button", &key).await.unwrap().unwrap();
        let used = ROW.replace(
            r#""deny","expires_at":"2026-01-01T00:15:01Z""#,
            r#""deny","expires_at":"2026-01-01T00:15:01Z","used_by":"telegram/3""#,
        );
        assert_eq!(now.value, used);
    }
}
