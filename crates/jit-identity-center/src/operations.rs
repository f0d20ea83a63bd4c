//! What operations are on. AWS lists those in progress without saying that, and describing each one
//! anew at every look would use up the quota when most is going on.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::time::Duration;

use aws_sdk_ssoadmin::types::AccountAssignmentOperationStatus;

use jit_aws::Held;
use tokio::time::Instant;

use crate::assignment::{Change, Place};
use crate::lookup::lock;

/// More than can be in progress at once, many times over.
const REMEMBERED: usize = 500;

/// How long an operation that nobody watches any more keeps its place where nobody lists what is in
/// progress.
const UNWATCHED_LIMIT: Duration = Duration::from_secs(60);

/// Operations that are in progress at AWS and that nobody watches any more, with their places: AWS
/// counts them until they end.
#[derive(Debug, Default)]
pub(crate) struct Unwatched(Mutex<Vec<(Change, String, Instant, Held)>>);

impl Unwatched {
    /// Keeps the place of an operation until it is not listed any more.
    pub(crate) fn keep(&self, change: Change, operation: &str, held: Held) {
        let until = Instant::now() + UNWATCHED_LIMIT;
        lock(&self.0).push((change, operation.to_owned(), until, held));
    }

    /// Gives back the places of those that are not on a list that was begun at this moment, and of
    /// those that are older than any that is looked after. Which are over by that list.
    pub(crate) fn listed(&self, change: Change, began: Instant, open: &[String]) -> Vec<String> {
        let mut over = Vec::new();
        lock(&self.0).retain(|(of, operation, until, _)| {
            let was_there = *until < began + UNWATCHED_LIMIT;
            let is_over = *of == change && was_there && !open.contains(operation);
            over.extend(is_over.then(|| operation.clone()));
            Instant::now() < *until && !is_over
        });
        over
    }

    /// Gives back the places of those that are too old.
    pub(crate) fn forget_the_old(&self) {
        lock(&self.0).retain(|(_, _, until, _)| Instant::now() < *until);
    }
}

/// The targets of the last operations that were begun or described. An operation is on one target
/// for ever, so nothing here grows old.
#[derive(Debug, Default)]
pub(crate) struct Operations(Mutex<VecDeque<(Change, String, Place)>>);

impl Operations {
    /// What an operation is on, where that was said already.
    pub(crate) fn target(&self, change: Change, operation: &str) -> Option<Place> {
        let known = lock(&self.0);
        let found = known
            .iter()
            .find(|(of, id, _)| *of == change && id == operation);
        found.map(|(_, _, place)| place.clone())
    }

    /// Remembers what an operation is on, if all of it is said.
    pub(crate) fn remember(&self, change: Change, status: &AccountAssignmentOperationStatus) {
        let said = (
            status.request_id(),
            status.target_id(),
            status.permission_set_arn(),
            status.principal_id(),
        );
        let (Some(operation), Some(account), Some(set), Some(user)) = said else {
            return;
        };
        if self.target(change, operation).is_some() {
            return;
        }
        let place = Place {
            account: account.to_owned(),
            set: set.to_owned(),
            user: user.to_owned(),
        };
        let mut known = lock(&self.0);
        known.push_back((change, operation.to_owned(), place));
        if known.len() > REMEMBERED {
            known.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(operation: usize) -> AccountAssignmentOperationStatus {
        AccountAssignmentOperationStatus::builder()
            .request_id(operation.to_string())
            .target_id("222222222222")
            .permission_set_arn("arn")
            .principal_id("ana")
            .build()
    }

    #[test]
    fn the_last_operations_are_remembered_and_no_more() {
        let operations = Operations::default();
        for operation in 0..=REMEMBERED {
            operations.remember(Change::Create, &status(operation));
            operations.remember(Change::Create, &status(operation));
        }
        assert_eq!(operations.target(Change::Create, "0"), None);
        let known = operations.target(Change::Create, "1").unwrap();
        assert_eq!(known.account, "222222222222");
        assert_eq!(operations.target(Change::Delete, "1"), None);
        assert_eq!(lock(&operations.0).len(), REMEMBERED);
    }

    #[test]
    fn what_says_only_a_part_is_not_remembered() {
        let operations = Operations::default();
        let partly = AccountAssignmentOperationStatus::builder()
            .request_id("1")
            .target_id("222222222222")
            .build();
        operations.remember(Change::Create, &partly);
        assert_eq!(operations.target(Change::Create, "1"), None);
    }
}
