//! The disk under a file: whether there is room, whether files can be made beside it, and whether it is
//! a disk of this host at all.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use rustix::fs::{Access, AtFlags, CWD, accessat, statfs, statvfs};

use crate::operate::doctor::Finding;

/// Below this the next hour is not safe.
const ROOM_LEAST: u64 = 64 * 1024 * 1024;
/// Below this somebody should look.
const ROOM_USUAL: u64 = 1024 * 1024 * 1024;

/// File systems that other hosts write as well, by the numbers that Linux has for them.
/// Source: <https://man7.org/linux/man-pages/man2/statfs.2.html>
const NETWORK: [(u64, &str); 9] = [
    (0x6969, "NFS"),
    (0x517b, "SMB"),
    (0xff53_4d42, "CIFS"),
    (0xfe53_4d42, "SMB"),
    (0x5346_414f, "AFS"),
    (0x00c3_6400, "Ceph"),
    (0x0bd0_0bd0, "Lustre"),
    (0x0116_1970, "GFS2"),
    (0x7461_636f, "OCFS2"),
];

/// Whether files can be made in a folder, whether there is room for them, and whose disk it is.
pub(super) fn folder(area: &str, folder: &Path) -> Vec<Finding> {
    let shown = folder.display();
    if !folder.is_dir() {
        let what = format!("{shown} is no folder");
        return vec![Finding::fail(
            area,
            what,
            "make it, for the user that runs jitd",
        )];
    }
    let mut found = vec![];
    if !is_writable(folder) {
        let what = format!("no file can be made in {shown}");
        let fix =
            "give the folder to the user that runs jitd, on a file system that can be written";
        found.push(Finding::fail(area, what, fix));
    }
    found.extend(room(area, folder));
    found.extend(network(area, folder));
    found
}

/// By who we are in effect, and by how the file system is mounted.
pub(super) fn is_writable(path: &Path) -> bool {
    may(path, Access::WRITE_OK)
}

pub(super) fn is_readable(path: &Path) -> bool {
    may(path, Access::READ_OK)
}

fn may(path: &Path, access: Access) -> bool {
    accessat(CWD, path, access, AtFlags::EACCESS).is_ok()
}

/// What is wrong with a file that is nobody else's business. Its group may read it: files of secrets
/// in a container come from root, and are read by a group.
///
/// # Errors
/// Where it cannot be looked at.
pub(super) fn open_to_others(area: &str, file: &Path) -> io::Result<Option<Finding>> {
    let mode = std::fs::metadata(file)?.permissions().mode() & 0o777;
    let shown = file.display();
    let what = format!("{shown} is open to others of this host (mode {mode:o})");
    let warned = || Finding::warn(area, what, format!("chmod 600 {shown}"));
    Ok((mode & 0o027 != 0).then(warned))
}

fn room(area: &str, folder: &Path) -> Option<Finding> {
    let stat = statvfs(folder).ok()?;
    let free = stat.f_bavail.saturating_mul(stat.f_frsize);
    Some(judged_room(area, folder, free))
}

fn judged_room(area: &str, folder: &Path, free: u64) -> Finding {
    let what = format!(
        "{} MiB are free at {}",
        free / (1024 * 1024),
        folder.display()
    );
    match free {
        0..ROOM_LEAST => {
            Finding::fail(area, what, "make room: a full disk is a store that is down")
        }
        ROOM_LEAST..ROOM_USUAL => Finding::warn(area, what, "make room before it is full"),
        _ => Finding::ok(area, what),
    }
}

fn network(area: &str, folder: &Path) -> Option<Finding> {
    let stat = statfs(folder).ok()?;
    // The type has another width and sign on each machine; the numbers have 32 bits.
    #[expect(
        clippy::cast_sign_loss,
        reason = "it is a number that is compared, and nothing else"
    )]
    let kind = stat.f_type as u64 & 0xffff_ffff;
    judged_kind(area, folder, kind)
}

fn judged_kind(area: &str, folder: &Path, kind: u64) -> Option<Finding> {
    let (_, name) = NETWORK.iter().find(|(number, _)| *number == kind)?;
    let what = format!("{} is on a network file system ({name})", folder.display());
    let fix = "move the file to a disk of this host, or use [store] dynamodb";
    Some(Finding::fail(area, what, fix))
}

/// The rows beside the store can be written.
pub(super) fn csv(file: &Path) -> Option<Finding> {
    let folder = file.parent().unwrap_or(Path::new("/"));
    let is_fine = match file.exists() {
        true => file.is_file() && is_writable(file),
        false => folder.is_dir() && is_writable(folder),
    };
    let what = format!("{} cannot be written", file.display());
    let fix = "give it to the user that runs jitd, or name another file in [audit] csv";
    (!is_fine).then(|| Finding::fail("audit", what, fix))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operate::doctor::Verdict;

    #[test]
    fn a_disk_that_is_full_or_far_away_is_told() {
        let at = Path::new("/srv/jit");
        let mebibytes = |count: u64| judged_room("store", at, count * 1024 * 1024);
        assert_eq!(mebibytes(63).verdict, Verdict::Fail);
        assert_eq!(mebibytes(64).verdict, Verdict::Warn);
        assert_eq!(mebibytes(1_024).verdict, Verdict::Ok);
        assert!(
            mebibytes(63)
                .found
                .starts_with("63 MiB are free at /srv/jit")
        );
        let nfs = judged_kind("store", at, 0x6969).unwrap();
        assert_eq!(nfs.verdict, Verdict::Fail);
        assert!(nfs.found.contains("(NFS)"));
        // What disks have: ext4, xfs, btrfs, tmpfs, overlayfs, zfs.
        for local in [
            0xef53,
            0x5846_5342,
            0x9123_683e,
            0x0102_1994,
            0x794c_7630,
            0x2fc1_2fc1,
        ] {
            assert_eq!(judged_kind("store", at, local), None);
        }
    }

    #[test]
    fn a_folder_has_to_be_one() {
        let folder_of_test = tempfile::tempdir().unwrap();
        let found = folder("store", folder_of_test.path());
        assert!(
            found.iter().all(|it| it.verdict != Verdict::Fail),
            "{found:?}"
        );
        let found = folder("store", &folder_of_test.path().join("no"));
        assert!(found.first().unwrap().found.ends_with("is no folder"));
        assert!(csv(&folder_of_test.path().join("rows.csv")).is_none());
        let told = csv(&folder_of_test.path().join("no/rows.csv")).unwrap();
        assert!(told.fix.unwrap().contains("[audit] csv"));
        assert!(csv(folder_of_test.path()).is_some(), "a folder is no file");
    }
}
