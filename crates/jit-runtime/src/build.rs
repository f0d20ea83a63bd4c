//! From a configuration to an engine: the adapters that it names are opened, wrapped in what counts
//! and limits their calls, and put together. Everything that runs the engine begins here.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jit_core::Engine;
use jit_core::audit::{Actor, SystemFact};
use jit_core::catalog::{EntitlementId, ProviderName};
use jit_core::engine::{BadParts, ClockTrust, EngineParts};
use jit_core::policy::{Policy, Who};
use jit_core::ports::{
    Clock, CommitError, Directory, ErrorKind, Notifier, Pager, PortError, Provisioner, Random,
    RequestStore, Rota, Row, RowChange,
};
use jit_core::principal::GroupName;
use jit_core::quota::Rate;
use jit_dynamodb::DynamoStore;
use jit_groupfile::GroupFile;
use jit_iam::{AssumedRole, TemporaryPolicy};
use jit_identity_center::{Budget, IdentityCenter};
use jit_okta::{Okta, OktaDirectory, OktaGroups};
use jit_pagerduty::{PagerDuty, PagerDutyEvents};
use jit_slack::{BadWeb, Slack, SlackParts};
use jit_sqlite::{Options, SqliteStore};
use jit_telegram::{Telegram, TelegramParts};
use jit_tokens::{Tokens, Upstream};
use jit_vault::{Vault, VaultTokens};
use secrecy::SecretString;

use crate::clock::{OsRandom, SystemClock};
use crate::config::{self, Config, IamAccess, LogFormat, Minting, ProviderKind, RotaKind, Store};
use crate::csv::CsvSink;
use crate::events::{Backend, EventLines};
#[cfg(feature = "failpoints")]
use crate::failpoint;
use crate::nudge::Nudge;
use crate::observe::{MeteredProvisioner, MeteredStore};
use crate::pager::{Pagers, WebhookPager};
use crate::rota::WithRotas;
use crate::throttle::Throttled;
use crate::worker::{Worker, WorkerSettings};

/// How long one record may be tended in one go.
const RECORD_DEADLINE: Duration = Duration::from_secs(60);
/// The small row that remembers with which configuration a process last started.
const CONFIGURED: &str = "configured";
const DIGEST: &str = "digest";
/// How often that row is read again after another process wrote it first.
const TRIES: u32 = 5;

