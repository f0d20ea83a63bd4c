//! Temporary inline policies: one slot, one policy by one name, over at its end. Why what is said of
//! them is right stands in the crate's documentation.

mod reading;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use aws_config::SdkConfig;
use aws_sdk_iam::config::Builder;
use aws_smithy_runtime_api::client::interceptors::SharedInterceptor;
use jit_aws::{ACCEPTED_WITHIN, Budget, Errand, NotDone};
use jit_core::Timestamp;
use jit_core::catalog::Entitlement;
use jit_core::digest::Digest;
use jit_core::ports::{
    Clock, GrantCall, InspectCall, Minted, Page, PortError, Provisioner, Purpose, RevokeCall,
    Standing,
};
use jit_core::principal::Profile;
use jit_core::provider::{
    Answer, Description, Kind, NativeExpiry, Parameters, Presence, Resolved, Target,
};
use jit_core::request::RequestId;

use crate::account::{Account, Known, fenced, in_time};
use crate::owner::{Asked, Owner};
use crate::template::{Bound, Template};
use crate::trouble::Trouble;
use crate::{CHAINED, SESSION_LIMIT, SessionNames, Settings, trust};

/// How long a change of IAM may take until it is so everywhere. AWS says that changes take time and
/// no bound ("Troubleshoot IAM: changes that I make are not always immediately visible", IAM User
/// Guide); seconds are usual. Nothing ends by this number alone: access ends by its date, and an end
/// is read back and watched for V and this.
const APPLIED_WITHIN: Duration = Duration::from_secs(60);
/// All inline policies of a role together, and of a user, in characters without white space ("IAM and
/// AWS STS quotas", IAM User Guide).
const ROLE_LIMIT: usize = 10_240;
const USER_LIMIT: usize = 2_048;
/// One policy on a role that many have: a fifth of what all of theirs may be together, so that nobody's
/// grants alone leave the others without.
const SHARED_LIMIT: usize = 2_048;
/// Paths of roles that only AWS may change.
const RESERVED: [&str; 2] = ["/aws-reserved/", "/aws-service-role/"];
/// How the names of our policies begin.
const PREFIX: &str = "jit-";

/// Temporary inline policies on the roles and users that people of one account have.
#[derive(Debug)]
pub struct TemporaryPolicy {
    account: Account,
    realm: String,
}

/// What a target names: all that a revoke knows.
#[derive(Debug)]
struct Place {
    owner: Owner,
    policy: String,
    digest: String,
}

impl TemporaryPolicy {
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
        let realm = settings.account_arn("iam");
        let account = Account::new(settings, budget, clock, config, watcher);
        Ok(Self {
            account: account.map_err(|trouble| trouble.during("connect"))?,
            realm,
        })
    }

    fn place(&self, target: &Target, parameters: &Parameters) -> Result<Place, Trouble> {
        let is_ours = target.realm == self.realm;
        is_ours.then_some(()).ok_or(Trouble::ForeignRealm)?;
        let (_, digest) = target.resource.rsplit_once('#').ok_or(Trouble::BadRecord)?;
        Ok(Place {
            owner: Owner::read(&target.subject)?,
            policy: policy_name(target, parameters),
            digest: digest.to_owned(),
        })
    }
}

/// The name that all owners of a slot share. It says of which resource and which slot it is, so that a
/// policy is known for what it is whatever stands in it: 85 of the 128 characters that there are.
fn policy_name(target: &Target, parameters: &Parameters) -> String {
    let slot = target.slot_key(parameters);
    format!("{}{slot}", named_for(&target.resource))
}

/// How the names of all policies of a resource begin.
fn named_for(resource: &str) -> String {
    format!("{PREFIX}{}-", Digest::of(resource.as_bytes()).prefix())
}

/// What an entitlement is in targets: a changed template is another target, so nobody is given what
/// nobody approved.
fn resource_of(entitlement: &Entitlement, template: &Template) -> String {
    format!("{}#{}", entitlement.resource, template.digest())
}

fn template_of(text: Option<&str>) -> Result<Template, Trouble> {
    Ok(Template::read(text.ok_or(Trouble::NoTemplate)?)?)
}

fn document_of(
    template: &Template,
    parameters: &Parameters,
    owner: &Owner,
    request: RequestId,
    until: Timestamp,
) -> Result<String, Trouble> {
    let bound = Bound {
        request,
        until,
        user_id: owner.user_id(),
    };
    let document = template.fill(parameters, &bound)?;
    let (of, limit) = match owner {
        Owner::User(_) => ("a user", USER_LIMIT),
        Owner::Role(_) => ("a role", ROLE_LIMIT),
        Owner::Session { .. } => ("one grant on a role that many have", SHARED_LIMIT),
    };
    let size = document.chars().count();
    match size <= limit {
        true => Ok(document),
        false => Err(Trouble::TooLong { size, of, limit }),
    }
}

