//! The shortcuts that break the lifecycle, each as a port that lies to the real engine. The checker
//! must catch every one of them.

use std::sync::Arc;

use jit_core::ports::{Directory, Provisioner, RequestStore};

use super::chaos::OffsetClock;

/// A shortcut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Saboteur {}

pub(crate) fn provisioner(
    saboteur: Option<Saboteur>,
    inner: Arc<dyn Provisioner>,
    _clock: &Arc<OffsetClock>,
) -> Arc<dyn Provisioner> {
    match saboteur {
        None => inner,
        Some(none) => match none {},
    }
}

pub(crate) fn store(
    saboteur: Option<Saboteur>,
    inner: Arc<dyn RequestStore>,
) -> Arc<dyn RequestStore> {
    match saboteur {
        None => inner,
        Some(none) => match none {},
    }
}

pub(crate) fn directory(
    saboteur: Option<Saboteur>,
    inner: Arc<dyn Directory>,
) -> Arc<dyn Directory> {
    match saboteur {
        None => inner,
        Some(none) => match none {},
    }
}
