//! Remembers in a DynamoDB table that any number of hosts share: daemons, sweepers and operator
//! verbs on different machines work on one store.
//!
//! One table, partition key `pk` and sort key `sk`, both strings. Everything that a commit changes is
//! one `TransactWriteItems` whose conditions say what it was decided on. What is listed (due rows,
//! requests of a person, what changed since) has rows of its own in the same table, written in the
//! same transaction, so a read that begins after a commit returned sees it; a global secondary
//! index, or a stream, would show it some time later.
//!
//! # What it costs
//! [`DynamoStore::usage`] counts calls and units as DynamoDB bills them. `docs/AWS.md` has the
//! numbers of a whole lifecycle.

#![warn(missing_docs)]

mod admin;
mod attempts;
mod check;
mod commit;
mod error;
mod item;
mod keys;
mod lists;
mod read;
mod rows;
mod table;
mod transaction;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use aws_config::{BehaviorVersion, Region};
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::retry::RetryConfig;
use aws_sdk_dynamodb::config::timeout::TimeoutConfig;
use jit_core::Timestamp;
use jit_core::audit::{ChainHead, SYSTEM_CHAIN, Sealed};
use jit_core::ports::{
    Commit, CommitError, Delivery, Due, Idempotency, Inbox, InboxItem, PortError, Query,
    RequestStore, Row,
};
use jit_core::provider::SlotKey;
use jit_core::request::{AccessRequest, RequestId, Slot};

pub use admin::{ACTIONS, ADMIN_ACTIONS, cloudformation, create_table};
pub use check::Difference;
pub use error::OpenError;
pub use table::Usage;

use commit::{Plan, check_ceilings, events_of, stands_on};
use error::{Failure, Fault};
use table::Table;
use transaction::{Ended, mark, send, was_written};

/// How long a connection may take.
const CONNECT_LIMIT: Duration = Duration::from_secs(2);
/// How long one try of a call may take.
const TRY_LIMIT: Duration = Duration::from_secs(3);
/// How long a call may take with all its tries.
const CALL_LIMIT: Duration = Duration::from_secs(5);
/// How often a call is tried. All of them are safe to repeat: transactions carry a token.
const TRIES: u32 = 3;
/// How long before its facts are too old a commit is no longer sent: DynamoDB writes what it took a
/// moment after it was sent, and nothing can bound that moment from here.
const ARRIVES_WITHIN: Duration = Duration::from_millis(500);
/// How often a commit looks anew after something changed that only the store looked at.
const LOOKS: u32 = 8;
/// The longest pause before it looks anew.
const PAUSE: Duration = Duration::from_millis(160);

/// Which table, where.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings {
    /// Its name.
    pub table: String,
    /// Its region; the one of the environment where none is given.
    pub region: Option<String>,
    /// Where DynamoDB answers, where it is not AWS that does.
    pub endpoint: Option<String>,
}

/// A store in a DynamoDB table. Cheap to share; any number may work on one table.
#[derive(Clone)]
pub struct DynamoStore {
    table: Arc<Table>,
    left_out: Arc<read::LeftOut>,
}

impl fmt::Debug for DynamoStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DynamoStore")
            .field("table", &self.table.name)
            .finish_non_exhaustive()
    }
}

/// A client as this store wants it: rustls with ring, deadlines, and tries that repeat a call
/// safely. Credentials come from the environment, a profile, or the machine's own role.
///
/// # Errors
/// [`OpenError::NoRegion`] where neither the settings nor the environment name one.
pub async fn client(settings: &Settings) -> Result<Client, OpenError> {
    use aws_smithy_http_client::{Builder, tls};
    let ring = tls::Provider::Rustls(tls::rustls_provider::CryptoMode::Ring);
    let http = Builder::new().tls_provider(ring).build_https();
    let limits = TimeoutConfig::builder()
        .connect_timeout(CONNECT_LIMIT)
        .operation_attempt_timeout(TRY_LIMIT)
        .operation_timeout(CALL_LIMIT)
        .build();
    let tries = RetryConfig::standard()
        .with_max_attempts(TRIES)
        .with_initial_backoff(Duration::from_millis(50));
    let mut defaults = aws_config::defaults(BehaviorVersion::latest())
        .http_client(http)
        .timeout_config(limits)
        .retry_config(tries);
    if let Some(region) = &settings.region {
        defaults = defaults.region(Region::new(region.clone()));
    }
    if let Some(endpoint) = &settings.endpoint {
        defaults = defaults.endpoint_url(endpoint);
    }
    let shared = defaults.load().await;
    match shared.region() {
        Some(_) => Ok(Client::new(&shared)),
        None => Err(OpenError::NoRegion),
    }
}

impl DynamoStore {
    /// Opens a table that exists and is a store of ours, or is empty and becomes one.
    ///
    /// # Errors
    /// Each [`OpenError`] says what to do; the table is as it was.
    pub async fn connect(settings: &Settings) -> Result<Self, OpenError> {
        Self::open(client(settings).await?, &settings.table).await
    }

