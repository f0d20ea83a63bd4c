//! The token that this service itself calls Vault with: had by AppRole when it is first needed, by one
//! call at a time, and renewed before it ends. What is asked with it is none of its business.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jit_core::Timestamp;
use jit_core::ports::{Clock, Effect};
use jit_wire::Address;
use reqwest::header::HeaderValue;
use reqwest::{Method, StatusCode, Url};
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;

use crate::SecretId;
use crate::shapes::{Auth, Authenticated, Unwrapped};
use crate::trouble::{Operation, Reason, Trouble};
use crate::wire::{self, Ask, Wire};

/// A token that ends within this time is not used any more: a call takes ten seconds at most.
const ENDS_WITHIN: Duration = Duration::from_secs(15);
/// How soon a renewal that failed is tried again, while the token is good.
const RENEWED_AGAIN_AFTER: Duration = Duration::from_secs(30);
/// The longest that a token is believed to live: what says more is used so long and had anew.
const LIFE_LIMIT_SECS: u64 = 32 * 86_400;
/// The longest that a login, with an unwrapping before it, takes of the call that wants it.
const LOGIN_LIMIT: Duration = Duration::from_secs(8);
/// A refusal that does not say that it is the token's fault may still be, unless the token is younger
/// than this. It bounds how often somebody who may not do something logs in for it.
const YOUNG: Duration = Duration::from_secs(60);

/// A token that is good now.
pub(crate) struct Bearer {
    pub(crate) header: HeaderValue,
    had_at: Timestamp,
    renew_at: Timestamp,
    ends_at: Timestamp,
    life: Duration,
    renewal: Renewal,
    /// What it may do itself, but for `default`; none where Vault does not say.
    pub(crate) policies: Option<Arc<BTreeSet<String>>>,
}

/// How a token is kept going.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Renewal {
    Renewable,
    /// Another login it is.
    Anew,
}

/// The application, and the token that it has.
pub(crate) struct Login {
    mount: Vec<String>,
    role_id: SecretString,
    known: Mutex<Option<Arc<Bearer>>>,
    /// Held by whoever logs in or renews, so that there are never two at once.
    renewing: tokio::sync::Mutex<()>,
    secret_id: Arc<tokio::sync::Mutex<SecretId>>,
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login")
            .field("mount", &self.mount)
            .finish_non_exhaustive()
    }
}

/// What a login needs of the client around it.
#[derive(Clone, Copy)]
pub(crate) struct Way<'a> {
    pub(crate) wire: &'a Arc<Wire>,
    pub(crate) address: &'a Address,
    pub(crate) clock: &'a dyn Clock,
}

impl Login {
    pub(crate) fn new(
        mount: String,
        role_id: SecretString,
        secret_id: SecretId,
    ) -> Result<Self, Trouble> {
        let is_empty = |it: &SecretString| it.expose_secret().trim().is_empty();
        let (SecretId::Plain(secret) | SecretId::Wrapped(secret)) = &secret_id;
        if is_empty(&role_id) || is_empty(secret) {
            return Err(Trouble::BadSettings(
                "the role id or the secret id is empty",
            ));
        }
        Ok(Self {
            mount: mount.split('/').map(str::to_owned).collect(),
            role_id,
            known: Mutex::default(),
            renewing: tokio::sync::Mutex::default(),
            secret_id: Arc::new(tokio::sync::Mutex::new(secret_id)),
        })
    }

