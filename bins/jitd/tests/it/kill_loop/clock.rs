//! Processes whose clock is wrong: behind from the start, changed under them, or ahead of another one
//! beside them (K1). What a process believes of the time is libfaketime's, which `tests/run --kill`
//! unpacks; whoever asks and whoever reads the group file has the right time.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;

use super::crew::Doors;
use super::hostile::World;
use super::judge::{Promise, is_awake, judge};
use super::load::Load;
use super::pause::{daemon, opens, people, serves};
use super::small::Ledger;
use super::{LATE_MAX, Site, now};
use crate::house::{House, entitlement};
use crate::process::{Process, jitd, program, until};

const DAY: i64 = 86_400;
const TEN_MINUTES: i64 = 600;

/// The library, where `tests/unpack` puts it.
fn library() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = root.join("../../target/libfaketime/usr/lib");
    let by_machine = std::fs::read_dir(&folder);
    let by_machine = by_machine.expect("run tests/unpack libfaketime first");
    let library = "faketime/libfaketimeMT.so.1";
    let found = by_machine.map(|it| it.unwrap().path().join(library));
    found.into_iter().find(|it| it.exists()).unwrap()
}

/// This installation, as processes see it whose clock is what this file says.
fn under(site: &Site, clock: &Path) -> Site {
    let shown = |path: &Path| path.display().to_string();
    let mut wrong = site.clone();
    wrong.variables.extend([
        ("LD_PRELOAD", shown(&library())),
        ("FAKETIME_TIMESTAMP_FILE", shown(clock)),
        ("FAKETIME_NO_CACHE", "1".to_owned()),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
        ("NO_FAKE_STAT", "1".to_owned()),
    ]);
    wrong
}

/// From now on it says so many seconds more. Replaced whole: it is read whenever somebody looks at the
/// time.
fn set(clock: &Path, secs: i64) {
    let written = clock.with_extension("new");
    std::fs::write(&written, format!("{secs:+}\n")).unwrap();
    std::fs::rename(written, clock).unwrap();
}

/// Whoever asks for this at this door is told that its clock is off.
async fn is_refused(load: &Load, door: &str, what: &str) {
    until("it is known that a clock is off", async || {
        let asked = load.asks_at(door, what, 60).await;
        asked.is_err_and(|it| {
            let told = it.to_string();
            told.contains("the clock of this service is off by")
        })
    })
    .await;
}

/// The clock of this process is so many seconds beside ours, by what it said last.
fn is_seen_off(process: &mut Process, secs: i64) {
    process.listens();
    let last = process.heard.iter().rev();
    let mut stamped = last.filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let line = stamped.next().unwrap();
    let said: jit_core::Timestamp = line["timestamp"].as_str().unwrap().parse().unwrap();
    let off = said.unix_micros() - now() - secs * 1_000_000;
    assert!(off.abs() < 60_000_000, "{secs}: {line}");
}

/// An installation, whoever knows its doors, and a clock that can be set.
struct Scene {
    house: House,
    ledger: Ledger,
    right: Site,
    wrong: Site,
    load: Arc<Load>,
    doors: Doors,
}

impl Scene {
    async fn set() -> Self {
        let house = House::new(2).await;
        let right = Site::of(&house);
        let wrong = under(&right, &house.path("clock"));
        let ledger = Ledger::new(&house);
        let (load, doors) = people(&right);
        let scene = Self {
            house,
            ledger,
            right,
            wrong,
            load,
            doors,
        };
        scene.is_off_by(0);
        scene
    }

    /// Clocks of the wrong installation are so many seconds beside the right one.
    fn is_off_by(&self, secs: i64) {
        set(&self.house.path("clock"), secs);
    }

    /// A daemon of this installation, at whose door everybody is from now on.
    fn daemon(&self, site: &Site) -> (Process, String) {
        let (process, door) = daemon(site, None);
        opens(&self.doors, door.clone());
        (process, door)
    }

    /// Ana has this group for so long.
    async fn gives(&self, number: usize, secs: u64) {
        let open = self.ledger.open();
        let door = self.door();
        let asked = self.load.asks_at(&door, &entitlement(number), secs).await;
        assert!(self.load.approves(&asked.unwrap()).await);
        until("Ana has it", async || self.ledger.open() > open).await;
    }

    fn door(&self) -> String {
        self.doors.lock().unwrap()[&0].clone()
    }

    /// What she is told who asks at this door, where a clock is off.
    async fn is_refused(&self, door: &str) {
        is_refused(&self.load, door, &entitlement(1)).await;
    }

    async fn is_gone(&self) {
        until("it is gone", async || self.ledger.open() == 0).await;
    }

    async fn promises(&self) -> Vec<Promise> {
        let seen = self.load.sees().await;
        seen.iter().filter_map(|it| it.promise()).collect()
    }

