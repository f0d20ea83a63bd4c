//! The provisioner: access by a token that Vault makes, with policies and an end of its own. How Vault
//! is asked is the client's.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use jit_core::Timestamp;
use jit_core::catalog::Entitlement;
use jit_core::ports::{
    Credential, GrantCall, InspectCall, Minted, PortError, Provisioner, RevokeCall,
};
use jit_core::principal::{Profile, Subject};
use jit_core::provider::{
    Answer, Description, Handle, Kind, NativeExpiry, Parameters, Presence, Resolved, Target,
};
use jit_core::request::RequestId;
use jit_wire::{CONNECT_LIMIT, Gate};
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;

use crate::client::{Vault, in_time, in_time_behind};
use crate::resource::Resource;
use crate::shapes::{Authenticated, InWrapping, LookedUp, Named};
use crate::trouble::{Operation, Reason, Trouble};
use crate::wire::{self, Ask, Done};

/// V: how long after its connection was made a call may still be accepted. Vault gives up a request
/// after its `max_request_duration`, which is 90 s unless a listener is configured otherwise; that a
/// call arrives whole before it begins is what the connection's own limits (10 s) are for.
/// Source: <https://developer.hashicorp.com/vault/docs/configuration/listener/tcp#max_request_duration>
const ACCEPTED_WITHIN: Duration = Duration::from_secs(90);
/// A: Vault answers when a token is made or gone: creating writes it before it answers, and revoking
/// by accessor ends the token itself in the call.
/// Source: `handleCreateCommon` and `handleUpdateRevokeAccessor` in
/// <https://github.com/hashicorp/vault/blob/main/vault/token_store.go>
const APPLIED_WITHIN: Duration = Duration::ZERO;
/// A token lives from when Vault makes it, and what is asked for was counted from before that. Where
/// the two can be further apart than this, the token is taken back: it could outlive its end.
const SLOW: Duration = Duration::from_secs(5);
/// For how long it is believed of new tokens which cluster Vault said that it is.
const SAME_CLUSTER: Duration = Duration::from_secs(30);
/// What is left has to be longer than this for a token to be asked for that ends by [`SLOW`] sooner, so
/// that it never outlives its end.
const LONG: Duration = Duration::from_secs(60);
/// The longest accessor, and the longest id of a cluster; Vault's have 24 characters and a namespace's
/// five more, and 36.
const WORD_LIMIT: usize = 128;

/// The tokens of one Vault.
///
/// # Why no token is a child of ours
/// A token that is made in the plain way is a child of the token that made it, and dies with it: at the
/// end of our own login every credential would end, whatever it was promised. So tokens are made as
/// orphans, or through a token role whose tokens are. One that comes back as a child all the same is
/// taken back at once and never given out.
/// Source: <https://developer.hashicorp.com/vault/docs/concepts/tokens#token-hierarchies-and-orphan-tokens>
#[derive(Debug, Clone)]
pub struct VaultTokens {
    vault: Arc<Vault>,
    /// Which cluster Vault said that it is, and until when that is believed of a new token.
    cluster: Arc<Mutex<Option<(Timestamp, String)>>>,
}

/// What is asked of a new token.
#[derive(Serialize)]
struct NewToken<'a> {
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    policies: &'a BTreeSet<String>,
    meta: BTreeMap<&'static str, String>,
    display_name: String,
    ttl: String,
    explicit_max_ttl: String,
    renewable: bool,
    no_default_policy: bool,
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    num_uses: Option<u32>,
}

#[derive(Serialize)]
struct ByAccessor<'a> {
    accessor: &'a str,
}

/// What Vault says that it made.
struct Made {
    secret: SecretString,
    accessor: String,
    /// How long it lives: what was asked for, or less where a role or the system has a limit.
    life_secs: u64,
    /// Why it must not be given out, where it must not.
    fault: Option<&'static str>,
}

/// What was asked for, as far as an answer is held against it.
struct Wanted<'a> {
    resource: &'a Resource,
    /// What this service may do itself. A token role that allows no policies gives those of whoever
    /// asks, which nobody means.
    /// Source: <https://developer.hashicorp.com/vault/api-docs/auth/token#allowed_policies>
    own: Option<Arc<BTreeSet<String>>>,
    life_secs: u64,
    asked_at: Timestamp,
}

