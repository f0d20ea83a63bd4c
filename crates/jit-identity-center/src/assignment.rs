//! Assignments at AWS: made, ended, read back. What a target is called elsewhere is not known here.

use std::sync::Arc;
use std::time::Duration;

use aws_sdk_ssoadmin::config::Builder;
use aws_sdk_ssoadmin::types::{
    AccountAssignmentOperationStatus, OperationStatusFilter, PrincipalType, StatusValues,
    TargetType,
};
use jit_aws::{Errand, Fence, NotDone, Passage, Reason};
use jit_core::Timestamp;
use jit_core::ports::{Effect, ErrorKind, Page, Purpose, Standing};
use jit_core::principal::Subject;
use jit_core::provider::{Answer, Presence, Target};
use tokio::time::{Instant, timeout_at};

use crate::rounds::{Beginning, Rounds};
use crate::trouble::{Trouble, kind_of_reason};
use crate::{CALL_LIMIT, IdentityCenter, Pages, Settings};

/// The most entries that AWS puts on a page.
const PAGE_SIZE: i32 = 100;
/// The longest that is kept of a reason of AWS's, in characters.
const REASON_LIMIT: usize = 500;
/// How many operations are watched on one list instead of each by itself, which takes one more call
/// for its end.
const WATCHED_TOGETHER: usize = 3;
/// What is kept of a call's time for its answer once nothing more is asked.
const MARGIN: Duration = Duration::from_millis(500);

/// What a target names: all that a revoke knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) account: String,
    pub(crate) set: String,
    pub(crate) user: String,
}

impl Place {
    /// What a record names. One of another realm is of another instance, whatever its resource.
    pub(crate) fn of_target(target: &Target, settings: &Settings) -> Result<Self, Trouble> {
        let is_ours = target.realm == settings.instance_arn;
        is_ours.then_some(()).ok_or(Trouble::ForeignRealm)?;
        let (account, set) = split_resource(&target.resource)?;
        Ok(Self {
            account: account.to_owned(),
            set: set.to_owned(),
            user: target.subject.as_str().to_owned(),
        })
    }
}

/// An account of twelve digits, and what stands behind the slash.
pub(crate) fn split_resource(resource: &str) -> Result<(&str, &str), Trouble> {
    let (account, set) = resource.split_once('/').ok_or(Trouble::BadResource)?;
    let is_sound = is_account_id(account) && !set.is_empty();
    is_sound
        .then_some((account, set))
        .ok_or(Trouble::BadResource)
}

/// Whether a text is the id of an account.
pub(crate) fn is_account_id(text: &str) -> bool {
    text.len() == 12 && text.bytes().all(|digit| digit.is_ascii_digit())
}

/// What is done to an assignment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    Create,
    Delete,
}

impl Change {
    fn purpose(self) -> Purpose {
        match self {
            Self::Create => Purpose::Give,
            Self::Delete => Purpose::TakeAway,
        }
    }
}

// ------------------------------------------------------------------------- making and ending

impl IdentityCenter {
    /// Makes or ends an assignment, and watches the operation for a while.
    pub(crate) async fn change(
        &self,
        change: Change,
        place: &Place,
        send_before: Timestamp,
    ) -> Result<Answer, Trouble> {
        let deadline = Instant::now() + CALL_LIMIT;
        let fence = self.aws.fence(send_before);
        let begun = async {
            self.unwatched.forget_the_old();
            // It is kept until the operation ends.
            let held = self.aws.budget().place(change.purpose()).await;
            let held = held.map_err(Trouble::Busy)?;
            self.turn(self.errand(change.purpose())).await?;
            let status = self.begin(change, place, &fence).await?;
            Ok((held, status))
        };
        let begun = timeout_at(deadline - MARGIN, begun).await;
        // Cut off after it was let through, it may have happened.
        let begun = begun.unwrap_or_else(|_| {
            Err(Trouble::NoAnswer(match fence.passage() {
                Passage::Through => Effect::Unknown,
                Passage::NotReached | Passage::TooLate => Effect::None,
            }))
        });
        match begun {
            Ok((held, status)) => {
                let operation = status.request_id().map(str::to_owned);
                let watched = self.watch(change, place, status, deadline).await;
                if let (Ok(Answer::Accepted), Some(operation)) = (&watched, operation) {
                    self.unwatched.keep(change, &operation, held);
                }
                watched
            }
            Err(trouble) if change == Change::Delete && trouble.is_not_found() => {
                self.nothing_to_delete(place, trouble, deadline).await
            }
            Err(Trouble::Aws(answer))
                if change == Change::Create && answer.reason() == Reason::Denied =>
            {
                let account = place.account.clone();
                Err(Trouble::Refused { account, answer })
            }
            Err(trouble) => Err(trouble),
        }
    }

