//! The disk of the store turns read-only under daemons that run, as it does after an error, or is full:
//! nothing new is given, whoever asks is told why, and what was given ends on time (L4). The disk is a file that is
//! mounted, which takes root; the kernel is told of an error by the file `trigger_fs_error` in
//! /sys/fs/ext4 (Documentation/ABI/testing/sysfs-fs-ext4).

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rusqlite::{Connection, ErrorCode};

use super::Site;
use super::away::{GROUPS, Served};
use super::judge::judge;
use super::pause::{daemon, opens};
use super::small::Ledger;
use crate::house::{House, entitlement};
use crate::process::{text, until};

/// A disk of 64 MiB.
struct Disk {
    image: PathBuf,
    folder: PathBuf,
}

/// Runs this to its end; what it said where it failed.
fn runs(program: &str, arguments: &[&Path]) -> Result<(), String> {
    let ran = Command::new(program).args(arguments).output();
    let ran = ran.map_err(|error| format!("{program}: {error}"))?;
    match ran.status.success() {
        true => Ok(()),
        false => Err(format!("{program}: {}", text(&ran.stderr))),
    }
}

impl Disk {
    fn new(house: &House) -> Result<Self, String> {
        let disk = Self {
            image: house.path("disk"),
            folder: house.path("mounted"),
        };
        let image = std::fs::File::create(&disk.image).unwrap();
        image.set_len(64 << 20).unwrap();
        std::fs::create_dir(&disk.folder).unwrap();
        runs("mkfs.ext4", &[Path::new("-qF"), &disk.image])?;
        disk.mounted()?;
        Ok(disk)
    }

    /// With the store of this house on it, and two daemons whom Ana has groups of; none where no disk can
    /// be made.
    async fn with_store(house: &House) -> Option<(Self, Site, Served, Ledger)> {
        let disk = match Self::new(house) {
            Ok(disk) => disk,
            Err(why) => {
                println!("skipped, because no disk can be made here: {why}");
                return None;
            }
        };
        let site = Site::of(house);
        let config = std::fs::read_to_string(&site.config).unwrap();
        let config = config.replace("\"jit.db\"", "\"mounted/jit.db\"");
        assert!(config.contains("mounted/jit.db"), "{config}");
        std::fs::write(&site.config, config).unwrap();
        let (served, ledger) = Served::with_groups(&site, house).await;
        Some((disk, site, served, ledger))
    }

    /// From now on not one more block of it can be had, and the store has no room in those that it has;
    /// what takes it.
    fn is_full(&self) -> PathBuf {
        let filler = self.folder.join("filler");
        let mut file = std::fs::File::create(&filler).unwrap();
        let block = [0; 4_096];
        let full = loop {
            if let Err(error) = file.write_all(&block) {
                break error;
            }
        };
        assert_eq!(full.kind(), std::io::ErrorKind::StorageFull);
        let store = Connection::open(self.folder.join("jit.db")).unwrap();
        store.busy_timeout(Duration::from_secs(10)).unwrap();
        let full = |of: usize| loop {
            let grows = store.execute_batch(&format!(
                "CREATE TABLE IF NOT EXISTS filler (it BLOB);
                 INSERT INTO filler VALUES (zeroblob({of}))"
            ));
            if let Err(error) = grows {
                break error.sqlite_error_code();
            }
        };
        for of in [65_536, 1] {
            assert_eq!(full(of), Some(ErrorCode::DiskFull), "SQLITE_FULL");
        }
        filler
    }

    fn mounted(&self) -> Result<(), String> {
        let options = Path::new("-oloop,errors=remount-ro");
        runs("mount", &[options, &self.image, &self.folder])
    }

    fn unmounted(&self) -> Result<(), String> {
        runs("umount", &[&self.folder])
    }

    /// From now on nothing can be written on it, by whoever has files open either.
    fn fails(&self) {
        let mounts = std::fs::read_to_string("/proc/mounts").unwrap();
        let folder = self.folder.display().to_string();
        let of_it = |line: &&str| line.split(' ').nth(1) == Some(&folder);
        let device = mounts.lines().find(of_it).unwrap().split(' ').next();
        let device = device.unwrap().trim_start_matches("/dev/");
        std::fs::write(format!("/sys/fs/ext4/{device}/trigger_fs_error"), "1").unwrap();
        let written = std::fs::write(self.folder.join("file"), "");
        written.expect_err("the disk is read-only");
    }

    /// Somebody repairs it.
    fn is_mended(&self) {
        self.unmounted().unwrap();
        // It says 1 where it mended something.
        let mended = Command::new("e2fsck").arg("-fy").arg(&self.image).output();
        assert!(matches!(mended.unwrap().status.code(), Some(0 | 1)));
        self.mounted().unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Whoever still has a file open there loses it with the process.
        let _ = runs("umount", &[Path::new("-l"), &self.folder]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn l4_a_disk_that_turns_read_only_under_daemons_delays_no_end() {
    let house = House::new(4).await;
    let Some((disk, site, served, ledger)) = Disk::with_store(&house).await else {
        return;
    };
    disk.fails();
    let is_gone = || ledger.open() == 0;
    // It does not mend itself, and is a failure until it lasts.
    let at_first = Some("something failed");
    served
        .refuses(&entitlement(GROUPS), at_first, is_gone)
        .await;
    let gone = ledger.ends();
    // Only with new processes can it be repaired and written again.
    let (load, known) = (served.load.clone(), served.known.clone());
    drop(served);
    disk.is_mended();
    let (next, door) = daemon(&site, None);
    opens(&known, door.clone());
    load.winds_up().await;
    let seen = load.sees().await;
    let promises: Vec<_> = seen.iter().filter_map(|it| it.promise()).collect();
    let verdict = judge(&promises, &gone, super::LATE_MAX);
    println!(
        "a read-only disk: the latest end {} ms late",
        verdict.late / 1_000
    );
    assert!(verdict.problems.is_empty(), "{:#?}", verdict.problems);
    assert_eq!(verdict.accesses, GROUPS);
    site.is_verified();
    until("things can be asked for again", async || {
        let asked = load.asks_at(&door, &entitlement(0), 5).await;
        asked.is_ok()
    })
    .await;
    drop(next);
}

#[tokio::test(flavor = "multi_thread")]
async fn l4_a_disk_that_is_full_under_daemons_delays_no_end() {
    let house = House::new(4).await;
    let Some((disk, site, served, ledger)) = Disk::with_store(&house).await else {
        return;
    };
    let filler = disk.is_full();
    let is_gone = || ledger.open() == 0;
    served.refuses(&entitlement(GROUPS), None, is_gone).await;
    std::fs::remove_file(filler).unwrap();
    let gone = ledger.ends();
    let first = entitlement(0);
    served
        .goes_on(&site, "a full disk", &first, GROUPS, &gone)
        .await;
}