/// What an answer says of a token.
struct Said<'a> {
    is_orphan: bool,
    kind: &'a str,
    life_secs: u64,
    policies: &'a [String],
}

impl Wanted<'_> {
    /// Why a token is not what was asked for, where it is not.
    fn fault(&self, said: &Said<'_>) -> Option<&'static str> {
        let policies: BTreeSet<&str> = said.policies.iter().map(String::as_str).collect();
        let asked: BTreeSet<&str> = self.resource.policies.iter().map(String::as_str).collect();
        let is_ours = self.own.as_ref().is_none_or(|own| {
            !own.is_empty() && own.iter().all(|it| policies.contains(it.as_str()))
        });
        let is_right = match asked.is_empty() {
            true => !policies.is_empty() && !policies.contains("root") && !is_ours,
            false => policies == asked,
        };
        if !said.is_orphan {
            Some(
                "a child of our own, which would die with it: the token role must have orphan=true",
            )
        } else if said.kind != "service" {
            Some("one that nothing can revoke: the token role must have token_type=service")
        } else if said.life_secs == 0 || said.life_secs > self.life_secs {
            Some("one that lives longer than it was to")
        } else if !is_right {
            Some("with other policies")
        } else {
            None
        }
    }
}

impl VaultTokens {
    /// The tokens of this Vault.
    pub fn new(vault: Arc<Vault>) -> Self {
        Self {
            vault,
            cluster: Arc::default(),
        }
    }

    /// A record of another realm is of another system. What else a record says of a token that was
    /// made is not judged by the rules of today: it can be taken back whatever they are (S7).
    fn check_realm(&self, target: &Target) -> Result<(), Trouble> {
        let is_ours = target.realm == self.vault.realm;
        is_ours.then_some(()).ok_or(Trouble::ForeignRealm)
    }

    fn resolved(
        &self,
        beneficiary: &Profile,
        entitlement: &Entitlement,
        parameters: &Parameters,
    ) -> Result<Resolved, Trouble> {
        check_parameters(parameters)?;
        let resource = Resource::read(&entitlement.resource)?;
        let subject = match beneficiary.subjects.get(&self.vault.provider) {
            Some(subject) => subject.clone(),
            None => {
                let id = beneficiary.id.as_str().parse::<Subject>();
                id.map_err(|_| Trouble::BadSubject)?
            }
        };
        Ok(Target::new(self.vault.realm.clone(), subject, resource.to_string()).into())
    }

    async fn minted(&self, call: &GrantCall<'_>, gate: &Gate) -> Result<Minted, Trouble> {
        check_parameters(call.parameters)?;
        self.check_realm(call.target)?;
        let resource = Resource::read(&call.target.resource)?;
        let vault = &self.vault;
        let cluster = self.cluster().await;
        let cluster = cluster.map_err(|trouble| Trouble::NotAsked(Box::new(trouble)))?;
        let mut wanted = Wanted {
            resource: &resource,
            own: None,
            life_secs: 0,
            asked_at: Timestamp::MIN,
        };
        let made = vault.change(gate, |bearer| {
            wanted.asked_at = vault.clock.now();
            wanted.own = bearer.policies.clone();
            wanted.life_secs = life_secs(call.expires_at.since(wanted.asked_at));
            self.ask(&wanted, call.request)
        });
        let answer = made.await?;
        let made = self.made(&wanted, &answer).await?;
        let fault = made.fault.map(Trouble::OddToken);
        let is_slow = vault.clock.now() > wanted.asked_at + SLOW;
        if let Some(trouble) = fault.or(is_slow.then_some(Trouble::Slow)) {
            return Err(self.taken_back(&made.accessor, trouble).await);
        }
        let kind = [("backend", "static"), ("type", "vault_token")];
        let wrapped = vault.wrap_ttl.map(|_| ("wrapped", "true"));
        let notes = kind.into_iter().chain(wrapped);
        Ok(Minted {
            secret: Credential::new(made.secret.expose_secret().to_owned()),
            handle: Some(Name::written(&made.accessor, cluster.as_deref())),
            // At the earliest: what was asked for was counted from then.
            ends_at: Some(wanted.asked_at + Duration::from_secs(made.life_secs)),
            notes: notes.map(|(name, it)| (name, it.to_owned())).collect(),
        })
    }