    /// Sends the one request that changes something.
    async fn begin(
        &self,
        change: Change,
        place: &Place,
        fence: &Fence,
    ) -> Result<AccountAssignmentOperationStatus, Trouble> {
        let sso = self.clients();
        let sso = &sso.sso;
        let fenced = Builder::new().http_client(fence.clone());
        let status = match change {
            Change::Create => {
                let call = sso
                    .create_account_assignment()
                    .instance_arn(&self.settings.instance_arn)
                    .target_id(&place.account)
                    .target_type(TargetType::AwsAccount)
                    .permission_set_arn(&place.set)
                    .principal_type(PrincipalType::User)
                    .principal_id(&place.user)
                    .customize()
                    .config_override(fenced);
                let made = call.send().await.map_err(|error| {
                    NotDone::of("CreateAccountAssignment", error, fence.passage())
                });
                made.map(|made| made.account_assignment_creation_status)
            }
            Change::Delete => {
                let call = sso
                    .delete_account_assignment()
                    .instance_arn(&self.settings.instance_arn)
                    .target_id(&place.account)
                    .target_type(TargetType::AwsAccount)
                    .permission_set_arn(&place.set)
                    .principal_type(PrincipalType::User)
                    .principal_id(&place.user)
                    .customize()
                    .config_override(fenced);
                let ended = call.send().await.map_err(|error| {
                    NotDone::of("DeleteAccountAssignment", error, fence.passage())
                });
                ended.map(|ended| ended.account_assignment_deletion_status)
            }
        };
        let status = status.map_err(|answer| self.learn(change.purpose(), answer))?;
        // AWS took it; without a status there is nothing to watch.
        let unsaid = || AccountAssignmentOperationStatus::builder().build();
        let status = status.unwrap_or_else(unsaid);
        self.operations.remember(change, &status);
        Ok(status)
    }

    /// Watches an operation until it is done or time is over.
    async fn watch(
        &self,
        change: Change,
        place: &Place,
        mut status: AccountAssignmentOperationStatus,
        deadline: Instant,
    ) -> Result<Answer, Trouble> {
        let pace = self.settings.pace;
        let until = (Instant::now() + pace.within).min(deadline - MARGIN * 2);
        let mut wait = pace.first;
        let operation = status.request_id().map(str::to_owned);
        let rounds = self.rounds_of(self.errand(change.purpose()), change);
        let (begun, _watcher) = (Instant::now(), rounds.watch());
        loop {
            match status.status() {
                Some(StatusValues::Succeeded) => return Ok(Answer::Applied),
                Some(StatusValues::Failed) => {
                    return self.failed(change, place, &status, deadline).await;
                }
                // A word that this release does not know is not an end.
                Some(_) | None => {}
            }
            let Some(operation) = operation.as_deref() else {
                return Ok(Answer::Accepted);
            };
            if Instant::now() + wait >= until {
                return Ok(Answer::Accepted);
            }
            tokio::time::sleep(wait).await;
            let looked = self.status_of(change, operation, begun, wait);
            let looked = timeout_at(until, looked).await;
            wait = (wait + wait / 2).min(pace.most);
            match looked {
                Ok(Ok(Some(seen))) => status = seen,
                Ok(Ok(None)) => {}
                // The operation was accepted, whatever becomes of the questions about it.
                Ok(Err(_)) => {}
                Err(_) => return Ok(Answer::Accepted),
            }
        }
    }

