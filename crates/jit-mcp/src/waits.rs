//! How many calls may wait for a change at once: each holds a connection, and looks into the store
//! again and again.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jit_core::principal::PrincipalId;

/// Of all callers, and of one.
const ALL: usize = 256;
const EACH: usize = 8;

/// Those that wait.
#[derive(Debug, Default)]
pub(crate) struct Waits {
    by: Mutex<HashMap<PrincipalId, usize>>,
}

/// One that waits, until it is dropped.
#[derive(Debug)]
pub(crate) struct Turn {
    waits: Arc<Waits>,
    who: PrincipalId,
}

impl Waits {
    /// A turn to wait, where there is one left.
    pub(crate) fn turn(self: &Arc<Self>, who: &PrincipalId) -> Option<Turn> {
        let mut by = self.by();
        let own = by.get(who).copied().unwrap_or(0);
        if own >= EACH || by.values().sum::<usize>() >= ALL {
            return None;
        }
        by.insert(who.clone(), own + 1);
        Some(Turn {
            waits: Arc::clone(self),
            who: who.clone(),
        })
    }

    fn by(&self) -> MutexGuard<'_, HashMap<PrincipalId, usize>> {
        self.by.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut by = self.waits.by();
        match by.get_mut(&self.who) {
            Some(own) if *own > 1 => *own -= 1,
            Some(_) | None => {
                by.remove(&self.who);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_caller_has_some_of_the_turns_and_all_have_all_of_them() {
        let waits = Arc::new(Waits::default());
        let id = |at: usize| format!("agent:bot-{at}").parse::<PrincipalId>().unwrap();
        let mut own: Vec<_> = (0..EACH).map(|_| waits.turn(&id(0)).unwrap()).collect();
        assert!(waits.turn(&id(0)).is_none());
        own.pop();
        assert!(waits.turn(&id(0)).is_some(), "one that ended is free again");
        drop(own);
        let all: Vec<_> = (0..ALL).map(|at| waits.turn(&id(at)).unwrap()).collect();
        assert!(waits.turn(&id(ALL)).is_none());
        drop(all);
        assert!(waits.by().is_empty());
    }
}
