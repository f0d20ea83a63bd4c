//! A provider of standing access that is a set in memory, and remembers when it was asked to take
//! something away; and the engine around it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use jit_core::Timestamp;
use jit_core::catalog::Entitlement;
use jit_core::engine::{ClockTrust, Engine, EngineParts};
use jit_core::policy::Policy;
use jit_core::ports::{
    Clock, GrantCall, InspectCall, PortError, Provisioner, RequestStore, RevokeCall,
};
use jit_core::principal::Profile;
use jit_core::provider::{Answer, Description, Parameters, Presence, Resolved, SlotKey, Target};
use jit_core::request::RequestId;
use jit_runtime::clock::{OsRandom, SystemClock};
use jit_runtime::nudge::Nudge;
use jit_runtime::observe::MeteredStore;
use jit_runtime::worker::{Worker, WorkerSettings};
use jit_testkit::stage::{Stage, catalog, rules, tier};

use crate::Failed;

#[derive(Default)]
pub(crate) struct Local {
    pub(crate) there: Mutex<BTreeSet<SlotKey>>,
    pub(crate) deletes: Mutex<Vec<(RequestId, Timestamp)>>,
    /// How long a delete takes.
    pub(crate) delay: Duration,
}

#[async_trait]
impl Provisioner for Local {
    fn describe(&self) -> Description {
        Description::immediate()
    }

    async fn resolve(
        &self,
        beneficiary: &Profile,
        entitlement: &Entitlement,
        _: &Parameters,
    ) -> Result<Resolved, PortError> {
        let subject = beneficiary.id.as_str().parse();
        let subject = subject.map_err(|_| {
            let kind = jit_core::ports::ErrorKind::NotFound;
            PortError::nothing_done("local", "resolve", kind)
        })?;
        let target = Target::new("local", subject, entitlement.resource.clone());
        Ok(target.into())
    }

    async fn grant(&self, call: GrantCall<'_>) -> Result<Answer, PortError> {
        let mut there = self.there.lock().unwrap_or_else(PoisonError::into_inner);
        there.insert(call.target.slot_key(call.parameters));
        Ok(Answer::Applied)
    }

    async fn revoke(&self, call: RevokeCall<'_>) -> Result<Answer, PortError> {
        let sent = (call.request, SystemClock.now());
        let deletes = self.deletes.lock();
        deletes.unwrap_or_else(PoisonError::into_inner).push(sent);
        if !self.delay.is_zero() {
            tokio::time::sleep(self.delay).await;
        }
        let mut there = self.there.lock().unwrap_or_else(PoisonError::into_inner);
        there.remove(&call.target.slot_key(call.parameters));
        Ok(Answer::Applied)
    }

    async fn inspect(&self, call: InspectCall<'_>) -> Result<Presence, PortError> {
        let there = self.there.lock().unwrap_or_else(PoisonError::into_inner);
        match there.contains(&call.target.slot_key(call.parameters)) {
            true => Ok(Presence::Present),
            false => Ok(Presence::Absent),
        }
    }
}

/// An engine with this store and this provider, and a worker on it.
pub(crate) fn service(
    store: Arc<dyn RequestStore>,
    provider: &Arc<Local>,
) -> Result<(Arc<Engine>, Worker), Failed> {
    let stage = Stage::new();
    let nudge = Nudge::default();
    let provisioner: Arc<dyn Provisioner> = provider.clone();
    // The records that are written by hand are of another name.
    let names = ["stage", "groupfile"];
    let provisioners: BTreeMap<_, _> = names
        .iter()
        .map(|name| Ok((name.parse()?, provisioner.clone())))
        .collect::<Result<_, Failed>>()?;
    let parts = EngineParts {
        store: Arc::new(MeteredStore::new(store, nudge.clone())),
        directory: stage.people.clone(),
        provisioners,
        notifiers: vec![],
        pager: stage.pager.clone(),
        clock: Arc::new(SystemClock),
        random: Arc::new(OsRandom),
        policy: Policy::new(vec![tier("tier", 1)], rules())?,
        catalog: catalog("tier"),
    };
    let engine = Arc::new(Engine::new(parts, ClockTrust::Trusted)?);
    let worker = Worker::new(
        engine.clone(),
        Arc::new(OsRandom),
        WorkerSettings::default(),
    );
    Ok((engine, worker.woken_by(&nudge)))
}

/// Parameters that make a slot of its own.
pub(crate) fn slot_of_its_own(number: u64) -> Parameters {
    let mut parameters = Parameters::new();
    parameters.insert("number".to_owned(), number.into());
    parameters
}
