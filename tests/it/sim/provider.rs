//! A provider as one replica sees it: hostile by itself, and the replica may die at its calls.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use jit_core::catalog::Entitlement;
use jit_core::ports::{
    Clock, GrantCall, InspectCall, Minted, Page, PortError, Provisioner, RevokeCall, Standing,
};
use jit_core::principal::Profile;
use jit_core::provider::{Answer, Description, Parameters, Presence, Resolved};
use jit_core::request::RequestId;

use super::chaos::Chaos;
use super::diary::{Asked, Attempt, Heard};

pub(crate) struct ChaosProvisioner {
    pub(crate) inner: Arc<dyn Provisioner>,
    pub(crate) chaos: Arc<Chaos>,
    /// Requests the reply to whose grant call reaches its worker very late.
    pub(crate) slow_replies: Arc<Mutex<BTreeSet<RequestId>>>,
}

/// The call for a request that exists.
#[derive(Clone, Copy)]
struct Of {
    request: RequestId,
    asked: Asked,
}

impl ChaosProvisioner {
    async fn noted<T>(
        &self,
        of: Of,
        name: &'static str,
        call: impl Future<Output = Result<T, PortError>>,
    ) -> Result<T, PortError> {
        let chaos = &self.chaos;
        let number = chaos.diary.began(Attempt {
            replica: chaos.replica,
            request: of.request,
            asked: of.asked,
            began: chaos.truth.now(),
            heard: None,
        });
        let answer = self.guarded(name, call).await;
        let slow = of.asked == Asked::Grant && {
            let mut slow = self.slow_replies.lock().unwrap();
            slow.remove(&of.request)
        };
        if slow {
            chaos.diary.counts.add("slow reply");
            tokio::time::sleep(Duration::from_secs(55)).await;
        }
        let heard = match &answer {
            Ok(_) => Heard::Yes,
            Err(_) => Heard::No,
        };
        chaos.diary.heard(number, chaos.truth.now(), heard);
        answer
    }

    async fn guarded<T>(&self, name: &'static str, call: impl Future<Output = T>) -> T {
        let chaos = &self.chaos;
        chaos.crash_point(&format!("before provider.{name}")).await;
        let answer = call.await;
        chaos.crash_point(&format!("after provider.{name}")).await;
        answer
    }
}

#[async_trait]
impl Provisioner for ChaosProvisioner {
    fn describe(&self) -> Description {
        self.inner.describe()
    }

    async fn resolve(
        &self,
        beneficiary: &Profile,
        entitlement: &Entitlement,
        parameters: &Parameters,
    ) -> Result<Resolved, PortError> {
        let call = self.inner.resolve(beneficiary, entitlement, parameters);
        self.guarded("resolve", call).await
    }

    async fn grant(&self, call: GrantCall<'_>) -> Result<Answer, PortError> {
        let of = Of {
            request: call.request,
            asked: Asked::Grant,
        };
        self.noted(of, "grant", self.inner.grant(call)).await
    }

    async fn mint(&self, call: GrantCall<'_>) -> Result<Minted, PortError> {
        let of = Of {
            request: call.request,
            asked: Asked::Mint,
        };
        self.noted(of, "mint", self.inner.mint(call)).await
    }

    async fn revoke(&self, call: RevokeCall<'_>) -> Result<Answer, PortError> {
        let of = Of {
            request: call.request,
            asked: Asked::Revoke,
        };
        self.noted(of, "revoke", self.inner.revoke(call)).await
    }

    async fn inspect(&self, call: InspectCall<'_>) -> Result<Presence, PortError> {
        let of = Of {
            request: call.request,
            asked: Asked::Inspect,
        };
        self.noted(of, "inspect", self.inner.inspect(call)).await
    }

    async fn standing(
        &self,
        resource: &str,
        page: Option<&str>,
    ) -> Result<Page<Standing>, PortError> {
        self.inner.standing(resource, page).await
    }
}
