//! Sessions of roles, made for whoever collects them. Nothing takes one back: its own policy ends it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use aws_config::SdkConfig;
use aws_sdk_sts::config::Builder;
use aws_sdk_sts::operation::assume_role::AssumeRoleOutput;
use aws_smithy_runtime_api::client::interceptors::SharedInterceptor;
use jit_aws::{ACCEPTED_WITHIN, Budget, NotDone};
use jit_core::Timestamp;
use jit_core::catalog::Entitlement;
use jit_core::ports::{
    Clock, Credential, GrantCall, InspectCall, Minted, PortError, Provisioner, Purpose, RevokeCall,
};
use jit_core::principal::Profile;
use jit_core::provider::{
    Answer, Description, Handle, Kind, NativeExpiry, Parameters, Presence, Resolved, Target,
};
use jit_core::request::RequestId;
use serde::Serialize;

use crate::account::{Account, fenced, in_time};
use crate::owner::is_name;
use crate::template::{Bound, Template};
use crate::trouble::Trouble;
use crate::{CHAINED, SESSION_LEAST, Settings};

/// The longest policy of a session, in characters ("AssumeRole", STS API Reference).
const POLICY_LIMIT: usize = 2_048;

/// Sessions of the roles of one account.
#[derive(Debug)]
pub struct AssumedRole {
    account: Account,
    realm: String,
}

/// What the AWS tools take from a program that gets credentials ("Getting credentials with an external
/// process", AWS SDKs and Tools Reference Guide).
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct ForAProcess<'a> {
    version: u8,
    access_key_id: &'a str,
    secret_access_key: &'a str,
    session_token: &'a str,
    expiration: String,
}

impl AssumedRole {
    /// Connects with the default chain of credentials: environment, profile, web identity, ECS,
    /// IMDS. Nothing is sent yet.
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

    pub(crate) fn watched(
        settings: Settings,
        budget: Arc<Budget>,
        clock: Arc<dyn Clock>,
        config: SdkConfig,
        watcher: Option<SharedInterceptor>,
    ) -> Result<Self, PortError> {
        let realm = settings.account_arn("sts");
        let account = Account::new(settings, budget, clock, config, watcher);
        Ok(Self {
            account: account.map_err(|trouble| trouble.during("connect"))?,
            realm,
        })
    }

    async fn resolved(
        &self,
        beneficiary: &Profile,
        entitlement: &Entitlement,
        parameters: &Parameters,
    ) -> Result<Resolved, Trouble> {
        let template = template_of(entitlement.template.as_deref())?;
        let sample = RequestId::new(Timestamp::MIN, [0; 10]);
        policy_of(&template, parameters, sample, Timestamp::MIN)?;
        let arn = self.role(&entitlement.resource).await?;
        let provider = &self.account.settings.provider;
        let subject = beneficiary.subjects.get(provider).cloned();
        let subject = subject.unwrap_or_else(|| beneficiary.id.to_subject());
        let resource = format!("{arn}#{}", template.digest());
        Ok(Resolved {
            residual: template.opens_sessions(parameters)?.then_some(CHAINED),
            ..Target::new(&self.realm, subject, resource).into()
        })
    }

    /// The ARN of a role, as AWS has it, that is written by its name or its ARN.
    async fn role(&self, written: &str) -> Result<String, Trouble> {
        let prefix = format!("{}:role/", self.account.settings.account_arn("iam"));
        let (name, arn) = match written.strip_prefix(&prefix) {
            Some(path) => (path.rsplit('/').next().unwrap_or_default(), Some(written)),
            None => (written, None),
        };
        is_name(name).then_some(()).ok_or(Trouble::BadRole)?;
        let errand = self.account.errand(Purpose::Give);
        let role = self.account.role(errand, name).await?;
        // Names that differ in letter case only are one role, and a record has one name for it.
        let is_it = match arn {
            Some(arn) => arn == role.arn,
            None => role.arn.starts_with(&prefix),
        };
        is_it.then_some(role.arn).ok_or(Trouble::BadRole)
    }

    async fn opened(&self, call: GrantCall<'_>) -> Result<Minted, Trouble> {
        let is_ours = call.target.realm == self.realm;
        is_ours.then_some(()).ok_or(Trouble::ForeignRealm)?;
        let parts = call.target.resource.rsplit_once('#');
        let (arn, digest) = parts.ok_or(Trouble::BadRecord)?;
        let template = template_of(call.template)?;
        if template.digest() != digest {
            return Err(Trouble::OtherTemplate);
        }
        let policy = policy_of(&template, call.parameters, call.request, call.expires_at)?;
        let left = call.expires_at.since(self.account.aws.now());
        if left.is_zero() {
            return Err(Trouble::Over);
        }
        let errand = self.account.errand(Purpose::Give);
        let fence = self.account.aws.fence(call.send_before);
        let opened = async {
            let clients = self.account.clients();
            self.account.aws.turn(errand).await?;
            let assume = clients
                .sts
                .assume_role()
                .role_arn(arn)
                .role_session_name(call.request.to_string())
                .policy(policy)
                .duration_seconds(seconds(left, self.account.settings.longest_session))
                .customize()
                .config_override(Builder::new().http_client(fence.clone()));
            let opened = assume.send().await;
            opened.map_err(|error| {
                let answer = NotDone::of("AssumeRole", error, fence.passage());
                self.account.aws.learn(errand.purpose, answer).into()
            })
        };
        minted(fenced(&fence, opened).await?, arn, call.expires_at)
    }

