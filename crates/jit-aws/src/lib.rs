//! How what is asked of AWS goes out: one configuration of the SDK that nobody's environment can
//! soften, one gate before the wire for what changes something, a quota, and what a failed call
//! means. What is asked, and of which service, is for the adapters that use it.

#![warn(missing_docs)]

mod budget;
mod connect;
mod fence;
mod trouble;

use std::sync::Arc;
use std::time::Duration;

use aws_config::SdkConfig;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use jit_core::Timestamp;
use jit_core::catalog::ProviderName;
use jit_core::ports::{Clock, Purpose};

use connect::Connection;

pub use budget::{Budget, Held, Limits};
pub use connect::{Place, load};
pub use fence::{Fence, Passage};
pub use trouble::{NotDone, Reason};

/// How long AWS accepts a request, counted from its signature: in most cases a request must
/// arrive within five minutes of its time stamp ("AWS Signature Version 4 for API requests", IAM
/// User Guide), and ten seconds for two clocks that disagree. This is V of every adapter that signs.
pub const ACCEPTED_WITHIN: Duration = Duration::from_secs(310);

/// The services behind the clients `C`, asked in turn and by our own time.
///
/// What changes something goes out through a [`Fence`], once; what only reads needs none. The SDK's
/// retries and its correction of the clock are off, whatever the configuration says.
pub struct Aws<C> {
    provider: ProviderName,
    clock: Arc<dyn Clock>,
    budget: Arc<Budget>,
    connection: Connection<C>,
}

/// What is needed to ask.
pub struct Reach {
    /// The name that the provider is configured under, for the log.
    pub provider: ProviderName,
    /// Where the service is.
    pub place: Place,
    /// What may still be asked of it.
    pub budget: Arc<Budget>,
    /// The time that signatures carry and that the gate judges by.
    pub clock: Arc<dyn Clock>,
}

impl std::fmt::Debug for Reach {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reach")
            .field("provider", &self.provider)
            .field("place", &self.place)
            .finish_non_exhaustive()
    }
}

impl<C> std::fmt::Debug for Aws<C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Aws")
            .field("provider", &self.provider)
            .finish_non_exhaustive()
    }
}

/// What a call to AWS is made for, and how long it waits for its turn.
#[derive(Debug, Clone, Copy)]
pub struct Errand {
    /// Who takes away goes first.
    pub purpose: Purpose,
    /// Longer than this it does not wait for its turn.
    pub patience: Duration,
}

/// Why a question got no answer.
#[derive(Debug, thiserror::Error)]
pub enum Failed {
    /// Its turn did not come; it may after this.
    #[error("the quota of calls to this service is used up")]
    Busy(Duration),
    /// The gate was closed.
    #[error("the time in which this call may be sent is over")]
    TooLate,
    /// AWS did not do it, or did not answer.
    #[error(transparent)]
    Aws(Box<NotDone>),
}

impl<C> Aws<C> {
    /// Over this configuration's credentials. Retries, timeouts, time, TLS and region are set here
    /// whatever it says of them. `make` makes the clients, again whenever credentials were refused
    /// because they expired.
    pub fn new(
        reach: Reach,
        config: SdkConfig,
        make: impl Fn(&SdkConfig) -> C + Send + Sync + 'static,
    ) -> Self {
        Self {
            connection: Connection::new(&reach.place, &reach.clock, config, Box::new(make)),
            provider: reach.provider,
            clock: reach.clock,
            budget: reach.budget,
        }
    }

    /// The clients.
    pub fn clients(&self) -> Arc<C> {
        self.connection.clients()
    }

    /// What may still be asked.
    pub fn budget(&self) -> &Budget {
        &self.budget
    }

    /// The time that signatures carry and that the gate judges by.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// The gate for one call that changes something. The call takes it as its HTTP client.
    pub fn fence(&self, send_before: Timestamp) -> Fence {
        Fence::new(
            self.connection.http.clone(),
            Arc::clone(&self.clock),
            send_before,
        )
    }

    /// An errand that waits as long as the budget says.
    pub fn errand(&self, purpose: Purpose) -> Errand {
        Errand {
            purpose,
            patience: self.budget.patience(),
        }
    }

    /// Waits for its turn, asks what changes nothing, and learns from the answer.
    ///
    /// # Errors
    /// Where its turn did not come, or AWS did not answer as it should.
    pub async fn ask<T, E>(
        &self,
        errand: Errand,
        action: &'static str,
        call: impl Future<Output = Result<T, SdkError<E, HttpResponse>>>,
    ) -> Result<T, Failed>
    where
        E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    {
        self.turn(errand).await?;
        self.ask_now(errand.purpose, action, call).await
    }

    /// Asks what changes nothing, in a turn that came already.
    ///
    /// # Errors
    /// Where AWS did not answer as it should.
    pub async fn ask_now<T, E>(
        &self,
        purpose: Purpose,
        action: &'static str,
        call: impl Future<Output = Result<T, SdkError<E, HttpResponse>>>,
    ) -> Result<T, Failed>
    where
        E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    {
        let answer = call.await;
        // What only reads has no effect, however far it came.
        answer.map_err(|error| {
            let answer = NotDone::of(action, error, Passage::Through);
            self.learn(purpose, answer)
        })
    }

    /// Waits until a call may be made.
    ///
    /// # Errors
    /// Where its turn did not come in time.
    pub async fn turn(&self, errand: Errand) -> Result<(), Failed> {
        let drawn = self.budget.draw(errand.purpose, errand.patience);
        drawn.await.map_err(Failed::Busy)
    }

    /// What a failed call teaches for the next ones.
    pub fn learn(&self, purpose: Purpose, answer: Box<NotDone>) -> Failed {
        if let Some(pause) = answer.wants_a_pause() {
            self.budget.pause(purpose, pause);
        }
        match answer.reason() {
            Reason::CredentialsExpired => {
                tracing::info!(
                    provider = %self.provider,
                    "AWS says that the credentials expired; the next call loads others"
                );
                self.connection.forget_credentials();
                Failed::Aws(answer)
            }
            Reason::TooLate => Failed::TooLate,
            _ => Failed::Aws(answer),
        }
    }
}
