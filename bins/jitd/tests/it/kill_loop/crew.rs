//! Three daemons and a sweeper, each started again whenever it is gone; and whoever kills them.

use std::collections::{BTreeMap, VecDeque};
use std::os::unix::process::ExitStatusExt;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use jit_runtime::failpoint;
use jit_testkit::time::SeededRandom;
use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::Site;
use crate::process::{Process, Remains, jitd, program, until};

/// The sweeper's place among the four.
const SWEEPER: usize = 3;
/// The signal by which a process ends that aborts.
const ABORT: i32 = 6;
/// The one by which it ends that is killed.
const KILL: i32 = 9;
/// With so many kills somebody dies at every place.
pub(crate) const LONG: usize = 200;
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Where daemons serve at the moment, as far as is known.
pub(crate) type Doors = Arc<Mutex<BTreeMap<usize, String>>>;

/// A process that runs.
struct Running {
    process: Process,
    /// Where it kills itself.
    armed: Option<String>,
}

/// How it went.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// By a signal at a random moment.
    pub(crate) by_signal: usize,
    /// How often a process killed itself at each place.
    pub(crate) met: BTreeMap<String, usize>,
}

impl Tally {
    pub(crate) fn kills(&self) -> usize {
        self.by_signal + self.met.values().sum::<usize>()
    }
}

/// The four of them.
pub(crate) struct Crew {
    site: Site,
    dice: SeededRandom,
    pub(crate) doors: Doors,
    running: [Option<Running>; 4],
    back_at: [Instant; 4],
    /// The places at which processes shall still end, in this order.
    waiting: VecDeque<String>,
    /// How many places there are.
    pub(crate) places: usize,
    pub(crate) tally: Tally,
    undertaker: Option<Undertaker>,
}

/// Looks through what the dead had said and written, which takes a while and keeps nobody from dying.
struct Undertaker {
    dead: Sender<Process>,
    works: JoinHandle<()>,
}

impl Undertaker {
    fn new() -> Self {
        let (dead, taken) = channel();
        let works = std::thread::spawn(move || buries(&taken));
        Self { dead, works }
    }

    /// Nobody dies any more, and none of the dead gave a secret away.
    fn ends(self) {
        drop(self.dead);
        self.works.join().unwrap();
    }
}

/// Whoever waits is looked through at once, and all of them once more at the end: by then more is known
/// that must not be there.
fn buries(dead: &Receiver<Process>) {
    let mut all = vec![];
    let mut latest = Remains::default();
    while let Ok(first) = dead.recv() {
        let mut said = vec![];
        for process in std::iter::once(first).chain(dead.try_iter()) {
            latest = process.leaves();
            said.append(&mut latest.said);
        }
        latest.said = said;
        latest.are_clean();
        all.append(&mut latest.said);
    }
    latest.said = all;
    latest.are_clean();
}

/// Places to which only something that goes wrong for long leads; the module `rare` is about them.
const RARE: [&str; 3] = ["commit.stuck", "commit.store_away", "pager.page"];

/// Both sides of every place but of these and of the rare ones.
pub(crate) fn places_without(never: &[&str]) -> Vec<String> {
    let is_reached = |it: &&&str| !never.contains(*it) && !RARE.contains(*it);
    let reached = failpoint::POINTS.iter().filter(is_reached);
    let sides = reached.flat_map(|it| [format!("before {it}"), format!("after {it}")]);
    sides.collect()
}

impl Crew {
    /// Processes that kill themselves at these places, one place after the other, if they come to it.
    pub(crate) fn new(site: &Site, seed: u64, mut places: Vec<String>) -> Self {
        let dice = SeededRandom::new(seed);
        for last in (1..places.len()).rev() {
            let other = usize::try_from(dice.below(last as u64 + 1)).unwrap();
            places.swap(last, other);
        }
        Self {
            site: site.clone(),
            dice,
            doors: Doors::default(),
            running: [const { None }; 4],
            back_at: [Instant::now(); 4],
            places: places.len(),
            waiting: places.into(),
            tally: Tally::default(),
            undertaker: Some(Undertaker::new()),
        }
    }

    /// Kills processes until so many are killed; those that are gone come back within half a second.
    pub(crate) async fn lives_and_dies(&mut self, kills: usize) {
        while self.tally.kills() < kills || self.is_wanting(kills) {
            let pause = Duration::from_millis(300 + self.dice.below(700));
            self.goes_on(pause).await;
            let seat = usize::try_from(self.dice.below(4)).unwrap();
            // One that is armed has twice the time to come to its place.
            let spared = self.running[seat]
                .as_ref()
                .is_some_and(|it| it.armed.is_some());
            if !spared || self.dice.below(2) == 0 {
                self.kill(seat);
            }
        }
    }