    /// A session cannot be seen. What is known of one that was made is when it ends.
    fn presence(&self, call: &InspectCall<'_>) -> Result<Presence, Trouble> {
        let is_ours = call.target.realm == self.realm;
        is_ours.then_some(()).ok_or(Trouble::ForeignRealm)?;
        Ok(match (call.handle, call.send_before) {
            (Some(_), _) => Presence::of(self.account.aws.now() < call.expires_at),
            (None, Some(_)) => Presence::GoneBy(call.expires_at),
            // A call that was never sent left nothing.
            (None, None) => Presence::Absent,
        })
    }
}

fn template_of(text: Option<&str>) -> Result<Template, Trouble> {
    match text {
        Some(text) => Ok(Template::read(text)?),
        // The role itself is the bound then.
        None => Ok(Template::everything()),
    }
}

fn policy_of(
    template: &Template,
    parameters: &Parameters,
    request: RequestId,
    until: Timestamp,
) -> Result<String, Trouble> {
    let bound = Bound {
        request,
        until,
        user_id: None,
    };
    let policy = template.fill(parameters, &bound)?;
    let size = policy.chars().count();
    match size <= POLICY_LIMIT {
        true => Ok(policy),
        false => Err(Trouble::TooLong {
            size,
            of: "a session",
            limit: POLICY_LIMIT,
        }),
    }
}

/// How long the credentials are to last: what is left, within what AWS gives.
fn seconds(left: Duration, longest: Duration) -> i32 {
    let whole = left.as_secs() + u64::from(left.subsec_nanos() > 0);
    let whole = whole.clamp(SESSION_LEAST.as_secs(), longest.as_secs());
    i32::try_from(whole).unwrap_or(i32::MAX)
}

fn minted(opened: AssumeRoleOutput, arn: &str, expires_at: Timestamp) -> Result<Minted, Trouble> {
    let credentials = opened.credentials.ok_or(Trouble::Unreadable)?;
    let who = opened.assumed_role_user.ok_or(Trouble::Unreadable)?;
    let micros = credentials.expiration.secs().saturating_mul(1_000_000);
    let ends_at = expires_at.min(Timestamp::from_unix_micros(micros));
    let whole = Timestamp::from_unix_micros(
        ends_at.unix_micros() - ends_at.unix_micros().rem_euclid(1_000_000),
    );
    let secret = serde_json::to_string(&ForAProcess {
        version: 1,
        access_key_id: &credentials.access_key_id,
        secret_access_key: &credentials.secret_access_key,
        session_token: &credentials.session_token,
        expiration: whole.to_string(),
    });
    // What does not serialise has no value that could be said here.
    let secret = secret.map_err(|_| Trouble::Unreadable)?;
    Ok(Minted {
        secret: Credential::new(secret),
        handle: Some(Handle(who.assumed_role_id)),
        ends_at: Some(ends_at),
        notes: BTreeMap::from([
            ("backend", "aws".to_owned()),
            ("role", arn.to_owned()),
            ("type", "credential_process".to_owned()),
        ]),
    })
}

#[async_trait]
impl Provisioner for AssumedRole {
    /// A credential that ends by itself at exactly its end. It can be neither listed nor taken back.
    /// V is 300 s and 10 s of skew; a session is there when it is answered.
    fn describe(&self) -> Description {
        Description {
            kind: Kind::Minted,
            native_expiry: NativeExpiry::Exact,
            revocable: false,
            pending_visible: false,
            listable: false,
            accepted_within: ACCEPTED_WITHIN,
            applied_within: Duration::ZERO,
            residual: Duration::ZERO,
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

    async fn grant(&self, _call: GrantCall<'_>) -> Result<Answer, PortError> {
        Err(Trouble::NothingToGrant.during("grant"))
    }

    async fn mint(&self, call: GrantCall<'_>) -> Result<Minted, PortError> {
        let opened = self.opened(call).await;
        opened.map_err(|trouble| trouble.during("mint"))
    }

    async fn revoke(&self, _call: RevokeCall<'_>) -> Result<Answer, PortError> {
        Err(Trouble::NotRevocable.during("revoke"))
    }

    async fn inspect(&self, call: InspectCall<'_>) -> Result<Presence, PortError> {
        let seen = self.presence(&call);
        seen.map_err(|trouble| trouble.during("inspect"))
    }
}