/// Why a store could not be opened. Nothing was changed in it.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file cannot be used.
    #[error(transparent)]
    Sqlite(#[from] jit_sqlite::OpenError),
    /// The table cannot be used.
    #[error(transparent)]
    DynamoDb(#[from] jit_dynamodb::OpenError),
}

/// Why a configuration could not be turned into an engine.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The store cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// An adapter cannot be made.
    #[error(transparent)]
    Adapter(#[from] PortError),
    /// The workspace cannot be reached at all.
    #[error(transparent)]
    Slack(#[from] BadWeb),
    /// The engine refuses what it is made of.
    #[error(transparent)]
    Parts(#[from] BadParts),
}

/// The adapters of one process. A test puts its own in the place of one of them.
pub struct Adapters {
    /// Remembers.
    pub store: Arc<dyn RequestStore>,
    /// The same store, where it is a table whose lists are checked now and then.
    pub table: Option<DynamoStore>,
    /// Knows people.
    pub directory: Arc<dyn Directory>,
    /// Give and take access, by configured name.
    pub provisioners: BTreeMap<ProviderName, Arc<dyn Provisioner>>,
    /// Tell people and systems.
    pub notifiers: Vec<Arc<dyn Notifier>>,
    /// The workspace, where there is one.
    pub slack: Option<Slack>,
    /// The Vault, where there is one.
    pub vault: Option<Arc<Vault>>,
    /// The chat in Telegram, where there is one.
    pub telegram: Option<Telegram>,
    /// Wakes somebody up.
    pub pager: Arc<dyn Pager>,
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
    /// Rolls the dice.
    pub random: Arc<dyn Random>,
    /// Wakes the loops of this process when it committed something.
    pub nudge: Nudge,
}

impl fmt::Debug for Adapters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let providers: Vec<_> = self.provisioners.keys().collect();
        f.debug_struct("Adapters")
            .field("provisioners", &providers)
            .finish_non_exhaustive()
    }
}

impl Adapters {
    /// Opens what the configuration names. The store's file is made where it does not exist;
    /// providers are first called when something is asked of them.
    pub async fn open(config: &Config) -> Result<Self, BuildError> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let random: Arc<dyn Random> = Arc::new(OsRandom);
        let okta = okta(config, &clock, &random)?;
        let vault = vault(config, &clock)?;
        let provisioners = provisioners(config, &clock, okta.as_ref(), vault.as_ref()).await?;
        let csv = config.audit.csv.as_ref();
        let csv = csv.map(|file| Arc::new(CsvSink::new(file)) as Arc<dyn Notifier>);
        let events = (config.log.format == LogFormat::Events).then(|| {
            let lines = EventLines::new(backends(config), named(config));
            lines.registered();
            Arc::new(lines) as Arc<dyn Notifier>
        });
        let (store, table) = opened(&config.store).await?;
        #[cfg(feature = "failpoints")]
        let store: Arc<dyn RequestStore> = Arc::new(failpoint::FatalStore::new(store));
        let mut adapters = Self {
            store,
            table,
            directory: directory(config, &clock, okta.as_ref())?,
            provisioners,
            notifiers: csv.into_iter().chain(events).collect(),
            vault,
            slack: None,
            telegram: None,
            pager: Arc::new(pagers(&config.pager)?),
            clock,
            random,
            nudge: Nudge::default(),
        };
        if let Some(workspace) = &config.slack {
            adapters.join(workspace, config)?;
        }
        if let Some(chat) = &config.telegram {
            adapters.join_telegram(chat, config)?;
        }
        #[cfg(feature = "failpoints")]
        adapters.become_fatal();
        Ok(adapters)
    }

    /// Puts a place at which a test may kill this process around whatever others can see.
    #[cfg(feature = "failpoints")]
    fn become_fatal(&mut self) {
        for provisioner in self.provisioners.values_mut() {
            let inner = Arc::clone(provisioner);
            *provisioner = Arc::new(failpoint::FatalProvisioner::new(inner));
        }
        for notifier in &mut self.notifiers {
            let inner = Arc::clone(notifier);
            *notifier = Arc::new(failpoint::FatalNotifier::new(inner));
        }
        let inner = Arc::clone(&self.pager);
        self.pager = Arc::new(failpoint::FatalPager::new(inner));
    }

    /// Puts the workspace beside the other adapters: it tells people, and it knows user groups.
    fn join(&mut self, workspace: &config::Slack, config: &Config) -> Result<(), BuildError> {
        let slack = Slack::new(SlackParts {
            settings: workspace.settings.clone(),
            api: workspace.api.clone(),
            bot_token: workspace.bot_token.clone(),
            transport: workspace.transport.clone(),
            directory: Arc::clone(&self.directory),
            store: Arc::clone(&self.store),
            clock: Arc::clone(&self.clock),
            random: Arc::clone(&self.random),
            catalog: config.catalog.clone(),
            policy: config.policy.clone(),
            names: workspace.names.clone(),
        })?;
        let groups = groups_of(&config.policy);
        self.directory = slack.directory(groups.collect());
        self.notifiers.push(slack.notifier());
        self.slack = Some(slack);
        Ok(())
    }

    /// Puts the chat beside the other adapters: it tells people.
    fn join_telegram(
        &mut self,
        chat: &config::Telegram,
        config: &Config,
    ) -> Result<(), BuildError> {
        let telegram = Telegram::new(TelegramParts {
            chat: chat.chat,
            api: chat.api.clone(),
            bot_token: chat.bot_token.clone(),
            transport: chat.transport.clone(),
            directory: Arc::clone(&self.directory),
            store: Arc::clone(&self.store),
            clock: Arc::clone(&self.clock),
            random: Arc::clone(&self.random),
            catalog: config.catalog.clone(),
        })?;
        self.notifiers.push(telegram.notifier());
        self.telegram = Some(telegram);
        Ok(())
    }

    /// Counts and limits the calls of these adapters and puts them together under the policy of
    /// the configuration.
    pub fn engine(&self, config: &Config, trust: ClockTrust) -> Result<Engine, BadParts> {
        let provisioners = self.provisioners.iter().map(|(name, provisioner)| {
            // The meter is inside: what the quota holds back never was a call.
            let metered = MeteredProvisioner::new(name.clone(), Arc::clone(provisioner));
            let metered: Arc<dyn Provisioner> = Arc::new(metered);
            let clock = Arc::clone(&self.clock);
            let served: Arc<dyn Provisioner> = match has_quota(config, name) {
                true => Arc::new(Throttled::new(metered, clock, Rate::default())),
                false => metered,
            };
            (name.clone(), served)
        });
        let parts = EngineParts {
            store: Arc::new(MeteredStore::new(
                Arc::clone(&self.store),
                self.nudge.clone(),
            )),
            directory: Arc::clone(&self.directory),
            provisioners: provisioners.collect(),
            notifiers: self.notifiers.clone(),
            pager: Arc::clone(&self.pager),
            clock: Arc::clone(&self.clock),
            random: Arc::clone(&self.random),
            policy: config.policy.clone(),
            catalog: config.catalog.clone(),
        };
        Engine::new(parts, trust)
    }

    /// What programs may ask for by name.
    pub fn approval_service(
        &self,
        approval: &config::ApprovalService,
    ) -> jit_http::ApprovalService {
        let vault = self.vault.clone();
        jit_http::ApprovalService {
            keys: approval.keys.clone(),
            requesters: approval.requesters.clone(),
            resources: approval.resources.clone(),
            nobody_decides: approval.nobody_decides.clone(),
            vault: Arc::new(move || {
                let vault = vault.clone();
                Box::pin(async move {
                    match vault {
                        Some(vault) => vault.health().await.as_str(),
                        None => "none",
                    }
                })
            }),
        }
    }

    /// A worker on this engine that works as hard as the configuration says.
    pub fn worker(&self, config: &Config, engine: &Arc<Engine>) -> Worker {
        let settings = WorkerSettings {
            tick: config.worker.tick,
            tasks_per_provider: config.worker.tasks_per_provider,
            record_deadline: RECORD_DEADLINE,
        };
        let random = Arc::clone(&self.random);
        Worker::new(Arc::clone(engine), random, settings).woken_by(&self.nudge)
    }
}