    /// Which cluster makes a token that is asked for now.
    async fn cluster(&self) -> Result<Option<String>, Trouble> {
        let now = self.vault.clock.now();
        let known = || self.cluster.lock().unwrap_or_else(PoisonError::into_inner);
        let lately = known().clone().filter(|(until, _)| now < *until);
        if let Some((_, cluster)) = lately {
            return Ok(Some(cluster));
        }
        let cluster = self.vault.cluster().await?;
        // One that is of no use in a handle is as if it did not say.
        let cluster = cluster.filter(|it| is_word(it));
        // One that is sealed does not say, so that its silence is not believed for long.
        *known() = cluster.clone().map(|it| (now + SAME_CLUSTER, it));
        Ok(cluster)
    }

    /// That a token which Vault does not know is gone, and not one of another cluster's.
    async fn check_cluster(&self, name: &Name<'_>) -> Result<(), Trouble> {
        let Some(wanted) = name.cluster else {
            return Ok(());
        };
        match self.vault.cluster().await {
            Ok(Some(cluster)) if cluster == wanted => Ok(()),
            Ok(Some(_)) => Err(Trouble::OtherCluster),
            Ok(None) => Err(Trouble::ClusterUnknown(None)),
            Err(trouble) => Err(Trouble::ClusterUnknown(Some(Box::new(trouble)))),
        }
    }

    fn ask(&self, wanted: &Wanted<'_>, request: RequestId) -> Result<Ask<'static>, Trouble> {
        let life_secs = wanted.life_secs;
        if life_secs == 0 {
            return Err(Trouble::NoTimeLeft);
        }
        if wanted.resource.policies.is_empty() && wanted.own.is_none() {
            return Err(Trouble::OwnPoliciesUnknown);
        }
        let vault = &self.vault;
        let new = NewToken {
            policies: &wanted.resource.policies,
            meta: BTreeMap::from([("jit_request", request.to_string())]),
            display_name: format!("jit-{request}"),
            ttl: format!("{life_secs}s"),
            explicit_max_ttl: format!("{life_secs}s"),
            renewable: false,
            no_default_policy: true,
            kind: "service",
            num_uses: vault.num_uses,
        };
        let url = match &wanted.resource.role {
            Some(role) => wire::at(&vault.address, ["auth", "token", "create", role]),
            None => wire::at(&vault.address, ["auth", "token", "create-orphan"]),
        };
        Ok(Ask {
            wrap_secs: vault.wrap_ttl.map(|it| it.as_secs().min(life_secs)),
            ..Ask::post("make a token", url, &new)
        })
    }

    /// Reads what was made. An answer of which not even the token's name can be read is dropped, and
    /// with it whatever was in it; where the name can be read, the token is taken back.
    async fn made(&self, wanted: &Wanted<'_>, answer: &wire::Answer) -> Result<Made, Trouble> {
        let read = match self.vault.wrap_ttl {
            Some(_) => self.made_in_a_wrapping(wanted, answer).await,
            None => made_openly(wanted, answer),
        };
        let trouble = match read {
            Ok(made) => return Ok(made),
            Err(trouble) => trouble,
        };
        let named: Option<Named> = answer.json().ok();
        let accessor = named.and_then(|it| {
            let open = it.auth.map(|it| it.accessor);
            open.or(it.wrap_info.map(|it| it.wrapped_accessor))
        });
        Err(match accessor {
            Some(accessor) => self.taken_back(&accessor, trouble).await,
            None => trouble.after_it_was_sent(),
        })
    }

    /// What is in a wrapping cannot be seen without taking it out, so the token is looked at by its
    /// accessor.
    async fn made_in_a_wrapping(
        &self,
        wanted: &Wanted<'_>,
        answer: &wire::Answer,
    ) -> Result<Made, Trouble> {
        let wrapped: InWrapping = answer.json()?;
        let accessor = wrapped.wrap_info.wrapped_accessor;
        let looked = self.looked_up(&accessor).await?;
        let looked = looked.ok_or(Trouble::Unreadable("make a token"))?.data;
        let fault = wanted.fault(&Said {
            is_orphan: looked.orphan,
            kind: &looked.kind,
            life_secs: looked.creation_ttl,
            policies: &looked.policies,
        });
        Ok(Made {
            secret: wrapped.wrap_info.token,
            life_secs: looked.creation_ttl,
            accessor,
            fault: fault.or(missing(wrapped.warnings.as_deref())),
        })
    }

    /// The token of this accessor, while it is good.
    async fn looked_up(&self, accessor: &str) -> Result<Option<LookedUp>, Trouble> {
        const ACTION: &str = "look at a token";
        let url = wire::at(&self.vault.address, ["auth", "token", "lookup-accessor"]);
        let ask = || Ask::post(ACTION, url.clone(), &ByAccessor { accessor });
        let looked: LookedUp = match self.vault.read(ask).await {
            Err(trouble) if trouble.reason() == Some(Reason::UnknownAccessor) => return Ok(None),
            answer => answer?.json()?,
        };
        match looked.data.accessor == accessor {
            true => Ok(Some(looked)),
            false => Err(Trouble::Unreadable(ACTION)),
        }
    }

    fn revoke_ask(&self, accessor: &str) -> Ask<'static> {
        let url = wire::at(&self.vault.address, ["auth", "token", "revoke-accessor"]);
        Ask::post("revoke a token", url, &ByAccessor { accessor })
    }

