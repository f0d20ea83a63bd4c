//! What buttons carry: a random text that says nothing. The store keeps its digest with what the
//! button is for; whoever takes it does so in one compare-and-set, so that it works once.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jit_core::Timestamp;
use jit_core::digest::Digest;
use jit_core::ports::{
    Commit, CommitError, ErrorKind, PortError, Random, RequestStore, Row, RowChange,
};
use jit_core::request::{AccessRequest, RequestId};
use serde::{Deserialize, Serialize};

use crate::ADAPTER;

/// The table of the store's small rows that holds buttons, by the digest of what they carry.
const TABLE: &str = "telegram_button";
/// Of random bytes, which are sent as twice as many digits: Telegram takes 64.
const BYTES: usize = 16;
/// How often a row is read again after somebody else wrote it first.
const TRIES: u32 = 5;
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
    /// The request.
    pub(crate) request: RequestId,
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
            approve: self.drawn(),
            deny: self.drawn(),
        };
        let row = |data: &String, action| {
            let button = Button {
                request: request.id,
                digest: request.digest().prefix(),
                action,
                expires_at: request.decide_by,
                message,
                used_by: None,
            };
            button.change(&Digest::of(data.as_bytes()), None)
        };
        let rows = vec![
            row(&pair.approve, Action::Approve),
            row(&pair.deny, Action::Deny),
        ];
        let made = self.write(rows).await;
        made.map_err(|error| failed("keep a button", error))?;
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
        let mut rows = vec![];
        for data in [&pair.approve, &pair.deny] {
            let digest = Digest::of(data.as_bytes());
            // Where this fails, or somebody was faster, the button is good all the same.
            let Ok(Some(row)) = self.store.row(TABLE, &digest.to_string()).await else {
                return;
            };
            let Ok(button) = Button::read(&row) else {
                return;
            };
            let bound = Button {
                message: Some(now),
                ..button
            };
            rows.push(bound.change(&digest, Some(row.value)));
        }
        if let Err(error) = self.write(rows).await {
            tracing::info!(%error, "buttons could not be bound to their message");
        }
    }

    /// The card of this request may have been posted, and nobody knows where: its buttons stay good
    /// under whatever message shows them.
    pub(crate) fn forget(&self, request: &AccessRequest) {
        self.unshown().remove(&For::card(request, None));
    }

    /// Takes the button that carried what has this digest, for this input; the same input may take it
    /// again.
    pub(crate) async fn take(
        &self,
        digest: &Digest,
        under: i64,
        by: &str,
        now: Timestamp,
    ) -> Result<Result<Button, NoButton>, PortError> {
        for _ in 0..TRIES {
            let Some(row) = self.store.row(TABLE, &digest.to_string()).await? else {
                return Ok(Err(NoButton::Unknown));
            };
            let button = Button::read(&row)?;
            if let Err(why) = button.is_good(under, by, now) {
                return Ok(Err(why));
            }
            let taken = Button {
                used_by: Some(by.to_owned()),
                ..button.clone()
            };
            match self
                .write(vec![taken.change(digest, Some(row.value))])
                .await
            {
                Ok(()) => return Ok(Ok(button)),
                Err(CommitError::Conflict) => {}
                Err(error) => return Err(failed("take a button", error)),
            }
        }
        Ok(Err(NoButton::Used))
    }

    /// Nothing came of what this input took the button for: it is good again.
    pub(crate) async fn give_back(&self, digest: &Digest, by: &str) {
        let given = async {
            let row = self.store.row(TABLE, &digest.to_string()).await?;
            let Some(row) = row else { return Ok(()) };
            let button = Button::read(&row)?;
            if button.used_by.as_deref() != Some(by) {
                return Ok(());
            }
            let free = Button {
                used_by: None,
                ..button
            };
            self.write(vec![free.change(digest, Some(row.value))]).await
        };
        if let Err(error) = given.await {
            tracing::warn!(%error, "a button that did nothing stays used");
        }
    }

    async fn write(&self, rows: Vec<RowChange>) -> Result<(), CommitError> {
        let commit = Commit {
            rows,
            ..Commit::default()
        };
        self.store.commit(commit).await.map(drop)
    }

    fn drawn(&self) -> String {
        let mut bytes = [0; BYTES];
        self.random.fill(&mut bytes);
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
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
    fn read(row: &Row) -> Result<Self, PortError> {
        serde_json::from_str(&row.value).map_err(|error| {
            let kind = ErrorKind::Misconfigured;
            PortError::nothing_done(ADAPTER, "read a button", kind).because(error)
        })
    }

    fn change(&self, digest: &Digest, expected: Option<String>) -> RowChange {
        RowChange {
            row: Row {
                table: TABLE,
                key: digest.to_string(),
                value: serde_json::to_string(self)
                    .expect("a button has string keys and whole numbers, so it serialises"),
            },
            expected,
        }
    }

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