/// Opens the store alone, for the verbs that need nothing else.
pub async fn open_store(store: &Store) -> Result<Arc<dyn RequestStore>, StoreError> {
    opened(store).await.map(|(store, _)| store)
}

async fn opened(store: &Store) -> Result<(Arc<dyn RequestStore>, Option<DynamoStore>), StoreError> {
    match store {
        Store::Sqlite { file } => {
            let store = SqliteStore::open(file, Options::default())?;
            Ok((Arc::new(store), None))
        }
        // On the heap: the future of AWS's client is a large one.
        Store::DynamoDb(settings) => {
            let table = Box::pin(DynamoStore::connect(settings)).await?;
            Ok((Arc::new(table.clone()), Some(table)))
        }
    }
}

pub(crate) async fn provisioners(
    config: &Config,
    clock: &Arc<dyn Clock>,
    okta: Option<&Arc<Okta>>,
    vault: Option<&Arc<Vault>>,
) -> Result<BTreeMap<ProviderName, Arc<dyn Provisioner>>, PortError> {
    // One budget a region: AWS counts the calls of all of them together.
    let mut budgets: BTreeMap<&str, Arc<Budget>> = BTreeMap::new();
    // And one an account: IAM counts there.
    let mut accounts: BTreeMap<&str, Arc<Budget>> = BTreeMap::new();
    let mut made: BTreeMap<ProviderName, Arc<dyn Provisioner>> = BTreeMap::new();
    for provider in &config.providers {
        let (name, clock) = (provider.name.clone(), Arc::clone(clock));
        let provisioner: Arc<dyn Provisioner> = match &provider.kind {
            ProviderKind::GroupFile { file } => Arc::new(GroupFile::new(name.clone(), file, clock)),
            ProviderKind::IdentityCenter { settings, limits } => {
                let budget = || Arc::new(Budget::new(*limits, Arc::clone(&clock)));
                let budget = budgets.entry(&settings.region).or_insert_with(budget);
                let (settings, budget) = (settings.as_ref().clone(), Arc::clone(budget));
                let connected = Box::pin(IdentityCenter::connect(settings, budget, clock)).await;
                Arc::new(connected?)
            }
            ProviderKind::Iam {
                access,
                settings,
                limits,
            } => {
                let budget = || Arc::new(jit_iam::Budget::new(*limits, Arc::clone(&clock)));
                let budget = accounts.entry(&settings.account_id).or_insert_with(budget);
                let (settings, budget) = (settings.as_ref().clone(), Arc::clone(budget));
                match access {
                    IamAccess::Policy => {
                        let connected = TemporaryPolicy::connect(settings, budget, clock);
                        Arc::new(Box::pin(connected).await?)
                    }
                    IamAccess::Session => {
                        let connected = AssumedRole::connect(settings, budget, clock);
                        Arc::new(Box::pin(connected).await?)
                    }
                }
            }
            ProviderKind::Okta(_) => match okta {
                Some(okta) => Arc::new(OktaGroups::new(Arc::clone(okta))),
                // There is one wherever the configuration names an organization.
                None => continue,
            },
            ProviderKind::Vault(_) => match vault {
                Some(vault) => Arc::new(VaultTokens::new(Arc::clone(vault))),
                None => continue,
            },
            ProviderKind::Tokens {
                kind,
                address,
                path,
            } => {
                let Some(vault) = vault else { continue };
                let settings = jit_tokens::Settings {
                    provider: name.clone(),
                    address: address.clone(),
                    path: path.clone(),
                    upstream: Arc::new(KeptInVault(Arc::clone(vault))),
                    clock,
                };
                Arc::new(match kind {
                    Minting::Grafana => Tokens::of_grafana(settings)?,
                    Minting::InfluxDb => Tokens::of_influxdb(settings)?,
                    Minting::HomeAssistant => Tokens::of_home_assistant(settings)?,
                })
            }
        };
        made.insert(name, provisioner);
    }
    Ok(made)
}