    /// The same with a client of the caller's own making. Its tries and deadlines are the caller's.
    ///
    /// # Errors
    /// As [`DynamoStore::connect`].
    pub async fn open(client: Client, table: &str) -> Result<Self, OpenError> {
        admin::recognise(&client, table).await?;
        let table = Table::new(client, table.to_owned());
        Ok(Self {
            table: Arc::new(table),
            left_out: Arc::default(),
        })
    }

    /// What the calls of this process have cost so far.
    pub fn usage(&self) -> Usage {
        self.table.usage()
    }

    /// Reads the whole table, compares each record with the rows that list it, and mends what
    /// differs: a list that lacks a record gets it, a row that lists nothing goes. There should be
    /// nothing to mend; what is found is worth an alarm. Reads everything, so it costs what exists.
    pub async fn check(&self) -> Result<Difference, PortError> {
        let checked = check::check(&self.table).await;
        checked.map_err(|failure| failure.during("check the lists"))
    }

    async fn look_and_write(&self, commit: &Commit) -> Result<Vec<Delivery>, Fault> {
        // Tokio's clock, for how long it waited; what time it is comes from the engine.
        let began = tokio::time::Instant::now();
        check_ceilings(commit)?;
        let mut looks = Looks::new();
        let mut sent = Vec::new();
        loop {
            let seen = self.table.get_all(&stands_on(commit)).await;
            // What was sent for an earlier look and was cancelled may have had a first try.
            let seen = seen.map_err(|failure| match sent.is_empty() {
                true => failure,
                false => failure.unsure(),
            })?;
            let mut plan = match Plan::new(commit, &seen) {
                Ok(plan) => plan,
                Err(fault) => return self.unless_written(commit, sent, fault).await,
            };
            let gone = began.elapsed() + ARRIVES_WITHIN;
            let left = commit.good_for.map(|it| it.checked_sub(gone));
            let Some(within) = left.map_or(Some(None), |left| left.map(Some)) else {
                return self.unless_written(commit, sent, Fault::Conflict).await;
            };
            let token = looks.token();
            let mark = mark(&mut plan.writes, &token);
            match send(&self.table, plan.writes, &token, within).await {
                Ok(()) => return Ok(plan.taken),
                Err(ended) => {
                    sent.extend(mark.map(|mark| (mark, token, plan.taken)));
                    if let Err(fault) = looks.again(ended).await {
                        return self.unless_written(commit, sent, fault).await;
                    }
                }
            }
        }
    }

    /// What ends a commit, unless one of the transactions that were sent for it, and said to be
    /// cancelled, was written after all: its first try, while a second one was refused for it.
    async fn unless_written(
        &self,
        commit: &Commit,
        sent: Vec<(keys::Key, String, Vec<Delivery>)>,
        fault: Fault,
    ) -> Result<Vec<Delivery>, Fault> {
        if matches!(fault, Fault::Failed(_)) {
            return Err(fault);
        }
        for (mark, token, taken) in sent {
            if was_written(&self.table, &mark, &token).await? {
                return Ok(taken);
            }
        }
        // Events are not looked at before, for their absence is a condition. That one is there
        // comes before what else is not as expected.
        let rest = matches!(fault, Fault::InputDone | Fault::CounterFull { .. });
        if rest && !self.table.get_all(&events_of(commit)).await?.is_empty() {
            return Err(Fault::Conflict);
        }
        Err(fault)
    }
}

/// Names one write of one caller.
fn token() -> String {
    uuid::Uuid::new_v4().simple().to_string()
}

/// How often a write has looked at what it stands on.
struct Looks {
    began: tokio::time::Instant,
    token: String,
    count: u32,
}

impl Looks {
    fn new() -> Self {
        Self {
            began: tokio::time::Instant::now(),
            token: token(),
            count: 0,
        }
    }

    /// Names the transaction of this look; after another look it may be another one. DynamoDB takes
    /// up to 36 characters.
    fn token(&self) -> String {
        format!("{}-{}", self.token, self.count)
    }

    /// Waits for the next look, where there is to be one: longer from look to look, and another
    /// time for each caller, so that they do not meet again.
    async fn again(&mut self, ended: Ended) -> Result<(), Fault> {
        match ended {
            Ended::For(fault) => return Err(fault),
            Ended::Again if self.count + 1 >= LOOKS || self.began.elapsed() > CALL_LIMIT => {
                return Err(Fault::Conflict);
            }
            Ended::Again => {}
        }
        let longest = Duration::from_millis(10 << self.count).min(PAUSE);
        let spread = u32::from(self.token.bytes().next_back().unwrap_or_default() % 16) + 1;
        self.count += 1;
        tokio::time::sleep(longest * spread / 16).await;
        Ok(())
    }
}

fn answered<T>(operation: &'static str, answer: Result<T, Failure>) -> Result<T, PortError> {
    answer.map_err(|failure| failure.during(operation))
}

#[async_trait]
impl RequestStore for DynamoStore {
    async fn story(
        &self,
        id: RequestId,
    ) -> Result<Option<(AccessRequest, Vec<Sealed>)>, PortError> {
        answered("load with its chain", read::story(&self.table, id).await)
    }