    /// What AWS says of an operation that was begun before this; nothing where it is in progress.
    /// Where several are watched, they are seen in progress on one list, and each is described
    /// when it is no longer there: what became of it is said there alone.
    async fn status_of(
        &self,
        change: Change,
        operation: &str,
        begun: Instant,
        age: Duration,
    ) -> Result<Option<AccountAssignmentOperationStatus>, Trouble> {
        let errand = self.errand(change.purpose());
        let rounds = self.rounds_of(errand, change);
        if rounds.watchers() >= WATCHED_TOGETHER {
            let list =
                async |it: &mut Beginning<'_>| self.list_in_progress(errand, change, it).await;
            let open = rounds.lately(begun, age, list).await?;
            if open.iter().any(|open| open == operation) {
                return Ok(None);
            }
        }
        self.operation(errand, change, operation).await.map(Some)
    }

    /// What AWS says of one operation.
    async fn operation(
        &self,
        errand: Errand,
        change: Change,
        operation: &str,
    ) -> Result<AccountAssignmentOperationStatus, Trouble> {
        let clients = self.clients();
        let instance = &self.settings.instance_arn;
        let status = match change {
            Change::Create => {
                let call = clients
                    .sso
                    .describe_account_assignment_creation_status()
                    .instance_arn(instance)
                    .account_assignment_creation_request_id(operation);
                let action = "DescribeAccountAssignmentCreationStatus";
                let seen = self.ask(errand, action, call.send()).await?;
                seen.account_assignment_creation_status
            }
            Change::Delete => {
                let call = clients
                    .sso
                    .describe_account_assignment_deletion_status()
                    .instance_arn(instance)
                    .account_assignment_deletion_request_id(operation);
                let action = "DescribeAccountAssignmentDeletionStatus";
                let seen = self.ask(errand, action, call.send()).await?;
                seen.account_assignment_deletion_status
            }
        };
        let unsaid = || AccountAssignmentOperationStatus::builder().build();
        let status = status.unwrap_or_else(unsaid);
        self.operations.remember(change, &status);
        Ok(status)
    }

    /// What an operation that ended in FAILED means. AWS does not say that a failed operation left
    /// nothing behind, so the assignments are read back.
    async fn failed(
        &self,
        change: Change,
        place: &Place,
        status: &AccountAssignmentOperationStatus,
        deadline: Instant,
    ) -> Result<Answer, Trouble> {
        let reason = status.failure_reason().unwrap_or("AWS gives no reason");
        let kind = kind_of_reason(reason);
        let errand = self.errand(change.purpose());
        let there = timeout_at(deadline, self.is_assigned(errand, place)).await;
        let there = there.ok().and_then(Result::ok);
        let effect = match (change, there) {
            // Somebody else's, or an earlier call's: what was wanted is so.
            (Change::Create, Some(true)) => return Ok(Answer::Applied),
            (Change::Delete, Some(false)) if kind == ErrorKind::NotFound => {
                return Ok(Answer::Applied);
            }
            (Change::Create, Some(false)) | (Change::Delete, Some(true)) => Effect::None,
            (Change::Delete, Some(false)) | (_, None) => Effect::Unknown,
        };
        Err(Trouble::Failed {
            kind,
            effect,
            reason: reason.chars().take(REASON_LIMIT).collect(),
            operation: status.request_id().unwrap_or("unknown").to_owned(),
        })
    }

    /// A delete of what AWS does not find is done only if the assignments show that it is.
    async fn nothing_to_delete(
        &self,
        place: &Place,
        trouble: Trouble,
        deadline: Instant,
    ) -> Result<Answer, Trouble> {
        let errand = self.errand(Purpose::TakeAway);
        match timeout_at(deadline, self.is_assigned(errand, place)).await {
            Ok(Ok(false)) => Ok(Answer::Applied),
            Ok(Ok(true)) | Err(_) => Err(trouble),
            Ok(Err(trouble)) => Err(trouble),
        }
    }
}

// ------------------------------------------------------------------------------ reading back