/// Who is woken up.
fn pagers(config: &config::Pager) -> Result<Pagers, PortError> {
    let mut outlets: Vec<Arc<dyn Pager>> = Vec::new();
    if let Some(webhook) = config.webhook.clone() {
        outlets.push(Arc::new(WebhookPager::new(webhook.url, webhook.token)?));
    }
    if let Some(settings) = config.pagerduty.clone() {
        outlets.push(Arc::new(PagerDutyEvents::new(settings)?));
    }
    Ok(Pagers::new(outlets))
}

/// The one client of the Okta organization, where there is one: whatever uses it shares its quota and
/// its token. Nothing is sent yet.
///
/// # Errors
/// Where it cannot be made.
pub(crate) fn okta(
    config: &Config,
    clock: &Arc<dyn Clock>,
    random: &Arc<dyn Random>,
) -> Result<Option<Arc<Okta>>, PortError> {
    let settings = config.providers.iter().find_map(|it| match &it.kind {
        ProviderKind::Okta(organization) => Some(organization.0.as_ref().clone()),
        ProviderKind::GroupFile { .. }
        | ProviderKind::IdentityCenter { .. }
        | ProviderKind::Iam { .. }
        | ProviderKind::Vault(_)
        | ProviderKind::Tokens { .. } => None,
    });
    let connect = |settings| Okta::connect(settings, Arc::clone(clock), Arc::clone(random));
    settings.map(connect).transpose()
}

/// The one client of the Vault, where there is one: whatever uses it shares its login. Nothing is sent
/// yet.
pub(crate) fn vault(
    config: &Config,
    clock: &Arc<dyn Clock>,
) -> Result<Option<Arc<Vault>>, PortError> {
    let settings = config.providers.iter().find_map(|it| match &it.kind {
        ProviderKind::Vault(server) => Some(server.0.as_ref().clone()),
        ProviderKind::GroupFile { .. }
        | ProviderKind::IdentityCenter { .. }
        | ProviderKind::Iam { .. }
        | ProviderKind::Okta(_)
        | ProviderKind::Tokens { .. } => None,
    });
    let connect = |settings| Vault::connect(settings, Arc::clone(clock));
    settings.map(connect).transpose()
}

/// The services' own credentials, which lie in the Vault.
struct KeptInVault(Arc<Vault>);

#[async_trait]
impl Upstream for KeptInVault {
    async fn fields(&self, path: &str) -> Result<BTreeMap<String, SecretString>, PortError> {
        self.0.read_kv(path).await
    }
}

/// What programs call what they ask for.
fn named(config: &Config) -> BTreeMap<EntitlementId, String> {
    let approval = config.approval.iter();
    let resources = approval.flat_map(|approval| &approval.resources);
    resources
        .map(|(name, id)| (id.clone(), name.clone()))
        .collect()
}

/// What the providers are called in the lines of named events.
fn backends(config: &Config) -> BTreeMap<ProviderName, Backend> {
    let backend = |name, dynamic| Some(Backend { name, dynamic });
    let named = config.providers.iter().filter_map(|provider| {
        let backend = match &provider.kind {
            ProviderKind::Vault(_) => backend("static", false),
            ProviderKind::Tokens { kind, .. } => match kind {
                Minting::Grafana => backend("grafana", true),
                Minting::InfluxDb => backend("influxdb", true),
                Minting::HomeAssistant => backend("homeassistant", true),
            },
            ProviderKind::GroupFile { .. }
            | ProviderKind::IdentityCenter { .. }
            | ProviderKind::Iam { .. }
            | ProviderKind::Okta(_) => None,
        };
        Some((provider.name.clone(), backend?))
    });
    named.collect()
}

