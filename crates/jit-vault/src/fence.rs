//! The last gate before the wire. A call to Vault carries no time of its own, so it is sent over a
//! connection that was opened for it alone: connect, then check the time, then write, once. Nothing
//! of what is asked is known here.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll};

use jit_core::Timestamp;
use jit_core::ports::Clock;
use tower_layer::Layer;
use tower_service::Service;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// What became of the one call that a gate is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Passage {
    /// No connection came about: no byte of the call left.
    NotReached,
    /// There is a connection, and it came too late: no byte of the call left.
    TooLate,
    /// The connection was handed on, to be written to.
    Through,
}

/// Stands behind the connector of a client that is used for one call. The connector answers when
/// TCP and TLS are done, so what is checked then is checked after connecting, and before a byte of
/// the call is written.
///
/// The second connection through one gate is refused, whoever asks for it: "transmit once" does not
/// rest on the client's own idea of when to try again.
#[derive(Clone)]
pub(crate) struct Gate {
    clock: Arc<dyn Clock>,
    send_before: Timestamp,
    passage: Arc<AtomicU8>,
}

const NOT_REACHED: u8 = 0;
const TOO_LATE: u8 = 1;
const THROUGH: u8 = 2;

impl Gate {
    pub(crate) fn new(clock: Arc<dyn Clock>, send_before: Timestamp) -> Self {
        Self {
            clock,
            send_before,
            passage: Arc::new(AtomicU8::new(NOT_REACHED)),
        }
    }

    pub(crate) fn passage(&self) -> Passage {
        match self.passage.load(Ordering::SeqCst) {
            NOT_REACHED => Passage::NotReached,
            TOO_LATE => Passage::TooLate,
            _ => Passage::Through,
        }
    }

    pub(crate) fn is_late(&self) -> bool {
        self.clock.now() >= self.send_before
    }

    fn pass(&self) -> Result<(), BoxError> {
        let is_late = self.is_late();
        let wanted = if is_late { TOO_LATE } else { THROUGH };
        let first =
            self.passage
                .compare_exchange(NOT_REACHED, wanted, Ordering::SeqCst, Ordering::SeqCst);
        match first {
            Err(_) => Err("a call is sent once".into()),
            Ok(_) if is_late => Err("it is too late to send this".into()),
            Ok(_) => Ok(()),
        }
    }
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gate")
            .field("send_before", &self.send_before)
            .field("passage", &self.passage())
            .finish_non_exhaustive()
    }
}

impl<S> Layer<S> for Gate {
    type Service = Gated<S>;

    fn layer(&self, connector: S) -> Gated<S> {
        Gated {
            connector,
            gate: self.clone(),
        }
    }
}

/// A connector with a gate behind it.
#[derive(Debug, Clone)]
pub(crate) struct Gated<S> {
    connector: S,
    gate: Gate,
}

impl<S, R> Service<R> for Gated<S>
where
    S: Service<R, Error = BoxError>,
    S::Future: Send + 'static,
    S::Response: Send + 'static,
{
    type Response = S::Response;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.connector.poll_ready(context)
    }

    fn call(&mut self, to: R) -> Self::Future {
        let connecting = self.connector.call(to);
        let gate = self.gate.clone();
        Box::pin(async move {
            let connection = connecting.await?;
            gate.pass()?;
            Ok(connection)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jit_testkit::time::ManualClock;
    use std::time::Duration;

    fn at(micros: i64) -> Timestamp {
        Timestamp::from_unix_micros(micros)
    }

    #[test]
    fn s3_a_gate_opens_once_and_strictly_before_its_time() {
        let clock = Arc::new(ManualClock::at(at(10)));
        let late = Gate::new(clock.clone(), at(10));
        assert!(late.pass().is_err());
        assert_eq!(late.passage(), Passage::TooLate);

        let gate = Gate::new(clock.clone(), at(11));
        assert_eq!(gate.passage(), Passage::NotReached);
        assert!(gate.pass().is_ok());
        assert!(gate.pass().is_err(), "the second is refused");
        assert_eq!(gate.passage(), Passage::Through);
        clock.advance(Duration::from_secs(1));
        assert!(gate.is_late());
        assert_eq!(gate.passage(), Passage::Through, "what left has left");
    }
}
