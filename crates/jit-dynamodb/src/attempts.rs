//! What the tries of one call may have done. The last one's answer does not speak for the others: a
//! write whose first answer was lost may be written, though the second try was refused.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::Intercept;
use aws_smithy_runtime_api::client::interceptors::context::{
    BeforeTransmitInterceptorContextRef, FinalizerInterceptorContextRef,
};
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::config_bag::ConfigBag;
use jit_core::ports::{Effect, ErrorKind};

use crate::error::{Cause, Failure};

/// Watches the tries of one call.
#[derive(Debug, Clone, Default)]
pub(crate) struct Attempts(Arc<Seen>);

#[derive(Debug, Default)]
struct Seen {
    /// A try went out and has not ended.
    under_way: AtomicBool,
    /// A try went out and was not refused in so many words.
    may_be_done: AtomicBool,
}

impl Attempts {
    /// A failure, with what all the tries may have done.
    pub(crate) fn judge(&self, failure: Failure) -> Failure {
        let effect = match failure.effect {
            Effect::None if self.may_have_been_done() => Effect::Unknown,
            // No try went out: there were no credentials, for one.
            Effect::Unknown if !self.may_have_been_done() && failure.code().is_none() => {
                Effect::None
            }
            effect => effect,
        };
        Failure { effect, ..failure }
    }

    /// The failure of a call that was not waited for any longer.
    pub(crate) fn given_up(&self) -> Failure {
        let effect = match self.may_have_been_done() {
            true => Effect::Unknown,
            false => Effect::None,
        };
        Failure {
            kind: ErrorKind::Unavailable,
            effect,
            cause: Cause::TooLate,
        }
    }

    fn may_have_been_done(&self) -> bool {
        self.0.may_be_done.load(Ordering::SeqCst) || self.0.under_way.load(Ordering::SeqCst)
    }
}

impl Intercept for Attempts {
    fn name(&self) -> &'static str {
        "Attempts"
    }

    fn read_before_transmit(
        &self,
        _: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        self.0.under_way.store(true, Ordering::SeqCst);
        Ok(())
    }

    fn read_after_attempt(
        &self,
        context: &FinalizerInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let was_sent = self.0.under_way.swap(false, Ordering::SeqCst);
        let status = context.response().map(|answer| answer.status().as_u16());
        let was_refused = status.is_some_and(|status| (400..500).contains(&status));
        if was_sent && !was_refused {
            self.0.may_be_done.store(true, Ordering::SeqCst);
        }
        Ok(())
    }
}
