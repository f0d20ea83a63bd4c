//! What can go wrong with the file and with a call, in sentences, and what a caller may do about
//! it. The decisions about SQLite's codes are here and nowhere else.

use std::path::PathBuf;
use std::sync::Arc;

use jit_core::ports::{CommitError, Effect, ErrorKind, PortError};
use jit_core::request::ShapeError;
use rusqlite::ErrorCode;

/// Why a file cannot be used as a store. Nothing was changed in it.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A later release migrated it.
    #[error(
        "{} has schema {found} of a later release, this release knows up to {known}; \
         finish the upgrade, or restore the backup that was made before it",
        path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its schema.
        found: i64,
        /// The newest schema of this release.
        known: i64,
    },
    /// It is a SQLite database of another program.
    #[error("{} is a database of another program", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// It is not a SQLite database, or a damaged one.
    #[error("{} is damaged or no SQLite database; restore a backup", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What SQLite says.
        source: rusqlite::Error,
    },
    /// It can be read and not written.
    #[error(
        "{} cannot be written; give the file and its folder to the user that runs this",
        path.display()
    )]
    ReadOnly {
        /// The file.
        path: PathBuf,
    },
    /// Another process holds it.
    #[error(
        "{} is locked by another process; it did not let go within the busy timeout",
        path.display()
    )]
    Locked {
        /// The file.
        path: PathBuf,
        /// What SQLite says.
        source: rusqlite::Error,
    },
    /// It cannot be shared between processes where it is.
    #[error(
        "{} is on a file system without write-ahead logging (journal mode {mode:?}); \
         move it to a local disk",
        path.display()
    )]
    NoWal {
        /// The file.
        path: PathBuf,
        /// The journal mode that SQLite fell back to.
        mode: String,
    },
    /// It is not there and cannot be made, or not a file, or not ours to open.
    #[error(
        "{} cannot be opened; its folder must exist and belong to the user that runs this",
        path.display()
    )]
    Unreachable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl OpenError {
    /// Names what SQLite says of this file.
    pub(crate) fn of(path: PathBuf, source: rusqlite::Error) -> Self {
        match source.sqlite_error_code() {
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
                Self::Locked { path, source }
            }
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                Self::Damaged { path, source }
            }
            Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => Self::ReadOnly { path },
            _ => Self::Unreachable {
                path,
                source: source.into(),
            },
        }
    }

    /// Names what the operating system says of this file.
    pub(crate) fn of_system(path: PathBuf, source: std::io::Error) -> Self {
        match source.kind() {
            std::io::ErrorKind::PermissionDenied | std::io::ErrorKind::ReadOnlyFilesystem => {
                Self::ReadOnly { path }
            }
            _ => Self::Unreachable {
                path,
                source: source.into(),
            },
        }
    }
}

/// Why a call failed. Shared between the calls of one transaction, so it can be cloned.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum Cause {
    #[error("SQLite failed")]
    Sqlite(#[source] Arc<rusqlite::Error>),
    #[error("a stored record cannot be read")]
    Shape(#[source] Arc<ShapeError>),
    #[error("a stored {what} is damaged")]
    Damaged { what: &'static str },
    #[error("a later release migrated the file to schema {found}; finish the upgrade")]
    Newer { found: i64 },
    #[error("too many calls wait, none was done within the limit")]
    Crowded,
    #[error("the answer did not come within the limit")]
    Late,
    #[error("the thread that does this stopped")]
    Stopped,
    #[error("the backup cannot be written")]
    Backup(#[source] Arc<std::io::Error>),
}

impl From<rusqlite::Error> for Cause {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(Arc::new(error))
    }
}

impl From<ShapeError> for Cause {
    fn from(error: ShapeError) -> Self {
        Self::Shape(Arc::new(error))
    }
}

impl From<std::io::Error> for Cause {
    fn from(error: std::io::Error) -> Self {
        Self::Backup(Arc::new(error))
    }
}

impl Cause {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Sqlite(error) => match error.sqlite_error_code() {
                Some(
                    ErrorCode::DatabaseBusy
                    | ErrorCode::DatabaseLocked
                    | ErrorCode::DiskFull
                    | ErrorCode::SystemIoFailure
                    | ErrorCode::OutOfMemory
                    | ErrorCode::OperationInterrupted
                    | ErrorCode::OperationAborted
                    | ErrorCode::CannotOpen
                    | ErrorCode::FileLockingProtocolFailed
                    | ErrorCode::SchemaChanged,
                ) => ErrorKind::Unavailable,
                // Read-only, damaged, or a statement that this schema does not take: none of them
                // mends itself.
                _ => ErrorKind::Misconfigured,
            },
            Self::Crowded | Self::Late | Self::Stopped => ErrorKind::Unavailable,
            Self::Shape(_) | Self::Damaged { .. } | Self::Newer { .. } | Self::Backup(_) => {
                ErrorKind::Misconfigured
            }
        }
    }

    /// Whether SQLite failed because another connection was faster or holds a lock.
    pub(crate) fn is_busy(&self) -> bool {
        match self {
            Self::Sqlite(error) => error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy),
            _ => false,
        }
    }
}

