//! Gives access by writing a person's name into a group of an Apache-style group file.
//!
//! The smallest adapter: the README beside it shows how to make another one from it. Members come
//! and go; groups are made by people.
//!
//! Every call holds an exclusive lock on `<file>.lock`, which is made beside the file and never
//! deleted, so any number of processes may use one file. Other programs that write the file must
//! hold the same lock (`flock <file>.lock …`) or their changes can be lost. The file is replaced as
//! a whole: mode and owner are kept, hard links and extended attributes are not.

#![warn(missing_docs)]

mod disk;
mod text;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jit_core::Timestamp;
use jit_core::catalog::{Entitlement, ProviderName};
use jit_core::ports::{
    Clock, ErrorKind, GrantCall, InspectCall, Minted, Page, PortError, Provisioner, Purpose,
    RevokeCall, Standing,
};
use jit_core::principal::{Profile, Subject};
use jit_core::provider::{
    Answer, Description, Kind, NativeExpiry, Parameters, Presence, Resolved, Target,
};

use disk::{Turns, on_disk, read, under_lock};

/// The realm of every target: paths are absolute, so one name does for all files.
const REALM: &str = "groupfile";
/// How many members a page of a listing has.
const PAGE_SIZE: usize = 100;

/// The groups of one file.
pub struct GroupFile {
    provider: ProviderName,
    path: PathBuf,
    clock: Arc<dyn Clock>,
    turns: Turns,
}

impl GroupFile {
    /// The groups of the file at `path`, which may be a symbolic link, for the provider that is
    /// configured under this name. The file is first looked at when something is resolved.
    pub fn new(provider: ProviderName, path: impl Into<PathBuf>, clock: Arc<dyn Clock>) -> Self {
        Self {
            provider,
            path: path.into(),
            clock,
            turns: Turns::default(),
        }
    }
}

impl std::fmt::Debug for GroupFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GroupFile")
            .field("provider", &self.provider)
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl Provisioner for GroupFile {
    fn describe(&self) -> Description {
        Description {
            kind: Kind::Standing,
            native_expiry: NativeExpiry::None,
            revocable: true,
            pending_visible: true,
            listable: true,
            // Whoever writes holds the lock from before the check of `send_before` until the end,
            // and `inspect` takes the same lock: nothing can land behind its back.
            accepted_within: Duration::ZERO,
            applied_within: Duration::ZERO,
            // Apache reads the file at each request (`groups_for_user`).
            residual: Duration::ZERO,
        }
    }

    async fn resolve(
        &self,
        beneficiary: &Profile,
        entitlement: &Entitlement,
        parameters: &Parameters,
    ) -> Result<Resolved, PortError> {
        let subject = beneficiary.subjects.get(&self.provider);
        let subject = subject.map_or(beneficiary.id.as_str(), Subject::as_str);
        let target = async {
            check_group(&entitlement.resource)?;
            check_parameters(parameters)?;
            check_subject(subject)?;
            let subject = subject.parse().map_err(|_| Trouble::BadSubject)?;
            Ok(Target {
                realm: REALM.to_owned(),
                subject,
                resource: self.resource_of(entitlement).await?,
            }
            .into())
        };
        target
            .await
            .map_err(|trouble: Trouble| trouble.during("resolve"))
    }

    async fn grant(&self, call: GrantCall<'_>) -> Result<Answer, PortError> {
        let granted = async {
            check_parameters(call.parameters)?;
            check_subject(call.target.subject.as_str())?;
            self.edit(call.target, call.send_before, Edit::Add).await
        };
        granted.await.map_err(|trouble| trouble.during("grant"))
    }

    async fn mint(&self, _call: GrantCall<'_>) -> Result<Minted, PortError> {
        Err(Trouble::NothingToMint.during("mint"))
    }

    async fn revoke(&self, call: RevokeCall<'_>) -> Result<Answer, PortError> {
        let revoked = self.edit(call.target, call.send_before, Edit::Remove);
        revoked.await.map_err(|trouble| trouble.during("revoke"))
    }

    async fn inspect(&self, call: InspectCall<'_>) -> Result<Presence, PortError> {
        let seen = async {
            let place = Place::of_target(call.target)?;
            let (subject, purpose) = (call.target.subject.clone(), call.purpose);
            let group = place.group;
            let seen = under_lock(place.path, &self.turns, purpose, move |lock| {
                let text = lock.read()?;
                let members = text::members(&text, &group)?.unwrap_or_default();
                match (members.contains(subject.as_str()), purpose) {
                    (true, _) => return Ok(Presence::Present),
                    (false, Purpose::Give) => {}
                    // What was taken away must still be absent after a power failure.
                    (false, Purpose::TakeAway) => lock.flush()?,
                }
                Ok(Presence::Absent)
            });
            Ok(seen.await?.unwrap_or(Presence::InFlight))
        };
        seen.await
            .map_err(|trouble: Trouble| trouble.during("inspect"))
    }

    async fn resource(&self, entitlement: &Entitlement) -> Result<Option<String>, PortError> {
        match self.resource_of(entitlement).await {
            Err(Trouble::NoSuchGroup(_)) => Ok(None),
            found => found.map(Some).map_err(|trouble| trouble.during("look up")),
        }
    }

    async fn standing(
        &self,
        resource: &str,
        page: Option<&str>,
    ) -> Result<Page<Standing>, PortError> {
        let after = page.unwrap_or_default().to_owned();
        let resource = resource.to_owned();
        // A listing needs no lock: the file is replaced as a whole, so it is read as a whole.
        let listed = on_disk(move || {
            let place = Place::of(&resource)?;
            let text = read(&place.path)?;
            let members = text::members(&text, &place.group)?.unwrap_or_default();
            let mut behind = members.into_iter().filter(|member| **member > *after);
            // A name that is too long for a subject cannot be ours.
            let subjects = behind.by_ref().filter_map(|member| member.parse().ok());
            let items: Vec<Standing> = subjects
                .take(PAGE_SIZE)
                .map(|subject| Target::new(REALM, subject, &resource).into())
                .collect();
            let last = items.last().map(|last| last.target.subject.to_string());
            let next = last.filter(|_| behind.next().is_some());
            Ok(Page { items, next })
        });
        listed.await.map_err(|trouble| trouble.during("list"))
    }
}