    /// Takes back what must not be given out. Nobody else has it, and it is named by an accessor that
    /// no other token will have, so this may arrive whenever it does.
    async fn taken_back(&self, accessor: &str, trouble: Trouble) -> Trouble {
        let answer = self.vault.read(|| self.revoke_ask(accessor)).await;
        match answer.and_then(|it| it.done()) {
            Ok(_) => trouble.after_it_was_sent(),
            Err(failed) if failed.reason() == Some(Reason::UnknownAccessor) => {
                trouble.after_it_was_sent()
            }
            Err(failed) => Trouble::OddTokenLeft(trouble.fault(), Box::new(failed)),
        }
    }

    async fn revoked(&self, call: &RevokeCall<'_>, gate: &Gate) -> Result<Answer, Trouble> {
        self.check_realm(call.target)?;
        let name = Name::read(call.handle.ok_or(Trouble::NoHandle)?)?;
        let ask = |_: &_| Ok(self.revoke_ask(name.accessor));
        let answer = self.vault.change(gate, ask);
        match answer.await.and_then(|it| it.done()) {
            Ok(Done::Plainly) => Ok(Answer::Applied),
            // Perhaps there was no such token. Then it is gone, which was wanted.
            Ok(Done::WithAWarning) => {
                self.check_cluster(&name).await?;
                Ok(Answer::Applied)
            }
            Err(trouble) if trouble.reason() == Some(Reason::UnknownAccessor) => {
                self.check_cluster(&name).await?;
                Ok(Answer::Applied)
            }
            Err(trouble) => Err(trouble),
        }
    }

    async fn seen(&self, call: &InspectCall<'_>) -> Result<Presence, Trouble> {
        self.check_realm(call.target)?;
        match (call.handle, call.send_before) {
            (Some(handle), _) => {
                let name = Name::read(handle)?;
                let looked = self.looked_up(name.accessor).await?;
                // By then it is gone in whichever cluster it was made.
                let is_over = gone_by(call.expires_at) <= self.vault.clock.now();
                if looked.is_none() && !is_over {
                    self.check_cluster(&name).await?;
                }
                Ok(Presence::of(looked.is_some()))
            }
            (None, Some(_)) => Ok(Presence::GoneBy(gone_by(call.expires_at))),
            (None, None) => Ok(Presence::Absent),
        }
    }
}

/// How long a token is to live of which so much time is left.
fn life_secs(left: Duration) -> u64 {
    let life = if left > LONG { left - SLOW } else { left };
    life.as_secs()
}

/// When a token of which nothing came back is gone. Its life was counted from at most [`CONNECT_LIMIT`]
/// before its connection was there, and ran from when Vault took the call: V after that at the latest.
/// Both ends of it are counted from the same instant, so that `send_before` drops out.
fn gone_by(expires_at: Timestamp) -> Timestamp {
    expires_at + CONNECT_LIMIT + ACCEPTED_WITHIN
}

fn check_parameters(parameters: &Parameters) -> Result<(), Trouble> {
    let is_plain = parameters.is_empty();
    is_plain.then_some(()).ok_or(Trouble::Parameters)
}

