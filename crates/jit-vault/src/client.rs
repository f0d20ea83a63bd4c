//! One Vault: how it is asked, how it is, and what secrets it keeps. What is made of its tokens is
//! decided elsewhere.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use jit_core::catalog::ProviderName;
use jit_core::ports::{Clock, Effect, PortError};
use jit_wire::{Address, Gate, Passage};
use reqwest::StatusCode;
use secrecy::SecretString;

use crate::login::{Bearer, Login, Way};
use crate::resource::is_path;
use crate::shapes::{Secret, ServerHealth};
use crate::trouble::{Operation, Reason, Trouble};
use crate::wire::{self, Answer, Ask, Wire};

/// Every call of the port ends by this, a login before it included; the contract allows 15 s.
pub(crate) const PORT_LIMIT: Duration = Duration::from_secs(14);
/// The longest path of a secret.
const PATH_LIMIT: usize = 512;

/// A client of one Vault; behind an [`Arc`] the tokens that access is given by are made from it, and
/// secrets are read.
pub struct Vault {
    pub(crate) provider: ProviderName,
    pub(crate) address: Address,
    pub(crate) realm: String,
    pub(crate) num_uses: Option<u32>,
    pub(crate) wrap_ttl: Option<Duration>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) login: Login,
    pub(crate) wire: Arc<Wire>,
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vault")
            .field("provider", &self.provider)
            .field("realm", &self.realm)
            .finish_non_exhaustive()
    }
}

/// How a Vault is, by its own word.
/// Source: <https://developer.hashicorp.com/vault/api-docs/system/health>
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// Initialised, unsealed and active (200).
    Ok,
    /// Unsealed, while another one of its cluster is active (429); it passes calls on.
    Standby,
    /// A standby that answers reads itself (473).
    PerformanceStandby,
    /// A replica for disasters (472), which answers nothing else.
    RecoverySecondary,
    /// Not initialised (501).
    Uninitialised,
    /// Sealed (503): it does nothing until somebody unseals it.
    Sealed,
    /// It did not answer within three seconds, or something else did.
    Unreachable,
}

impl Health {
    /// Its name: `ok`, `standby`, `performance_standby`, `recovery_secondary`, `uninitialised`,
    /// `sealed` or `unreachable`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Standby => "standby",
            Self::PerformanceStandby => "performance_standby",
            Self::RecoverySecondary => "recovery_secondary",
            Self::Uninitialised => "uninitialised",
            Self::Sealed => "sealed",
            Self::Unreachable => "unreachable",
        }
    }
}

impl Vault {
    /// Asks how it is, without a token. Ends within three seconds.
    pub async fn health(&self) -> Health {
        let url = wire::at(&self.address, ["sys", "health"]);
        let Ok(answer) = self.wire.health(url).await else {
            return Health::Unreachable;
        };
        // A proxy before it answers 429 and 503 of its own, without Vault's word.
        let Ok(own) = answer.json::<ServerHealth>() else {
            return Health::Unreachable;
        };
        match answer.status.as_u16() {
            200 if own.initialized && !own.sealed => Health::Ok,
            429 => Health::Standby,
            472 => Health::RecoverySecondary,
            473 => Health::PerformanceStandby,
            501 => Health::Uninitialised,
            503 if own.sealed => Health::Sealed,
            _ => Health::Unreachable,
        }
    }

    /// Which cluster it says that it is, without a token; none where it does not say.
    pub(crate) async fn cluster(&self) -> Result<Option<String>, Trouble> {
        let url = wire::at(&self.address, ["sys", "health"]);
        let answer = self.wire.health(url).await?;
        // Its status is that of the server, whose own word is read whatever that is.
        match answer.json::<ServerHealth>() {
            Ok(own) => Ok(own.cluster_id),
            Err(unreadable) => Err(match answer.good() {
                Ok(_) => unreadable,
                Err(refused) => refused,
            }),
        }
    }

    /// Reads the latest version of a secret of KV version 2, its texts only: what is no text is left
    /// out. `path` is that of the API under `/v1`, with its `data`: `homelab/data/docker/grafana`.
    /// Source: <https://developer.hashicorp.com/vault/api-docs/secret/kv/kv-v2#read-secret-version>
    ///
    /// # Errors
    /// [`NotFound`](jit_core::ports::ErrorKind::NotFound) where there is no such secret or its latest
    /// version was deleted, [`Forbidden`](jit_core::ports::ErrorKind::Forbidden) where a policy is
    /// missing, and else as any call: see the README.
    pub async fn read_kv(&self, path: &str) -> Result<BTreeMap<String, SecretString>, PortError> {
        let read = in_time(self.secret(path)).await;
        read.map_err(|trouble| trouble.during(Operation::ReadSecret))
    }