    async fn load(&self, id: RequestId) -> Result<Option<AccessRequest>, PortError> {
        answered("load", read::load(&self.table, id).await)
    }

    async fn slot(&self, key: &SlotKey) -> Result<Option<Slot>, PortError> {
        let read = async {
            let row = self.table.get(&keys::slot(key)).await?;
            let owner = row.as_ref().map(item::slot_owner).transpose()?;
            let key = key.clone();
            Ok(owner.map(|owner| Slot { key, owner }))
        };
        answered("read a slot", read.await)
    }

    async fn commit(&self, commit: Commit) -> Result<Vec<Delivery>, CommitError> {
        let written = self.look_and_write(&commit).await;
        written.map_err(|fault| fault.during("commit"))
    }

    async fn due(&self, now: Timestamp, limit: usize) -> Result<Vec<Due>, PortError> {
        let due = read::due(&self.table, &self.left_out, now, limit).await;
        answered("list what is due", due)
    }

    async fn newest_commit(&self) -> Result<Option<Timestamp>, PortError> {
        let newest = read::newest_commit(&self.table).await;
        answered("read the newest commit", newest)
    }

    async fn deliveries_due(
        &self,
        notifiers: &[String],
        now: Timestamp,
        limit: usize,
    ) -> Result<Vec<Delivery>, PortError> {
        let due = read::deliveries_due(&self.table, &self.left_out, notifiers, now, limit).await;
        answered("list due deliveries", due)
    }

    async fn deliveries_take(
        &self,
        notifier: &str,
        now: Timestamp,
        until: Timestamp,
        limit: usize,
    ) -> Result<Vec<Delivery>, PortError> {
        let rows = (&*self.table, &*self.left_out);
        let taken = rows::deliveries_take(rows, notifier, (now, until), limit).await;
        answered("take deliveries", taken)
    }

    async fn deliveries(&self, request: RequestId) -> Result<Vec<Delivery>, PortError> {
        let found = read::deliveries(&self.table, request).await;
        answered("list deliveries", found)
    }

    async fn delivery_update(&self, delivery: Delivery) -> Result<(), CommitError> {
        let written = rows::delivery_update(&self.table, &delivery).await;
        written.map_err(|fault| fault.during("update a delivery"))
    }

    async fn events(&self, id: RequestId) -> Result<Vec<Sealed>, PortError> {
        answered("read a chain", read::events(&self.table, id).await)
    }

    async fn system_events(&self, after: u64, limit: usize) -> Result<Vec<Sealed>, PortError> {
        let events = read::system_events(&self.table, after, limit).await;
        answered("read the system chain", events)
    }

    async fn system_head(&self) -> Result<ChainHead, PortError> {
        let read = async {
            let row = self.table.get(&keys::system_head()).await?;
            let head = row.as_ref().map(item::chain_head).transpose()?;
            Ok(head.unwrap_or_else(|| ChainHead::start(SYSTEM_CHAIN)))
        };
        answered("read the system head", read.await)
    }

    async fn query(&self, query: &Query) -> Result<Vec<AccessRequest>, PortError> {
        let found = read::query(&self.table, &self.left_out, query).await;
        answered("query", found)
    }

    async fn by_suffix(&self, suffix: &str) -> Result<Vec<RequestId>, PortError> {
        answered("find an id", read::by_suffix(&self.table, suffix).await)
    }

    async fn chains(
        &self,
        after: Option<RequestId>,
        limit: usize,
    ) -> Result<Vec<RequestId>, PortError> {
        answered("list chains", read::chains(&self.table, after, limit).await)
    }

    async fn idempotency(&self, key: &str) -> Result<Option<Idempotency>, PortError> {
        let read = async {
            let row = self.table.get(&keys::idempotency(key)).await?;
            let used = row.as_ref().map(|row| item::read_idempotency(key, row));
            Ok(used.transpose()?)
        };
        answered("look up a key", read.await)
    }

    async fn row(&self, table: &'static str, key: &str) -> Result<Option<Row>, PortError> {
        let read = async {
            let row = self.table.get(&keys::row(table, key)).await?;
            let row = row.as_ref().map(|row| item::read_small_row(table, row));
            Ok(row.transpose()?)
        };
        answered("read a row", read.await)
    }

    async fn rows(&self, table: &'static str) -> Result<Vec<Row>, PortError> {
        answered("read rows", read::rows(&self.table, table).await)
    }

    async fn inbox_put(
        &self,
        key: &str,
        input: &str,
        received_at: Timestamp,
    ) -> Result<Inbox, PortError> {
        let put = rows::inbox_put(&self.table, key, input, received_at).await;
        answered("keep an input", put)
    }

    async fn inbox_take(&self, now: Timestamp, limit: usize) -> Result<Vec<InboxItem>, PortError> {
        let rows = (&*self.table, &*self.left_out);
        let taken = rows::inbox_take(rows, now, limit).await;
        answered("take inputs", taken)
    }

    async fn inbox_done(&self, key: &str) -> Result<(), PortError> {
        answered("end an input", rows::inbox_done(&self.table, key).await)
    }
}