/// Who people are now, for whoever needs nothing else.
///
/// # Errors
/// Where an adapter cannot be made.
pub(crate) fn people_now(config: &Config) -> Result<Arc<dyn Directory>, PortError> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let random: Arc<dyn Random> = Arc::new(OsRandom);
    let okta = okta(config, &clock, &random)?;
    directory(config, &clock, okta.as_ref())
}

/// Who people are, and who of them is on call.
///
/// # Errors
/// Where an adapter cannot be made.
pub(crate) fn directory(
    config: &Config,
    clock: &Arc<dyn Clock>,
    okta: Option<&Arc<Okta>>,
) -> Result<Arc<dyn Directory>, PortError> {
    let mut people: Arc<dyn Directory> = Arc::new(config.people.clone());
    if let (Some(directory), Some(okta)) = (&config.directory, okta) {
        let settings = directory.settings.clone();
        people = Arc::new(OktaDirectory::new(Arc::clone(okta), people, settings)?);
    }
    if config.rotas.is_empty() {
        return Ok(people);
    }
    let rotas = rotas(config)?;
    Ok(Arc::new(WithRotas::new(people, rotas, Arc::clone(clock))))
}

/// Who knows who is on call, by the group that rules name.
///
/// # Errors
/// Where an adapter cannot be made.
pub(crate) fn rotas(config: &Config) -> Result<BTreeMap<GroupName, Arc<dyn Rota>>, PortError> {
    let mut rotas: BTreeMap<GroupName, Arc<dyn Rota>> = BTreeMap::new();
    for rota in &config.rotas {
        let asked: Arc<dyn Rota> = match (&rota.kind, &config.pagerduty) {
            (RotaKind::Weekly(weekly), _) => Arc::new(weekly.clone()),
            (RotaKind::PagerDuty { duty, levels }, Some(pagerduty)) => {
                Arc::new(PagerDuty::rota(jit_pagerduty::Settings {
                    token: pagerduty.token.clone(),
                    api: pagerduty.api.clone(),
                    duty: duty.clone(),
                    levels: *levels,
                })?)
            }
            // The configuration's reader has refused it.
            (RotaKind::PagerDuty { .. }, None) => {
                let kind = ErrorKind::Misconfigured;
                return Err(PortError::nothing_done("pagerduty", "be asked", kind));
            }
        };
        rotas.insert(rota.group.clone(), asked);
    }
    Ok(rotas)
}

/// The groups that the rules of a policy name.
pub(crate) fn groups_of(policy: &Policy) -> impl Iterator<Item = GroupName> {
    let who = policy.rules().iter().flat_map(|rule| &rule.principals);
    who.filter_map(|who| match who {
        Who::Group(group) => Some(group.clone()),
        Who::AnyPerson | Who::AnyAgent | Who::Manager | Who::Principal(_) => None,
    })
}

/// Whether the last process started with this configuration.
pub async fn is_recorded(engine: &Engine, config: &Config) -> Result<bool, CommitError> {
    let row = engine.store().row(CONFIGURED, DIGEST).await?;
    Ok(row.is_some_and(|row| row.value == config.digest.to_string()))
}

/// Writes into the audit with which configuration this process starts, unless the last one started
/// with the same.
pub async fn record_configuration(engine: &Engine, config: &Config) -> Result<(), CommitError> {
    let digest = config.digest;
    for _ in 0..TRIES {
        let before = engine.store().row(CONFIGURED, DIGEST).await?;
        let before = before.map(|row| row.value);
        let value = digest.to_string();
        if before.as_ref() == Some(&value) {
            return Ok(());
        }
        let row = Row {
            table: CONFIGURED,
            key: DIGEST.to_owned(),
            value,
        };
        let change = RowChange {
            row,
            expected: before,
        };
        let fact = SystemFact::Configured { digest };
        match engine
            .record_system(&Actor::System, fact, vec![change])
            .await
        {
            // Another process starts at the same time; perhaps with the same configuration.
            Err(CommitError::Conflict) => {}
            done => return done,
        }
    }
    Err(CommitError::Conflict)
}

/// A quota is for a vendor's patience. A file of this machine has none to lose, and nobody must be
/// turned away there because many ask.
fn has_quota(config: &Config, name: &ProviderName) -> bool {
    let known = config.providers.iter().find(|it| it.name == *name);
    match known.map(|it| &it.kind) {
        Some(ProviderKind::GroupFile { .. }) => false,
        // It keeps one of its own, call by call.
        Some(
            ProviderKind::IdentityCenter { .. } | ProviderKind::Iam { .. } | ProviderKind::Okta(_),
        ) => false,
        // They are the operator's own, and say so where they are asked too fast.
        Some(ProviderKind::Vault(_) | ProviderKind::Tokens { .. }) => false,
        None => true,
    }
}