    fn known(&self) -> Option<Arc<Bearer>> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.clone()
    }

    fn keep(&self, bearer: Bearer) -> Arc<Bearer> {
        let bearer = Arc::new(bearer);
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        *known = Some(Arc::clone(&bearer));
        bearer
    }

    /// Vault refused a call with this token. Whether the next call has another one. Only the very token
    /// that was refused is forgotten: another call may have renewed it.
    pub(crate) fn refused(&self, bearer: &Arc<Bearer>, reason: Reason, now: Timestamp) -> bool {
        let may_be_dead = match reason {
            Reason::DeadToken => true,
            // Vaults before 1.17 say no more than this of a token that is dead.
            Reason::Denied => now >= bearer.had_at + YOUNG,
            _ => false,
        };
        if may_be_dead {
            let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            if known.as_ref().is_some_and(|it| Arc::ptr_eq(it, bearer)) {
                *known = None;
            }
        }
        may_be_dead
    }

    /// A token that is good now, and long enough for a call.
    pub(crate) async fn bearer(&self, way: Way<'_>) -> Result<Arc<Bearer>, Trouble> {
        let usable = |it: &Arc<Bearer>| way.clock.now() + ENDS_WITHIN < it.ends_at;
        let fresh = |it: &Arc<Bearer>| way.clock.now() < it.renew_at && usable(it);
        if let Some(known) = self.known().filter(fresh) {
            return Ok(known);
        }
        let renewing = match (self.renewing.try_lock(), self.known().filter(usable)) {
            (Ok(free), _) => free,
            // Somebody renews it already, and the old one does for this call.
            (Err(_), Some(known)) => return Ok(known),
            (Err(_), None) => self.renewing.lock().await,
        };
        if let Some(known) = self.known().filter(fresh) {
            return Ok(known);
        }
        let had = tokio::time::timeout(LOGIN_LIMIT, self.had(way, self.known().filter(usable)));
        let had = had.await.unwrap_or(Err(Trouble::NoAnswer(Effect::None)));
        let bearer = match (had, self.known().filter(usable)) {
            (Ok(bearer), _) => self.keep(bearer),
            (Err(trouble), Some(known)) => {
                let error = trouble.during(Operation::Connect);
                tracing::warn!(
                    error = %error.chain(),
                    "the token for Vault could not be renewed; it is used while it is good"
                );
                self.keep(Bearer {
                    header: known.header.clone(),
                    renew_at: (way.clock.now() + RENEWED_AGAIN_AFTER).min(known.ends_at),
                    policies: known.policies.clone(),
                    ..*known
                })
            }
            (Err(trouble), None) => return Err(Trouble::Login(Box::new(trouble))),
        };
        drop(renewing);
        Ok(bearer)
    }

    /// Renews what there is, and logs in where that does not help.
    async fn had(&self, way: Way<'_>, old: Option<Arc<Bearer>>) -> Result<Bearer, Trouble> {
        if let Some(old) = old.filter(|it| it.renewal == Renewal::Renewable) {
            match renewed(way, &old).await {
                // Near the end of its longest life a renewal gives less and less.
                Ok(bearer) if bearer.life >= old.life / 2 => return Ok(bearer),
                Ok(_) | Err(_) => {}
            }
        }
        self.logged_in(way).await
    }

    async fn logged_in(&self, way: Way<'_>) -> Result<Bearer, Trouble> {
        #[derive(Serialize)]
        struct Credentials<'a> {
            role_id: &'a str,
            secret_id: &'a str,
        }
        let secret_id = Arc::clone(&self.secret_id).lock_owned().await;
        let secret_id = match &*secret_id {
            SecretId::Plain(_) => secret_id,
            SecretId::Wrapped(_) => {
                // In a task of its own: what comes out of the wrapping comes out once, and must be kept
                // though the call that wanted it is given up.
                let url = wire::at(way.address, ["sys", "wrapping", "unwrap"]);
                let opened = tokio::spawn(opened(Arc::clone(way.wire), url, secret_id));
                opened
                    .await
                    .unwrap_or(Err(Trouble::NoAnswer(Effect::None)))?
            }
        };
        let (SecretId::Plain(secret) | SecretId::Wrapped(secret)) = &*secret_id;
        let credentials = Credentials {
            role_id: self.role_id.expose_secret().trim(),
            secret_id: secret.expose_secret().trim(),
        };
        let mount = self.mount.iter().map(String::as_str);
        let url = wire::at(
            way.address,
            ["auth"].into_iter().chain(mount).chain(["login"]),
        );
        let asked_at = way.clock.now();
        let answer = way
            .wire
            .send(Ask::post("log us in", url, &credentials))
            .await?;
        let answer: Authenticated = answer.good()?.json()?;
        bearer_of(&answer.auth, asked_at)
    }
}

/// The secret id, held by one call at a time.
type Held = tokio::sync::OwnedMutexGuard<SecretId>;

/// Takes the secret id out of its wrapping. Vault lets that happen once.
async fn opened(wire: Arc<Wire>, url: Url, mut secret_id: Held) -> Result<Held, Trouble> {
    let SecretId::Wrapped(wrapping) = &*secret_id else {
        return Ok(secret_id);
    };
    let wrapping = header(wrapping.expose_secret().trim())?;
    let ask = Ask {
        method: Method::POST,
        ..Ask::get("unwrap the secret id", url)
    };
    let answer = wire.send(ask.bearing(&wrapping)).await?;
    if answer.status == StatusCode::BAD_REQUEST && answer.refusal().is_some() {
        return Err(Trouble::WrappingGone);
    }
    let unwrapped: Unwrapped = answer.good()?.json()?;
    *secret_id = SecretId::Plain(unwrapped.data.secret_id);
    Ok(secret_id)
}

async fn renewed(way: Way<'_>, old: &Bearer) -> Result<Bearer, Trouble> {
    #[derive(Serialize)]
    struct Increment {
        increment: u64,
    }
    let url = wire::at(way.address, ["auth", "token", "renew-self"]);
    let increment = Increment {
        increment: old.life.as_secs(),
    };
    let ask = Ask::post("renew our token", url, &increment).bearing(&old.header);
    let asked_at = way.clock.now();
    let answer: Authenticated = way.wire.send(ask).await?.good()?.json()?;
    let bearer = bearer_of(&answer.auth, asked_at)?;
    Ok(Bearer {
        policies: bearer.policies.or_else(|| old.policies.clone()),
        ..bearer
    })
}

/// Its life is counted from before it was asked for, so that it is never thought to last longer than
/// Vault lets it. One that never ends is had anew once in a while all the same.
fn bearer_of(auth: &Auth, asked_at: Timestamp) -> Result<Bearer, Trouble> {
    let secs = match auth.lease_duration {
        0 => LIFE_LIMIT_SECS,
        secs => secs.min(LIFE_LIMIT_SECS),
    };
    let life = Duration::from_secs(secs);
    let policies = auth.token_policies.as_ref().map(|it| {
        let own = it.iter().filter(|it| *it != "default").cloned();
        Arc::new(own.collect())
    });
    Ok(Bearer {
        policies,
        header: header(auth.client_token.expose_secret())?,
        had_at: asked_at,
        renew_at: asked_at + life / 2,
        ends_at: asked_at + life,
        life,
        renewal: match auth.renewable {
            true => Renewal::Renewable,
            false => Renewal::Anew,
        },
    })
}

/// A token as it stands in a header, which nothing prints.
fn header(token: &str) -> Result<HeaderValue, Trouble> {
    let unfit = |_| Trouble::BadSettings("the token cannot stand in a header");
    let mut header = HeaderValue::from_str(token).map_err(unfit)?;
    header.set_sensitive(true);
    Ok(header)
}
