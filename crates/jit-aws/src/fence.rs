//! The last gate before the wire: a signed request is let through once, and only before its time.
//! It knows nothing of what is asked.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::connector_metadata::ConnectorMetadata;
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient,
    SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::{
    RuntimeComponents, RuntimeComponentsBuilder,
};
use aws_smithy_types::config_bag::ConfigBag;
use jit_core::Timestamp;
use jit_core::ports::Clock;

/// What became of the one request that a fence is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Passage {
    /// It never came this far: no byte of it left.
    NotReached,
    /// It came too late and was not let through: no byte of it left.
    TooLate,
    /// It was handed to the connection.
    Through,
}

/// A client of the SDK for one call that changes something.
///
/// The SDK hands a request to a connector when it is signed and nothing is left to do but to send
/// it, so what is checked here is checked after signing. Between the check and the first byte
/// there may still be a connect of at most 3 s; that is no matter, because how long AWS accepts a
/// request is counted from its signature (V).
///
/// The second request through one fence is refused, whoever sends it: "transmit once" does not rest
/// on the SDK's settings alone.
#[derive(Clone)]
pub struct Fence {
    inner: SharedHttpClient,
    gate: Gate,
}

#[derive(Clone)]
struct Gate {
    clock: Arc<dyn Clock>,
    send_before: Timestamp,
    passage: Arc<AtomicU8>,
}

const NOT_REACHED: u8 = 0;
const TOO_LATE: u8 = 1;
const THROUGH: u8 = 2;

impl Fence {
    /// A gate that closes at this time.
    pub fn new(inner: SharedHttpClient, clock: Arc<dyn Clock>, send_before: Timestamp) -> Self {
        let gate = Gate {
            clock,
            send_before,
            passage: Arc::new(AtomicU8::new(NOT_REACHED)),
        };
        Self { inner, gate }
    }

    /// How far the one request came.
    pub fn passage(&self) -> Passage {
        match self.gate.passage.load(Ordering::SeqCst) {
            NOT_REACHED => Passage::NotReached,
            TOO_LATE => Passage::TooLate,
            _ => Passage::Through,
        }
    }
}

impl Gate {
    fn pass(&self) -> Result<(), ConnectorError> {
        let is_late = self.clock.now() >= self.send_before;
        let wanted = if is_late { TOO_LATE } else { THROUGH };
        let first =
            self.passage
                .compare_exchange(NOT_REACHED, wanted, Ordering::SeqCst, Ordering::SeqCst);
        match first {
            Err(_) => Err(ConnectorError::user("a request is sent once".into())),
            Ok(_) if is_late => Err(ConnectorError::user("it is too late to send this".into())),
            Ok(_) => Ok(()),
        }
    }
}

impl fmt::Debug for Fence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fence")
            .field("send_before", &self.gate.send_before)
            .field("passage", &self.passage())
            .finish_non_exhaustive()
    }
}

impl HttpClient for Fence {
    fn http_connector(
        &self,
        settings: &HttpConnectorSettings,
        components: &RuntimeComponents,
    ) -> SharedHttpConnector {
        SharedHttpConnector::new(Fenced {
            // The inner client keeps its connectors, and with them its connections, by itself.
            inner: self.inner.http_connector(settings, components),
            gate: self.gate.clone(),
        })
    }

    fn validate_base_client_config(
        &self,
        components: &RuntimeComponentsBuilder,
        config: &ConfigBag,
    ) -> Result<(), BoxError> {
        HttpClient::validate_base_client_config(&self.inner, components, config)
    }

    fn validate_final_config(
        &self,
        components: &RuntimeComponents,
        config: &ConfigBag,
    ) -> Result<(), BoxError> {
        HttpClient::validate_final_config(&self.inner, components, config)
    }

    fn connector_metadata(&self) -> Option<ConnectorMetadata> {
        self.inner.connector_metadata()
    }
}

struct Fenced {
    inner: SharedHttpConnector,
    gate: Gate,
}

impl fmt::Debug for Fenced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Fenced").field(&self.inner).finish()
    }
}

impl HttpConnector for Fenced {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let (inner, gate) = (self.inner.clone(), self.gate.clone());
        // The check belongs to the moment in which the request is sent, not to the one in which
        // somebody thinks of sending it.
        HttpConnectorFuture::new(async move {
            gate.pass()?;
            inner.call(request).await
        })
    }
}