    /// Everything ended at its time by the right clock, neither before nor long after.
    async fn was_on_time(self, of: &str) {
        self.load.winds_up().await;
        let promises = self.promises().await;
        let accesses = self.ledger.ends();
        let verdict = judge(&promises, &accesses, 0);
        assert!(verdict.problems.is_empty(), "{:#?}", verdict.problems);
        assert_eq!(accesses.len(), promises.len());
        for access in &accesses {
            let mut ends = promises.iter().filter(|it| it.what == access.what);
            let early = ends.any(|it| access.until.unwrap() < it.until);
            assert!(!early, "before its time: {access:?}, {promises:?}");
        }
        println!("{of}: {} ms late", verdict.late / 1_000);
        assert!(
            verdict.late < 5_000_000,
            "L1: the delete is sent within 5 s"
        );
        is_awake(&promises, &accesses);
        self.right.is_verified();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn k1_a_daemon_that_is_a_day_or_ten_minutes_behind_gives_nothing_and_ends_within_seconds() {
    for behind in [DAY, TEN_MINUTES] {
        let scene = Scene::set().await;
        let (mut right, _) = scene.daemon(&scene.right);
        scene.gives(0, 12).await;
        right.kill();
        scene.is_off_by(-behind);
        let (mut wrong, door) = scene.daemon(&scene.wrong);
        is_seen_off(&mut wrong, -behind);
        scene.is_refused(&door).await;
        scene.is_gone().await;
        let of = format!("a daemon whose clock is {behind} s behind");
        scene.was_on_time(&of).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn k1_a_sweeper_alone_that_is_a_day_behind_ends_within_seconds() {
    let scene = Scene::set().await;
    let (mut right, _) = scene.daemon(&scene.right);
    scene.gives(0, 20).await;
    right.kill();
    scene.is_off_by(-DAY);
    let mut sweeper = Process::start(scene.wrong.command(program("jit-sweeper", &[])));
    sweeper.hears("sweeping until told to stop");
    is_seen_off(&mut sweeper, -DAY);
    assert_eq!(scene.ledger.open(), 1);
    scene.is_gone().await;
    drop(sweeper);
    let (_right, _) = scene.daemon(&scene.right);
    scene
        .was_on_time("a sweeper whose clock is a day behind")
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn k1_a_daemon_that_was_behind_gives_again_and_ends_nothing_early_once_its_clock_is_put_right()
 {
    let scene = Scene::set().await;
    let (mut right, _) = scene.daemon(&scene.right);
    scene.gives(0, 15).await;
    right.kill();
    scene.is_off_by(-TEN_MINUTES);
    let (mut wrong, door) = scene.daemon(&scene.wrong);
    is_seen_off(&mut wrong, -TEN_MINUTES);
    scene.is_refused(&door).await;
    scene.is_off_by(0);
    scene.gives(1, 4).await;
    scene.is_gone().await;
    scene.was_on_time("a clock that was put right").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn k1_a_clock_that_is_set_back_under_a_daemon_delays_no_end() {
    let scene = Scene::set().await;
    let (mut wrong, _) = scene.daemon(&scene.wrong);
    scene.gives(0, 8).await;
    scene.is_off_by(-DAY);
    scene.is_gone().await;
    // Within a process time never runs backwards, so that everything goes on.
    scene.gives(1, 4).await;
    scene.is_gone().await;
    is_seen_off(&mut wrong, -DAY);
    scene
        .was_on_time("a clock that was set back by a day")
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn k1_a_clock_that_jumps_ahead_and_is_mended_leaves_nothing_standing() {
    let scene = Scene::set().await;
    let (mut wrong, _) = scene.daemon(&scene.wrong);
    scene.gives(0, 3_600).await;
    scene.is_off_by(DAY);
    scene.is_gone().await;
    // By its own clock this one ends tomorrow.
    scene.gives(0, 15).await;
    wrong.kill();
    let (mut right, door) = scene.daemon(&scene.right);
    scene.is_refused(&door).await;
    scene.is_gone().await;
    scene.load.winds_up().await;
    right.kill();
    // An operator knows better.
    let (_right, door) = serves(scene.right.command(jitd(&["run", "--trust-clock"])));
    opens(&scene.doors, door);
    scene.gives(1, 5).await;
    scene.is_gone().await;
    scene.load.winds_up().await;
    let accesses = scene.ledger.ends();
    assert_eq!(accesses.len(), 3);
    let stood = accesses[1].until.unwrap() - accesses[1].from;
    assert!(stood < 15_000_000 + LATE_MAX, "{accesses:#?}");
    scene.right.is_verified();
}

/// The one that is ahead knows nothing of it: a group file tells no time.
#[tokio::test(flavor = "multi_thread")]
async fn k1_beside_a_daemon_that_is_ten_minutes_ahead_the_right_one_gives_nothing() {
    let scene = Scene::set().await;
    let (_right, right) = scene.daemon(&scene.right);
    scene.gives(0, 120).await;
    scene.is_off_by(TEN_MINUTES);
    let (_wrong, _) = daemon(&scene.wrong, None);
    scene.is_gone().await;
    scene.is_refused(&right).await;
    scene.load.winds_up().await;
    assert_eq!(scene.ledger.ends().len(), 1);
    scene.right.is_verified();
}

/// Identity Center, Okta and Vault say what time it is.
#[tokio::test(flavor = "multi_thread")]
async fn k1_a_daemon_whose_providers_say_that_it_is_ten_minutes_off_gives_nothing() {
    for off in [TEN_MINUTES, -TEN_MINUTES] {
        let world = World::new();
        let clock = world.folder().join("clock");
        set(&clock, off);
        let (load, doors) = people(&world.site);
        let (mut process, door) = daemon(&under(&world.site, &clock), None);
        opens(&doors, door.clone());
        is_seen_off(&mut process, off);
        is_refused(&load, &door, "okta/officers").await;
        assert!(world.accesses().is_empty());
        world.site.is_verified();
    }
}