impl IdentityCenter {
    /// Whether the access is there, absent, or being changed.
    ///
    /// The operations are read before the assignments, never after. Take any operation on this
    /// target that AWS accepted before this call began, and let t be the moment at which the list
    /// of its kind is read. Either it is in progress at t: then it is listed, and the answer is
    /// `InFlight`. Or it ended before t: then its effect was there before the assignments are read,
    /// which is after t, and they show it, a creation as present and a deletion as absent. There is
    /// no third case.
    ///
    /// The other way round there is one: a creation in progress when the assignments are read (not
    /// listed there yet) that ends before the operations are read (not listed there any more) looks
    /// like `Absent` with nothing in flight, and a record would close over access that stands. A
    /// deletion would look `Present` after it is done.
    ///
    /// An operation that AWS accepts only after this call began can be missed in any order; that
    /// is what W is for.
    pub(crate) async fn presence(
        &self,
        errand: Errand,
        place: &Place,
    ) -> Result<Presence, Trouble> {
        let (creating, deleting) = tokio::try_join!(
            self.is_in_flight(errand, Change::Create, place),
            self.is_in_flight(errand, Change::Delete, place),
        )?;
        if creating || deleting {
            return Ok(Presence::InFlight);
        }
        Ok(Presence::of(self.is_assigned(errand, place).await?))
    }

    /// Whether an operation of this kind on this target is in progress. The list says only which
    /// operations there are, so those that are not known are described. One that ended meanwhile is
    /// no longer in progress, and its effect will be among the assignments, which are read later.
    async fn is_in_flight(
        &self,
        errand: Errand,
        change: Change,
        place: &Place,
    ) -> Result<bool, Trouble> {
        for operation in self.in_progress(errand, change).await?.iter() {
            match self.operations.target(change, operation) {
                Some(target) if target == *place => return Ok(true),
                Some(_) => continue,
                None => {}
            }
            match self.operation(errand, change, operation).await {
                Ok(status) if is_open(&status) && concerns(&status, place) => return Ok(true),
                Ok(_) => {}
                // Listed, and yet not there: nothing is known of it.
                Err(trouble) if trouble.is_not_found() => return Ok(true),
                Err(trouble) => return Err(trouble),
            }
        }
        Ok(false)
    }

    /// The operations in progress, of a list that was begun after this was called.
    async fn in_progress(
        &self,
        errand: Errand,
        change: Change,
    ) -> Result<Arc<Vec<String>>, Trouble> {
        let rounds = self.rounds_of(errand, change);
        let list = async |it: &mut Beginning<'_>| self.list_in_progress(errand, change, it).await;
        rounds.next(list).await
    }

    /// Who takes away never waits for who gives, not even to share a list.
    fn rounds_of(&self, errand: Errand, change: Change) -> &Rounds {
        let [give, take] = &self.rounds;
        let of = match errand.purpose {
            Purpose::Give => give,
            Purpose::TakeAway => take,
        };
        match change {
            Change::Create => &of.creations,
            Change::Delete => &of.deletions,
        }
    }

    async fn list_in_progress(
        &self,
        errand: Errand,
        change: Change,
        beginning: &mut Beginning<'_>,
    ) -> Result<Vec<String>, Trouble> {
        let clients = self.clients();
        let filter = OperationStatusFilter::builder()
            .status(StatusValues::InProgress)
            .build();
        let mut operations = Vec::new();
        let mut pages = Pages::default();
        let mut began = None;
        loop {
            let instance = &self.settings.instance_arn;
            self.turn(errand).await?;
            let began = *began.get_or_insert_with(|| beginning.now());
            let (listed, next) = match change {
                Change::Create => {
                    let call = clients
                        .sso
                        .list_account_assignment_creation_status()
                        .instance_arn(instance)
                        .filter(filter.clone())
                        .max_results(PAGE_SIZE)
                        .set_next_token(pages.token());
                    let action = "ListAccountAssignmentCreationStatus";
                    let page = self.ask_now(errand.purpose, action, call.send()).await;
                    let page = page.map_err(no_instance)?;
                    (page.account_assignments_creation_status, page.next_token)
                }
                Change::Delete => {
                    let call = clients
                        .sso
                        .list_account_assignment_deletion_status()
                        .instance_arn(instance)
                        .filter(filter.clone())
                        .max_results(PAGE_SIZE)
                        .set_next_token(pages.token());
                    let action = "ListAccountAssignmentDeletionStatus";
                    let page = self.ask_now(errand.purpose, action, call.send()).await;
                    let page = page.map_err(no_instance)?;
                    (page.account_assignments_deletion_status, page.next_token)
                }
            };
            let listed = listed.unwrap_or_default().into_iter();
            operations.extend(listed.filter_map(|operation| operation.request_id));
            if !pages.turn(next)? {
                for over in self.unwatched.listed(change, began, &operations) {
                    self.tell_of(errand, change, &over).await;
                }
                return Ok(operations);
            }
        }
    }

