//! Gives access by account assignments of AWS IAM Identity Center: one user, one permission set,
//! one account. The README beside it says how it is set up and what of AWS it rests on.
//!
//! A provider's own words (permission set, assignment, instance) stay inside this crate. Nothing
//! here decides who may have what.

#![warn(missing_docs)]

mod accounts;
mod assignment;
mod lookup;
mod offers;
mod operations;
mod policy;
mod rounds;
mod sets;
mod trouble;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use aws_config::SdkConfig;
use aws_sdk_ssoadmin::config::SharedInterceptor;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use jit_aws::{Aws, Errand, NotDone};
use jit_core::catalog::{Entitlement, ProviderName};
use jit_core::ports::{
    Clock, Effect, GrantCall, InspectCall, Minted, Offer, Page, PortError, Provisioner, Purpose,
    RevokeCall, Standing,
};
use jit_core::principal::Profile;
use jit_core::provider::{Answer, Description, Kind, NativeExpiry, Parameters, Presence, Resolved};

use accounts::Accounts;
use assignment::{Change, Place};
use operations::{Operations, Unwatched};
use rounds::Rounds;
use sets::Sets;
use trouble::Trouble;

pub use jit_aws::{Budget, Limits};
pub use policy::{DISCOVER_ACTIONS, GRANT_ACTIONS, Policy, REVOKE_ACTIONS, policies};

/// The longest that an accepted operation takes. AWS documents no limit; operations are visible
/// while they take (`ListAccountAssignmentCreationStatus`), so nothing ends by this number alone.
const APPLIED_WITHIN: Duration = Duration::from_secs(300);
/// The longest session of a permission set: "minimum 1 hour, maximum 12 hours" ("Set session
/// duration for AWS accounts", IAM Identity Center User Guide).
const SESSION_LIMIT: Duration = Duration::from_secs(12 * 3_600);
/// Every call of the port ends by this; the contract allows 15 s.
const CALL_LIMIT: Duration = Duration::from_secs(14);
/// More pages than any list has: the longest, of ten thousand accounts, has 500.
const PAGES_LIMIT: usize = 10_000;
/// How long a listing of offers, which nobody waits for at a keyboard, waits for its turn.
const OFFER_PATIENCE: Duration = Duration::from_secs(60);

/// Which instance, and how it is used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The name that this provider is configured under.
    pub provider: ProviderName,
    /// The region that Identity Center was enabled in.
    pub region: String,
    /// `arn:aws:sso:::instance/ssoins-…`: the realm of every target.
    pub instance_arn: String,
    /// `d-…`: where the users are.
    pub identity_store_id: String,
    /// Where AWS is, for tests; AWS itself by default.
    pub endpoint_url: Option<String>,
    /// What a person's own id is in the identity store, for whom no subject is written down.
    pub users: UserLookup,
    /// What `offers` lists.
    pub offers: OfferScope,
    /// What accounts are called in entitlements.
    pub accounts: AccountNames,
    /// How an accepted operation is watched.
    pub pace: Pace,
}

impl Settings {
    /// The instance with this ARN and this identity store, all else by default.
    pub fn new(
        provider: ProviderName,
        region: impl Into<String>,
        instance_arn: impl Into<String>,
        identity_store_id: impl Into<String>,
    ) -> Self {
        Self {
            provider,
            region: region.into(),
            instance_arn: instance_arn.into(),
            identity_store_id: identity_store_id.into(),
            endpoint_url: None,
            users: UserLookup::default(),
            offers: OfferScope::default(),
            accounts: AccountNames::default(),
            pace: Pace::default(),
        }
    }

    fn place(&self) -> jit_aws::Place {
        jit_aws::Place {
            region: self.region.clone(),
            endpoint_url: self.endpoint_url.clone(),
        }
    }

    fn check(&self) -> Result<(), Trouble> {
        let is_arn = self.instance_arn.starts_with("arn:")
            && self.instance_id().is_some_and(|id| !id.is_empty());
        if !is_arn {
            let say = "the instance ARN is not `arn:aws:sso:::instance/ssoins-…`";
            return Err(Trouble::BadSettings(say));
        }
        if self.identity_store_id.is_empty() {
            return Err(Trouble::BadSettings("the identity store id is empty"));
        }
        if self.region.is_empty() {
            return Err(Trouble::BadSettings("the region is empty"));
        }
        Ok(())
    }

    /// `ssoins-…`, which stands in the ARN of every permission set of the instance too.
    fn instance_id(&self) -> Option<&str> {
        let (_, id) = self.instance_arn.split_once(":instance/")?;
        Some(id)
    }
}

/// What the canonical id of a person, for whom no subject is written down, is in the identity store.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum UserLookup {
    /// Their user name there (`userName`).
    UserName,
    /// Their e-mail address there (`emails.value`).
    #[default]
    Email,
}

