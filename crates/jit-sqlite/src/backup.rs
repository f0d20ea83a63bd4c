//! A copy of the whole file, as it is at one instant. It appears under its name complete, for its owner
//! alone, or not at all.

use std::fs::File;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use rusqlite::Connection;

use crate::error::Cause;

/// Tells apart the copies that one process makes.
static COPIES: AtomicU64 = AtomicU64::new(0);

/// Copies under another name first, so that the name is given to a whole copy or to nothing.
pub(crate) fn write(connection: &Connection, path: &Path) -> Result<(), Cause> {
    // Nobody else writes a file of this name: two that copy to one place do not mix.
    let copy_number = COPIES.fetch_add(1, Ordering::Relaxed);
    let mut partial = path.as_os_str().to_owned();
    partial.push(format!(".{}-{copy_number}.partial", std::process::id()));
    let partial = PathBuf::from(partial);
    // The mode is set by whoever makes a file, and a link is not followed: it must be new.
    let mut made = File::options();
    made.write(true)
        .create_new(true)
        .mode(0o600)
        .open(&partial)?;
    let copied = copy(connection, &partial).and_then(|()| {
        // Unlike a rename, a link never replaces what is there.
        std::fs::hard_link(&partial, path)?;
        let folder = path
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty());
        File::open(folder.unwrap_or(Path::new(".")))?.sync_all()?;
        Ok(())
    });
    // Whether it worked or not, this name has served.
    let _absent = std::fs::remove_file(&partial);
    copied
}

fn copy(connection: &Connection, partial: &Path) -> Result<(), Cause> {
    let mut target = Connection::open(partial)?;
    let backup = rusqlite::backup::Backup::new(connection, &mut target)?;
    // All pages in one step: one read transaction, one state.
    backup.step(-1)?;
    drop(backup);
    // The copy stands alone, with no log beside it.
    target.pragma_update_and_check(None, "journal_mode", "DELETE", |_| Ok(()))?;
    drop(target);
    File::open(partial)?.sync_all()?;
    Ok(())
}