#[derive(Debug, Clone, Copy)]
enum Edit {
    Add,
    Remove,
}

impl GroupFile {
    /// The group as records name it: with the file that it is in.
    async fn resource_of(&self, entitlement: &Entitlement) -> Result<String, Trouble> {
        let (path, group) = (self.path.clone(), entitlement.resource.clone());
        on_disk(move || {
            let file = path.canonicalize()?;
            match text::members(&read(&file)?, &group)? {
                Some(_) => Ok(format!(
                    "{}#{group}",
                    file.to_str().ok_or(Trouble::BadPath)?
                )),
                None => Err(Trouble::NoSuchGroup(group)),
            }
        })
        .await
    }

    /// Writes the file anew, under its lock. Where the caller goes away meanwhile, a write that has
    /// begun is finished and keeps the lock until then.
    async fn edit(
        &self,
        target: &Target,
        send_before: Timestamp,
        edit: Edit,
    ) -> Result<Answer, Trouble> {
        let place = Place::of_target(target)?;
        let subject = target.subject.clone();
        let clock = Arc::clone(&self.clock);
        let group = place.group;
        let purpose = match edit {
            Edit::Add => Purpose::Give,
            Edit::Remove => Purpose::TakeAway,
        };
        let edited = under_lock(place.path, &self.turns, purpose, move |lock| {
            if clock.now() >= send_before {
                return Err(Trouble::TooLate);
            }
            let subject = subject.as_str();
            let text = lock.read()?;
            let members = text::members(&text, &group)?;
            let is_there = members.as_ref().is_some_and(|all| all.contains(subject));
            match edit {
                Edit::Add if members.is_none() => return Err(Trouble::NoSuchGroup(group)),
                Edit::Add if !is_there => lock.replace(&text::with(&text, &group, subject)?)?,
                Edit::Remove if is_there => {
                    lock.replace(&text::without(&text, &group, subject)?)?;
                }
                Edit::Add | Edit::Remove => {}
            }
            // Also where nothing was to change: an earlier call may have been cut off before this.
            lock.flush()?;
            Ok(Answer::Applied)
        });
        edited.await?.ok_or(Trouble::Locked)
    }
}