    /// A long run goes on, for as long again, until somebody died at every place.
    fn is_wanting(&self, kills: usize) -> bool {
        let is_long = kills >= LONG && self.tally.kills() < 2 * kills;
        is_long && self.tally.met.len() < self.places
    }

    /// Starts whatever is gone, for so long.
    async fn goes_on(&mut self, time: Duration) {
        let end = Instant::now() + time;
        while Instant::now() < end {
            (0..self.running.len()).for_each(|seat| self.looks_after(seat));
            sleep(LOOK_EVERY).await;
        }
    }

    fn kill(&mut self, seat: usize) {
        let Some(mut victim) = self.running[seat].take() else {
            return;
        };
        victim.process.is_looked_at();
        // It may have come to its place at this very moment.
        if victim.process.kill().signal() == Some(KILL) {
            self.tally.by_signal += 1;
            // It comes to its place the next time.
            if let Some(place) = victim.armed {
                self.waiting.push_front(place);
            }
            self.buries(victim.process);
        } else {
            self.ended_by_itself(victim);
        }
        self.is_gone(seat);
    }

    fn is_gone(&mut self, seat: usize) {
        self.doors.lock().unwrap().remove(&seat);
        let pause = Duration::from_millis(self.dice.below(500));
        self.back_at[seat] = Instant::now() + pause;
    }

    fn looks_after(&mut self, seat: usize) {
        let Some(running) = &mut self.running[seat] else {
            if self.back_at[seat] <= Instant::now() {
                let armed = (self.dice.below(3) > 0)
                    .then(|| self.waiting.pop_front())
                    .flatten();
                self.starts(seat, armed);
            }
            return;
        };
        for line in running.process.overheard() {
            let is_up = line.contains("\"serving\"") || line.contains("sweeping until");
            if is_up && running.armed.is_some() {
                let knows = |it: &String| it.contains("this process ends or stops");
                assert!(
                    running.process.heard.iter().any(knows),
                    "run cargo build -p jit-sweeper --features failpoints first"
                );
            }
            if line.contains("\"serving\"") {
                let line: Value = serde_json::from_str(&line).unwrap();
                let api = line["fields"]["api"].as_str().unwrap();
                let door = format!("http://{api}");
                self.doors.lock().unwrap().insert(seat, door);
            }
        }
        if running.process.ended().is_some() {
            let gone = self.running[seat].take().unwrap();
            self.ended_by_itself(gone);
            self.is_gone(seat);
        }
    }

    /// It killed itself where it was told to; anything else is a defect.
    fn ended_by_itself(&mut self, mut gone: Running) {
        let how = gone.process.ended().unwrap();
        let heard = &mut gone.process;
        heard.overheard();
        let Some(place) = gone.armed.filter(|_| how.signal() == Some(ABORT)) else {
            panic!("a process ended by itself, {how}: {:#?}", heard.heard);
        };
        *self.tally.met.entry(place.clone()).or_default() += 1;
        self.waiting.push_back(place);
        self.buries(gone.process);
    }

    fn buries(&mut self, dead: Process) {
        let undertaker = self.undertaker.as_ref().unwrap();
        undertaker.dead.send(dead).unwrap();
    }

    fn starts(&mut self, seat: usize, armed: Option<String>) {
        let mut command = match seat {
            SWEEPER => program("jit-sweeper", &[]),
            _ => jitd(&["run"]),
        };
        if let Some(place) = &armed {
            let times = match self.tally.met.contains_key(place) {
                true => 1 + self.dice.below(3),
                false => 1,
            };
            command.env(failpoint::VARIABLE, format!("{place}#{times}"));
        }
        let process = Process::start(self.site.command(command));
        self.running[seat] = Some(Running { process, armed });
    }

    /// All four are there, and none of them will kill itself.
    pub(crate) async fn calms_down(&mut self) {
        self.waiting.clear();
        for seat in 0..self.running.len() {
            let armed = (self.running[seat].as_ref()).is_some_and(|it| it.armed.is_some());
            if armed {
                self.running[seat] = None;
                self.is_gone(seat);
            }
        }
        // What a place was taken from by the loop above is not put back.
        until("all daemons serve", async || {
            self.waiting.clear();
            self.goes_on(LOOK_EVERY).await;
            self.doors.lock().unwrap().len() == SWEEPER && self.running[SWEEPER].is_some()
        })
        .await;
    }

    /// Each of them stops well, and none of the dead gave a secret away.
    pub(crate) fn stops(&mut self) {
        self.undertaker.take().unwrap().ends();
        for running in self.running.iter_mut().flatten() {
            running.process.signal("TERM");
            assert_eq!(
                running.process.ends(),
                Some(0),
                "{:#?}",
                running.process.heard
            );
        }
    }
}