/// What `offers` lists.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum OfferScope {
    /// Every permission set in every active account.
    #[default]
    Every,
    /// Only permission sets in accounts that they are provisioned to already.
    Provisioned,
}

/// What accounts are called in entitlements: one way for all of them, so that one assignment has one
/// name.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum AccountNames {
    /// By their names in the organization: `aws/prod-shop/ReadOnly`. Whoever may rename an account
    /// chooses which patterns it fits.
    #[default]
    Names,
    /// By their ids, which nobody can change: `aws/222222222222/ReadOnly`. People search by name all
    /// the same.
    Ids,
}

/// How an accepted operation is watched until it is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// The first wait; each next one is half as long again, up to the longest.
    pub first: Duration,
    /// The longest wait.
    pub most: Duration,
    /// How long it is watched; after that it is `Accepted`.
    pub within: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            first: Duration::from_millis(250),
            most: Duration::from_millis(250),
            within: Duration::from_secs(10),
        }
    }
}

/// The account assignments of one IAM Identity Center instance.
pub struct IdentityCenter {
    settings: Settings,
    clock: Arc<dyn Clock>,
    aws: Aws<Clients>,
    sets: Sets,
    accounts: Accounts,
    operations: Operations,
    unwatched: Unwatched,
    /// For who gives and for who takes away.
    rounds: [Lists; 2],
    management_account: Mutex<Option<String>>,
}

/// The clients of the three services.
#[derive(Debug)]
struct Clients {
    sso: aws_sdk_ssoadmin::Client,
    store: aws_sdk_identitystore::Client,
    organizations: aws_sdk_organizations::Client,
}

impl Clients {
    /// What looks at requests to `sso-admin` on their way, only tests have.
    fn new(config: &SdkConfig, watcher: Option<&SharedInterceptor>) -> Self {
        let mut sso = aws_sdk_ssoadmin::config::Builder::from(config);
        if let Some(watcher) = watcher {
            sso.push_interceptor(watcher.clone());
        }
        Self {
            sso: aws_sdk_ssoadmin::Client::from_conf(sso.build()),
            store: aws_sdk_identitystore::Client::new(config),
            organizations: aws_sdk_organizations::Client::new(config),
        }
    }
}

/// What AWS has in progress.
#[derive(Debug, Default)]
struct Lists {
    creations: Rounds,
    deletions: Rounds,
}

impl std::fmt::Debug for IdentityCenter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("IdentityCenter")
            .field("provider", &self.settings.provider)
            .field("instance_arn", &self.settings.instance_arn)
            .finish_non_exhaustive()
    }
}

impl IdentityCenter {
    /// Connects with the default chain of credentials: environment, profile, web identity, ECS,
    /// IMDS. Nothing is sent to Identity Center yet, and credentials are first loaded when
    /// something is.
    ///
    /// # Errors
    /// [`Misconfigured`](jit_core::ports::ErrorKind::Misconfigured) where the settings cannot be
    /// right.
    pub async fn connect(
        settings: Settings,
        budget: Arc<Budget>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, PortError> {
        let config = jit_aws::load(&settings.place(), &clock).await;
        Self::with_sdk_config(settings, budget, clock, config)
    }

    /// Connects with the credentials of this configuration. Retries, timeouts, time, TLS and region
    /// are set here whatever it says of them.
    ///
    /// # Errors
    /// [`Misconfigured`](jit_core::ports::ErrorKind::Misconfigured) where the settings cannot be
    /// right.
    pub fn with_sdk_config(
        settings: Settings,
        budget: Arc<Budget>,
        clock: Arc<dyn Clock>,
        config: SdkConfig,
    ) -> Result<Self, PortError> {
        Self::watched(settings, budget, clock, config, None)
    }

    fn watched(
        settings: Settings,
        budget: Arc<Budget>,
        clock: Arc<dyn Clock>,
        config: SdkConfig,
        watcher: Option<SharedInterceptor>,
    ) -> Result<Self, PortError> {
        let checked = settings.check();
        checked.map_err(|trouble| trouble.during("connect"))?;
        let reach = jit_aws::Reach {
            provider: settings.provider.clone(),
            place: settings.place(),
            budget,
            clock: Arc::clone(&clock),
        };
        let clients = move |config: &SdkConfig| Clients::new(config, watcher.as_ref());
        Ok(Self {
            aws: Aws::new(reach, config, clients),
            settings,
            clock,
            sets: Sets::default(),
            accounts: Accounts::default(),
            operations: Operations::default(),
            unwatched: Unwatched::default(),
            rounds: Default::default(),
            management_account: Mutex::new(None),
        })
    }

    fn clients(&self) -> Arc<Clients> {
        self.aws.clients()
    }

    /// Waits for its turn, asks, and learns from the answer.
    async fn ask<T, E>(
        &self,
        errand: Errand,
        action: &'static str,
        call: impl Future<Output = Result<T, SdkError<E, HttpResponse>>>,
    ) -> Result<T, Trouble>
    where
        E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    {
        Ok(self.aws.ask(errand, action, call).await?)
    }

    /// Asks in a turn that came already.
    async fn ask_now<T, E>(
        &self,
        purpose: Purpose,
        action: &'static str,
        call: impl Future<Output = Result<T, SdkError<E, HttpResponse>>>,
    ) -> Result<T, Trouble>
    where
        E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    {
        Ok(self.aws.ask_now(purpose, action, call).await?)
    }

    /// Waits until a call may be made.
    async fn turn(&self, errand: Errand) -> Result<(), Trouble> {
        Ok(self.aws.turn(errand).await?)
    }

    /// What a failed call teaches for the next ones.
    fn learn(&self, purpose: Purpose, answer: Box<NotDone>) -> Trouble {
        self.aws.learn(purpose, answer).into()
    }

    fn errand(&self, purpose: Purpose) -> Errand {
        self.aws.errand(purpose)
    }
}

/// Where a list goes on.
#[derive(Debug, Default)]
struct Pages {
    token: Option<String>,
    turned: usize,
}

impl Pages {
    /// Turns to the page of this token, if there is any. An empty page with a token is a page.
    fn turn(&mut self, token: Option<String>) -> Result<bool, Trouble> {
        self.token = token.filter(|token| !token.is_empty());
        self.turned += 1;
        match (&self.token, self.turned < PAGES_LIMIT) {
            (None, _) => Ok(false),
            (Some(_), true) => Ok(true),
            (Some(_), false) => Err(Trouble::EndlessList),
        }
    }