    /// Tells the log why an operation failed that nobody watched to its end. Who looks at the access
    /// sees that it is not so; why is said here alone.
    async fn tell_of(&self, errand: Errand, change: Change, operation: &str) {
        let Ok(status) = self.operation(errand, change, operation).await else {
            return;
        };
        if status.status() == Some(&StatusValues::Failed) {
            let reason = status.failure_reason().unwrap_or("AWS gives no reason");
            let reason: String = reason.chars().take(REASON_LIMIT).collect();
            tracing::warn!(
                operation,
                reason,
                "AWS took an operation, and it failed late"
            );
        }
    }

    /// Whether the assignment is listed. What AWS no longer knows has no assignments; what it
    /// should know and does not is an error.
    async fn is_assigned(&self, errand: Errand, place: &Place) -> Result<bool, Trouble> {
        let mut pages = Pages::default();
        loop {
            let page = self
                .assignments(errand, &place.account, &place.set, pages.token())
                .await;
            let page = match page {
                Ok(page) => page,
                Err(trouble) if trouble.is_not_found() => {
                    self.is_gone(errand, &place.account, &place.set).await?;
                    return Ok(false);
                }
                Err(trouble) => return Err(trouble),
            };
            if page.items.contains(&place.user) {
                return Ok(true);
            }
            if !pages.turn(page.next)? {
                return Ok(false);
            }
        }
    }

    /// The users on one page of the assignments of a permission set in an account.
    async fn assignments(
        &self,
        errand: Errand,
        account: &str,
        set: &str,
        token: Option<String>,
    ) -> Result<Page<String>, Trouble> {
        let clients = self.clients();
        let call = clients
            .sso
            .list_account_assignments()
            .instance_arn(&self.settings.instance_arn)
            .account_id(account)
            .permission_set_arn(set)
            .max_results(PAGE_SIZE)
            .set_next_token(token);
        let page = self
            .ask(errand, "ListAccountAssignments", call.send())
            .await?;
        let assigned = page.account_assignments.unwrap_or_default().into_iter();
        let users = assigned
            .filter(|assignment| assignment.principal_type == Some(PrincipalType::User))
            .filter_map(|assignment| assignment.principal_id);
        Ok(Page {
            items: users.collect(),
            next: page.next_token.filter(|token| !token.is_empty()),
        })
    }

    /// Who has a resource, page by page: users only, since groups are not given by us.
    pub(crate) async fn listed(
        &self,
        resource: &str,
        page: Option<&str>,
    ) -> Result<Page<Standing>, Trouble> {
        let (account, set) = split_resource(resource)?;
        let errand = self.errand(Purpose::Give);
        let token = page.map(str::to_owned);
        let page = match self.assignments(errand, account, set, token).await {
            Ok(page) => page,
            Err(trouble) if trouble.is_not_found() => {
                self.is_gone(errand, account, set).await?;
                Page {
                    items: Vec::new(),
                    next: None,
                }
            }
            Err(trouble) => return Err(trouble),
        };
        // What is too long for a subject cannot be ours.
        let users = page.items.into_iter();
        let subjects = users.filter_map(|user| user.parse::<Subject>().ok());
        let realm = &self.settings.instance_arn;
        Ok(Page {
            items: subjects
                .map(|subject| Target::new(realm, subject, resource).into())
                .collect(),
            next: page.next,
        })
    }
}

fn no_instance(trouble: Trouble) -> Trouble {
    if trouble.is_not_found() {
        Trouble::NoSuchInstance
    } else {
        trouble
    }
}

fn is_open(status: &AccountAssignmentOperationStatus) -> bool {
    !matches!(
        status.status(),
        Some(StatusValues::Succeeded | StatusValues::Failed)
    )
}

/// Whether an operation may be on this target: what it does not say fits anything.
fn concerns(status: &AccountAssignmentOperationStatus, place: &Place) -> bool {
    let fits = |said: Option<&str>, ours: &str| said.is_none_or(|said| said == ours);
    fits(status.target_id(), &place.account)
        && fits(status.permission_set_arn(), &place.set)
        && fits(status.principal_id(), &place.user)
}