// -------------------------------------------------------------------------------- what is asked

impl TemporaryPolicy {
    async fn resolved(
        &self,
        beneficiary: &Profile,
        entitlement: &Entitlement,
        parameters: &Parameters,
    ) -> Result<Resolved, Trouble> {
        let template = template_of(entitlement.template.as_deref())?;
        let owner = self.owner(beneficiary).await?;
        // Whatever would be refused when it is granted is refused before anybody is asked; how long
        // a policy is does not depend on the request or its end.
        let sample = RequestId::new(Timestamp::MIN, [0; 10]);
        document_of(&template, parameters, &owner, sample, Timestamp::MIN)?;
        let resource = resource_of(entitlement, &template);
        let opened_for = match owner {
            // A user's own keys open sessions as long as the roles allow.
            Owner::User(_) => SESSION_LIMIT,
            Owner::Role(_) | Owner::Session { .. } => CHAINED,
        };
        Ok(Resolved {
            residual: template.opens_sessions(parameters)?.then_some(opened_for),
            ..Target::new(&self.realm, owner.to_subject()?, resource).into()
        })
    }

    /// The role, user or session of a person, as AWS has it.
    async fn owner(&self, person: &Profile) -> Result<Owner, Trouble> {
        let settings = &self.account.settings;
        let asked = match (person.subjects.get(&settings.provider), &settings.role) {
            (Some(subject), _) => Asked::read(subject.as_str())?,
            (None, Some(role)) => Asked::session_of(role, person.id.as_str())?,
            (None, None) => return Err(Trouble::NoSubject),
        };
        let errand = self.account.errand(Purpose::Give);
        match asked {
            Asked::User(name) => {
                let user = self.account.user(errand, &name).await?;
                self.is_here(&user)?;
                Ok(Owner::User(user.name))
            }
            Asked::Role(name) => {
                let role = self.role(errand, &name).await?;
                let shared = settings.role.as_ref();
                // Without the name of a session it would be given to all of them.
                if shared.is_some_and(|shared| shared.eq_ignore_ascii_case(&role.name)) {
                    return Err(Trouble::EverybodysRole(role.name));
                }
                Ok(Owner::Role(role.name))
            }
            Asked::Session { role, session } => {
                let role = self.role(errand, &role).await?;
                let trust = role.trust.as_deref();
                let is_bound = match settings.session_names {
                    SessionNames::Bound => trust.is_some_and(trust::binds_names),
                    SessionNames::Trusted => true,
                };
                if !is_bound {
                    return Err(Trouble::FreeNames(role.name));
                }
                Ok(Owner::Session {
                    user_id: format!("{}:{session}", role.id),
                    role: role.name,
                })
            }
        }
    }

    async fn role(&self, errand: Errand, name: &str) -> Result<Known, Trouble> {
        let role = self.account.role(errand, name).await?;
        self.is_here(&role)?;
        match RESERVED.iter().any(|path| role.path.starts_with(path)) {
            true => Err(Trouble::Reserved(role.name)),
            false => Ok(role),
        }
    }

    fn is_here(&self, known: &Known) -> Result<(), Trouble> {
        let is_here = known.arn.starts_with(&format!("{}:", self.realm));
        is_here.then_some(()).ok_or_else(|| {
            let account = known.arn.split(':').nth(4).unwrap_or_default();
            Trouble::OtherAccount(account.to_owned())
        })
    }
}

// ------------------------------------------------------------------------- putting and deleting

