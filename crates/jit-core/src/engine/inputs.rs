//! Inputs that somebody took and did not finish. A store lists them all alike; each door gets those that
//! are its own.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::Engine;
use crate::ports::{InboxItem, PortError};
use crate::time::Timestamp;

/// How long what one door found waits for another one. After 30 s the store gives it to whoever asks,
/// and two would work on it.
const KEPT: Duration = Duration::from_secs(20);
/// So many wait at once; the store gives the rest again.
const MOST: usize = 1_000;

/// What doors found that is not theirs, and when.
#[derive(Debug, Default)]
pub(super) struct Found(Mutex<Vec<(Timestamp, InboxItem)>>);

impl Engine {
    /// Takes inputs that are not done and that nobody took in the last 30 s, at most `limit` of the
    /// store's: those whose key says that they are this door's. What is another door's is kept for it
    /// for some seconds.
    pub async fn take_inputs(
        &self,
        is_ours: impl Fn(&str) -> bool + Send,
        limit: usize,
    ) -> Result<Vec<InboxItem>, PortError> {
        let now = self.now();
        let taken = self.parts.store.inbox_take(now, limit).await?;
        let mut found = self.found.0.lock().unwrap_or_else(PoisonError::into_inner);
        let waiting = std::mem::take(&mut *found);
        let waiting = waiting
            .into_iter()
            .filter(|(at, _)| now.since(*at) < KEPT)
            .chain(taken.into_iter().map(|item| (now, item)));
        let (ours, others): (Vec<_>, Vec<_>) = waiting.partition(|(_, item)| is_ours(&item.key));
        *found = others;
        found.truncate(MOST);
        Ok(ours.into_iter().map(|(_, item)| item).collect())
    }
}