    async fn secret(&self, path: &str) -> Result<BTreeMap<String, SecretString>, Trouble> {
        const ACTION: &str = "read a secret";
        if !is_path(path) || path.len() > PATH_LIMIT {
            return Err(Trouble::BadPath);
        }
        let url = wire::at(&self.address, path.split('/'));
        let answer = self.read(|| Ask::get(ACTION, url.clone())).await;
        let answer = answer.map_err(|trouble| match trouble.reason() {
            Some(Reason::NotFound) => Trouble::NoSuchSecret,
            _ => trouble,
        })?;
        if answer.status != StatusCode::OK {
            return Err(Trouble::Unreadable(ACTION));
        }
        let secret: Secret = answer.json()?;
        let fields = secret.data.data.ok_or(Trouble::NoSuchSecret)?;
        let texts = fields
            .into_iter()
            .filter_map(|(name, it)| Some((name, it.0?)));
        Ok(texts.collect())
    }

    fn way(&self) -> Way<'_> {
        Way {
            wire: &self.wire,
            address: &self.address,
            clock: self.clock.as_ref(),
        }
    }

    /// Sends what changes no access, once more where our token was not accepted.
    pub(crate) async fn read<'a>(&self, ask: impl Fn() -> Ask<'a>) -> Result<Answer, Trouble> {
        let mut is_second = false;
        loop {
            let bearer = self.login.bearer(self.way()).await?;
            let ask = Ask {
                token: Some(&bearer.header),
                ..ask()
            };
            let trouble = match self.wire.send(ask).await?.good() {
                Ok(answer) => return Ok(answer),
                Err(trouble) => trouble,
            };
            let refused = trouble
                .reason()
                .is_some_and(|reason| self.login.refused(&bearer, reason, self.clock.now()));
            if !refused || is_second {
                return Err(trouble);
            }
            is_second = true;
        }
    }

    /// Sends what changes access: one call, over a connection of its own, that is sent only while its
    /// time is not over. `ask` is made when there is a token, right before it is sent.
    pub(crate) async fn change<'a>(
        &self,
        gate: &Gate,
        ask: impl FnOnce(&Bearer) -> Result<Ask<'a>, Trouble>,
    ) -> Result<Answer, Trouble> {
        let bearer = self.login.bearer(self.way()).await?;
        if gate.is_late() {
            return Err(Trouble::TooLate);
        }
        let ask = Ask {
            token: Some(&bearer.header),
            ..ask(&bearer)?
        };
        match self.wire.send_once(ask, gate).await?.good() {
            Ok(answer) => Ok(answer),
            // It is not sent again here, whatever the token; the next call has another one.
            Err(Trouble::Vault(not_done))
                if self
                    .login
                    .refused(&bearer, not_done.reason(), self.clock.now()) =>
            {
                Err(match not_done.reason() {
                    Reason::DeadToken => not_done.worth_another_token().into(),
                    _ => not_done.into(),
                })
            }
            Err(trouble) => Err(trouble),
        }
    }
}

/// Cuts off what takes too long. Only for what changes nothing.
pub(crate) async fn in_time<T>(
    work: impl Future<Output = Result<T, Trouble>>,
) -> Result<T, Trouble> {
    let done = tokio::time::timeout(PORT_LIMIT, work).await;
    done.unwrap_or(Err(Trouble::NoAnswer(Effect::None)))
}

/// Cuts off what takes too long, and says what that means for what the gate was for.
pub(crate) async fn in_time_behind<T>(
    gate: &Gate,
    work: impl Future<Output = Result<T, Trouble>>,
) -> Result<T, Trouble> {
    let done = tokio::time::timeout(PORT_LIMIT, work).await;
    done.unwrap_or_else(|_| {
        Err(Trouble::NoAnswer(match gate.passage() {
            Passage::NotReached | Passage::TooLate => Effect::None,
            Passage::Through => Effect::Unknown,
        }))
    })
}