/// What a resource names: all that a revoke knows.
struct Place {
    path: PathBuf,
    group: String,
}

impl Place {
    /// What a record names. One of another realm is of another system, whatever its resource.
    fn of_target(target: &Target) -> Result<Self, Trouble> {
        let is_ours = target.realm == REALM;
        is_ours.then_some(()).ok_or(Trouble::ForeignRealm)?;
        Self::of(&target.resource)
    }

    fn of(resource: &str) -> Result<Self, Trouble> {
        let (path, group) = resource.rsplit_once('#').ok_or(Trouble::BadPath)?;
        Ok(Self {
            path: path.into(),
            group: group.to_owned(),
        })
    }
}

fn check_parameters(parameters: &Parameters) -> Result<(), Trouble> {
    let is_plain = parameters.is_empty();
    is_plain.then_some(()).ok_or(Trouble::Parameters)
}

/// A group's name stands before a colon, and behind `#` in a resource.
fn check_group(group: &str) -> Result<(), Trouble> {
    let is_bad = |c: char| c.is_control() || matches!(c, ':' | '#');
    let is_plain = !group.contains(is_bad) && !group.is_empty() && group.trim() == group;
    is_plain.then_some(()).ok_or(Trouble::BadGroup)
}

/// A member is one word that Apache reads as it is written, and no user of Apache has a colon.
fn check_subject(subject: &str) -> Result<(), Trouble> {
    let is_bad = |c: char| c.is_whitespace() || c.is_control() || matches!(c, ':' | '#' | '\\');
    let is_plain = !subject.contains(is_bad) && !subject.starts_with(['"', '\'']);
    is_plain.then_some(()).ok_or(Trouble::BadSubject)
}

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error("the name of the group in the catalogue holds a colon, a # or stray white space")]
    BadGroup,
    #[error("the person's name for this provider cannot stand in a group file")]
    BadSubject,
    #[error("the path of the group file is not valid UTF-8, or not in the record")]
    BadPath,
    #[error("the record is of another realm, which is no group file")]
    ForeignRealm,
    #[error("a group file takes no parameters")]
    Parameters,
    #[error("a group file has nothing to mint")]
    NothingToMint,
    #[error("the group file has no line for the group {0:?}; add one, such as `{0}:`")]
    NoSuchGroup(String),
    #[error("the group file is not a regular file")]
    NotAFile,
    #[error("the group file is, or would become, larger than 1 MiB")]
    TooLarge,
    #[error(transparent)]
    Malformed(#[from] text::Malformed),
    #[error("another process holds the lock of the group file")]
    Locked,
    #[error("the time in which this call may be sent is over")]
    TooLate,
    #[error("the disk did not answer in time")]
    NoAnswer,
    #[error("the group file was written, but may not survive a power failure")]
    NotFlushed(#[source] io::Error),
    #[error("the group file, or the folder it is in, cannot be used")]
    Disk(#[from] io::Error),
}

impl Trouble {
    fn during(self, operation: &'static str) -> PortError {
        use io::ErrorKind as Io;
        let kind = match &self {
            Self::NoSuchGroup(_) => ErrorKind::NotFound,
            Self::Locked => ErrorKind::Conflict,
            Self::TooLate | Self::NoAnswer | Self::NotFlushed(_) => ErrorKind::Unavailable,
            Self::BadGroup
            | Self::BadSubject
            | Self::BadPath
            | Self::ForeignRealm
            | Self::Parameters
            | Self::NothingToMint
            | Self::NotAFile
            | Self::TooLarge
            | Self::Malformed(_) => ErrorKind::Misconfigured,
            Self::Disk(error) => match error.kind() {
                // A file that is gone must never be taken for access that is gone.
                Io::NotFound | Io::NotADirectory | Io::IsADirectory => ErrorKind::Misconfigured,
                Io::PermissionDenied | Io::ReadOnlyFilesystem => ErrorKind::Forbidden,
                _ => ErrorKind::Unavailable,
            },
        };
        let error = match self {
            Self::NoAnswer | Self::NotFlushed(_) => PortError::maybe_done,
            _ => PortError::nothing_done,
        };
        error("groupfile", operation, kind).because(self)
    }
}

#[cfg(test)]
mod tests;