/// What a handle names: an accessor, and the cluster that made it where Vault said which. Handles of
/// earlier releases are accessors alone.
struct Name<'a> {
    accessor: &'a str,
    cluster: Option<&'a str>,
}

impl<'a> Name<'a> {
    fn written(accessor: &str, cluster: Option<&str>) -> Handle {
        Handle(match cluster {
            Some(cluster) => format!("{accessor}@{cluster}"),
            None => accessor.to_owned(),
        })
    }

    /// Both are sent in a body or held against one, so that they need no more than to be short words.
    fn read(handle: &'a Handle) -> Result<Self, Trouble> {
        let name = match handle.0.split_once('@') {
            Some((accessor, cluster)) => Self {
                accessor,
                cluster: Some(cluster),
            },
            None => Self {
                accessor: &handle.0,
                cluster: None,
            },
        };
        match is_word(name.accessor) && name.cluster.is_none_or(is_word) {
            true => Ok(name),
            false => Err(Trouble::BadResource("the handle is no accessor")),
        }
    }
}

fn is_word(text: &str) -> bool {
    let is_plain = |it: u8| it.is_ascii_alphanumeric() || matches!(it, b'.' | b'-' | b'_');
    !text.is_empty() && text.len() <= WORD_LIMIT && text.bytes().all(is_plain)
}

fn made_openly(wanted: &Wanted<'_>, answer: &wire::Answer) -> Result<Made, Trouble> {
    let made: Authenticated = answer.json()?;
    let auth = made.auth;
    let fault = wanted.fault(&Said {
        is_orphan: auth.orphan == Some(true),
        kind: auth.token_type.as_deref().unwrap_or_default(),
        life_secs: auth.lease_duration,
        policies: auth.token_policies.as_deref().unwrap_or_default(),
    });
    Ok(Made {
        secret: auth.client_token,
        life_secs: auth.lease_duration,
        accessor: auth.accessor,
        fault: fault.or(missing(made.warnings.as_deref())),
    })
}

/// What is wrong by a warning of Vault's, which says nothing else of a policy that is not there.
fn missing(warnings: Option<&[String]>) -> Option<&'static str> {
    let mut warnings = warnings.unwrap_or_default().iter();
    let is_missing = warnings.any(|it| it.contains("does not exist"));
    is_missing.then_some("with a policy that does not exist")
}

#[async_trait]
impl Provisioner for VaultTokens {
    /// Minted; Vault ends it exactly, and sooner by its accessor. It is not found by its marker, since
    /// that would take the right to list every accessor there is. V is 90 s, A and the residual 0: a
    /// dead token opens nothing.
    fn describe(&self) -> Description {
        Description {
            kind: Kind::Minted,
            native_expiry: NativeExpiry::Exact,
            revocable: true,
            // A call that Vault has taken and not done yet cannot be seen.
            pending_visible: false,
            listable: false,
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
        let resolved = self.resolved(beneficiary, entitlement, parameters);
        resolved.map_err(|trouble| trouble.during(Operation::Resolve))
    }

    async fn grant(&self, _call: GrantCall<'_>) -> Result<Answer, PortError> {
        Err(Trouble::NothingToGrant.during(Operation::Grant))
    }

    async fn mint(&self, call: GrantCall<'_>) -> Result<Minted, PortError> {
        let gate = Gate::new(Arc::clone(&self.vault.clock), call.send_before);
        let minted = in_time_behind(&gate, self.minted(&call, &gate)).await;
        minted.map_err(|trouble| trouble.during(Operation::Mint))
    }

    async fn revoke(&self, call: RevokeCall<'_>) -> Result<Answer, PortError> {
        let gate = Gate::new(Arc::clone(&self.vault.clock), call.send_before);
        let revoked = in_time_behind(&gate, self.revoked(&call, &gate)).await;
        revoked.map_err(|trouble| trouble.during(Operation::Revoke))
    }

    async fn inspect(&self, call: InspectCall<'_>) -> Result<Presence, PortError> {
        let seen = in_time(self.seen(&call)).await;
        seen.map_err(|trouble| trouble.during(Operation::Inspect))
    }

    /// The resource as targets name it; none where it names no token.
    async fn resource(&self, entitlement: &Entitlement) -> Result<Option<String>, PortError> {
        let read = Resource::read(&entitlement.resource);
        Ok(read.ok().map(|it| it.to_string()))
    }
}