    fn token(&self) -> Option<String> {
        self.token.clone()
    }
}

/// Cuts off what takes too long. Only for what changes nothing.
async fn in_time<T>(work: impl Future<Output = Result<T, Trouble>>) -> Result<T, Trouble> {
    let done = tokio::time::timeout(CALL_LIMIT, work).await;
    done.unwrap_or(Err(Trouble::NoAnswer(Effect::None)))
}

#[async_trait]
impl Provisioner for IdentityCenter {
    /// Standing access without an expiry of its own. V is 300 s and 10 s of skew, A is 300 s, and
    /// the residual is the longest session that AWS allows, 12 h; `resolve` says the residual of
    /// each permission set.
    fn describe(&self) -> Description {
        Description {
            kind: Kind::Standing,
            native_expiry: NativeExpiry::None,
            revocable: true,
            pending_visible: true,
            listable: true,
            accepted_within: jit_aws::ACCEPTED_WITHIN,
            applied_within: APPLIED_WITHIN,
            residual: SESSION_LIMIT,
        }
    }

    async fn resolve(
        &self,
        beneficiary: &Profile,
        entitlement: &Entitlement,
        parameters: &Parameters,
    ) -> Result<Resolved, PortError> {
        let resolved = in_time(self.resolved(beneficiary, entitlement, parameters)).await;
        resolved.map_err(|trouble| trouble.during("resolve"))
    }

    async fn grant(&self, call: GrantCall<'_>) -> Result<Answer, PortError> {
        let granted = async {
            let is_plain = call.parameters.is_empty();
            is_plain.then_some(()).ok_or(Trouble::Parameters)?;
            let place = Place::of_target(call.target, &self.settings)?;
            self.change(Change::Create, &place, call.send_before).await
        };
        granted.await.map_err(|trouble| trouble.during("grant"))
    }

    async fn mint(&self, _call: GrantCall<'_>) -> Result<Minted, PortError> {
        Err(Trouble::NothingToMint.during("mint"))
    }

    async fn revoke(&self, call: RevokeCall<'_>) -> Result<Answer, PortError> {
        let revoked = async {
            let place = Place::of_target(call.target, &self.settings)?;
            self.change(Change::Delete, &place, call.send_before).await
        };
        revoked.await.map_err(|trouble| trouble.during("revoke"))
    }

    async fn inspect(&self, call: InspectCall<'_>) -> Result<Presence, PortError> {
        let seen = in_time(async {
            let place = Place::of_target(call.target, &self.settings)?;
            self.presence(self.errand(call.purpose), &place).await
        });
        seen.await.map_err(|trouble| trouble.during("inspect"))
    }

    async fn resource(&self, entitlement: &Entitlement) -> Result<Option<String>, PortError> {
        let found = in_time(self.resource_of(entitlement)).await;
        found.map_err(|trouble| trouble.during("look up"))
    }

    async fn standing(
        &self,
        resource: &str,
        page: Option<&str>,
    ) -> Result<Page<Standing>, PortError> {
        let listed = in_time(self.listed(resource, page)).await;
        listed.map_err(|trouble| trouble.during("list"))
    }

    async fn offers(&self) -> Result<Vec<Offer>, PortError> {
        let offers = self.offered().await;
        offers.map_err(|trouble| trouble.during("list what it offers"))
    }
}

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

#[cfg(test)]
mod tests;