impl TemporaryPolicy {
    async fn put(&self, call: GrantCall<'_>) -> Result<Answer, Trouble> {
        let place = self.place(call.target, call.parameters)?;
        let template = template_of(call.template)?;
        if template.digest() != place.digest {
            return Err(Trouble::OtherTemplate);
        }
        let Place { owner, policy, .. } = place;
        let document = document_of(
            &template,
            call.parameters,
            &owner,
            call.request,
            call.expires_at,
        )?;
        let errand = self.account.errand(Purpose::Give);
        let fence = self.account.aws.fence(call.send_before);
        let put = async {
            let iam = &self.account.ours(errand).await?.iam;
            self.account.aws.turn(errand).await?;
            let through = Builder::new().http_client(fence.clone());
            let failed = match &owner {
                Owner::User(name) => {
                    let call = iam
                        .put_user_policy()
                        .user_name(name)
                        .policy_name(&policy)
                        .policy_document(&document);
                    let put = call.customize().config_override(through).send().await;
                    put.err()
                        .map(|error| NotDone::of("PutUserPolicy", error, fence.passage()))
                }
                Owner::Role(role) | Owner::Session { role, .. } => {
                    let call = iam
                        .put_role_policy()
                        .role_name(role)
                        .policy_name(&policy)
                        .policy_document(&document);
                    let put = call.customize().config_override(through).send().await;
                    put.err()
                        .map(|error| NotDone::of("PutRolePolicy", error, fence.passage()))
                }
            };
            match failed {
                Some(answer) => Err(self.account.aws.learn(errand.purpose, answer).into()),
                None => Ok(Answer::Accepted),
            }
        };
        fenced(&fence, put).await
    }

    async fn delete(&self, call: RevokeCall<'_>) -> Result<Answer, Trouble> {
        let Place { owner, policy, .. } = self.place(call.target, call.parameters)?;
        let errand = self.account.errand(Purpose::TakeAway);
        let fence = self.account.aws.fence(call.send_before);
        let deleted = async {
            // Of whatever account: the name is of the slot, and the slot of this account, so elsewhere
            // there is nothing by it; and the read-back says whose credentials these are.
            let clients = self.account.clients();
            self.account.aws.turn(errand).await?;
            let through = Builder::new().http_client(fence.clone());
            let failed = match &owner {
                Owner::User(name) => {
                    let call = clients
                        .iam
                        .delete_user_policy()
                        .user_name(name)
                        .policy_name(&policy);
                    let deleted = call.customize().config_override(through).send().await;
                    deleted
                        .err()
                        .map(|error| NotDone::of("DeleteUserPolicy", error, fence.passage()))
                }
                Owner::Role(role) | Owner::Session { role, .. } => {
                    let call = clients
                        .iam
                        .delete_role_policy()
                        .role_name(role)
                        .policy_name(&policy);
                    let deleted = call.customize().config_override(through).send().await;
                    deleted
                        .err()
                        .map(|error| NotDone::of("DeleteRolePolicy", error, fence.passage()))
                }
            };
            match failed.map(|answer| self.account.aws.learn(errand.purpose, answer).into()) {
                // It is not there, or not seen yet: the read-back says which.
                None => Ok(Answer::Accepted),
                Some(trouble) if Trouble::is_not_found(&trouble) => Ok(Answer::Accepted),
                Some(trouble) => Err(trouble),
            }
        };
        fenced(&fence, deleted).await
    }
}

#[async_trait]
impl Provisioner for TemporaryPolicy {
    /// Standing access that ends by itself at exactly its end. V is 300 s and 10 s of skew; A is 60 s,
    /// and nothing that is being applied can be seen.
    fn describe(&self) -> Description {
        Description {
            kind: Kind::Standing,
            native_expiry: NativeExpiry::Exact,
            revocable: true,
            pending_visible: false,
            listable: true,
            accepted_within: ACCEPTED_WITHIN,
            applied_within: APPLIED_WITHIN,
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

    async fn grant(&self, call: GrantCall<'_>) -> Result<Answer, PortError> {
        let put = self.put(call).await;
        put.map_err(|trouble| trouble.during("grant"))
    }

    async fn mint(&self, _call: GrantCall<'_>) -> Result<Minted, PortError> {
        Err(Trouble::NothingToMint.during("mint"))
    }

    async fn revoke(&self, call: RevokeCall<'_>) -> Result<Answer, PortError> {
        let deleted = self.delete(call).await;
        deleted.map_err(|trouble| trouble.during("revoke"))
    }

    async fn inspect(&self, call: InspectCall<'_>) -> Result<Presence, PortError> {
        let seen = in_time(self.presence(call)).await;
        seen.map_err(|trouble| trouble.during("inspect"))
    }

    async fn resource(&self, entitlement: &Entitlement) -> Result<Option<String>, PortError> {
        let template = template_of(entitlement.template.as_deref());
        let template = template.map_err(|trouble| trouble.during("look up"))?;
        Ok(Some(resource_of(entitlement, &template)))
    }

    async fn standing(
        &self,
        resource: &str,
        page: Option<&str>,
    ) -> Result<Page<Standing>, PortError> {
        let listed = in_time(self.listed(resource, page)).await;
        listed.map_err(|trouble| trouble.during("list"))
    }
}