/// Why a write was not done.
#[derive(Debug, Clone)]
pub(crate) enum Fault {
    /// Something is not as the commit expects it.
    Conflict,
    /// A counter is at its ceiling.
    CounterFull { key: String },
    /// The input was done before.
    InputDone,
    /// The store failed; it is certain that nothing was written, or not.
    Failed { effect: Effect, cause: Cause },
}

impl Fault {
    /// The store failed, and nothing was written.
    pub(crate) fn nothing_done(cause: impl Into<Cause>) -> Self {
        Self::Failed {
            effect: Effect::None,
            cause: cause.into(),
        }
    }
}

impl<E: Into<Cause>> From<E> for Fault {
    fn from(error: E) -> Self {
        Self::nothing_done(error)
    }
}

/// A failed call: what it was doing, and why.
#[derive(Debug)]
pub(crate) struct Failed {
    pub(crate) operation: &'static str,
    pub(crate) effect: Effect,
    pub(crate) cause: Cause,
}

impl From<Failed> for PortError {
    fn from(failed: Failed) -> Self {
        let kind = failed.cause.kind();
        let error = match failed.effect {
            Effect::None => Self::nothing_done("sqlite", failed.operation, kind),
            Effect::Unknown => Self::maybe_done("sqlite", failed.operation, kind),
        };
        error.because(failed.cause)
    }
}

/// The answer to a commit.
pub(crate) fn commit_error(operation: &'static str, fault: Fault) -> CommitError {
    match fault {
        Fault::Conflict => CommitError::Conflict,
        Fault::CounterFull { key } => CommitError::CounterFull { key },
        Fault::InputDone => CommitError::InputDone,
        Fault::Failed { effect, cause } => CommitError::Port(port_error(operation, effect, cause)),
    }
}

/// The answer to any other call.
pub(crate) fn port_error(operation: &'static str, effect: Effect, cause: Cause) -> PortError {
    Failed {
        operation,
        effect,
        cause,
    }
    .into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rusqlite::ffi;

    fn kind(code: i32) -> ErrorKind {
        let error = rusqlite::Error::SqliteFailure(ffi::Error::new(code), None);
        Cause::from(error).kind()
    }

    #[test]
    fn what_mends_itself_is_unavailable_and_the_rest_is_misconfigured() {
        for code in [
            ffi::SQLITE_BUSY,
            ffi::SQLITE_BUSY_SNAPSHOT,
            ffi::SQLITE_LOCKED,
            ffi::SQLITE_FULL,
            ffi::SQLITE_IOERR,
            ffi::SQLITE_IOERR_FSYNC,
            ffi::SQLITE_NOMEM,
            ffi::SQLITE_CANTOPEN,
        ] {
            assert_eq!(kind(code), ErrorKind::Unavailable, "{code}");
        }
        for code in [
            ffi::SQLITE_READONLY,
            ffi::SQLITE_READONLY_DBMOVED,
            ffi::SQLITE_CORRUPT,
            ffi::SQLITE_NOTADB,
            ffi::SQLITE_PERM,
            ffi::SQLITE_ERROR,
            ffi::SQLITE_CONSTRAINT,
        ] {
            assert_eq!(kind(code), ErrorKind::Misconfigured, "{code}");
        }
    }

    #[test]
    fn a_failed_open_says_what_to_do() {
        let of = |code| {
            let error = rusqlite::Error::SqliteFailure(ffi::Error::new(code), None);
            OpenError::of("/var/lib/jit/jit.db".into(), error).to_string()
        };
        assert!(of(ffi::SQLITE_BUSY).contains("is locked by another process"));
        assert!(of(ffi::SQLITE_NOTADB).contains("is damaged"));
        assert!(of(ffi::SQLITE_CORRUPT).contains("restore a backup"));
        assert!(of(ffi::SQLITE_READONLY).contains("cannot be written"));
        assert!(of(ffi::SQLITE_CANTOPEN).contains("its folder must exist"));
        let refused = std::io::Error::from(std::io::ErrorKind::ReadOnlyFilesystem);
        let refused = OpenError::of_system("/jit.db".into(), refused);
        assert!(matches!(refused, OpenError::ReadOnly { .. }));
    }
}
