//! People who ask, decide, collect and give back at whatever door is open, and remember what they were
//! answered.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use jit_cli::{
    ApproveArgs, CliError, Command, DenyArgs, Form, IdArgs, ListArgs, RequestArgs, Session,
};
use jit_testkit::time::SeededRandom;
use serde_json::Value;
use tokio::time::{Instant, sleep, timeout};

use super::Site;
use super::crew::Doors;
use super::judge::Seen;
use crate::process::until;
use crate::secrets;

/// She asks, for herself.
pub(crate) const ANA: &str = "ana@example.com";
/// He decides.
pub(crate) const BOB: &str = "bob@example.com";
/// She decides as well, where two must.
pub(crate) const DORA: &str = "dora@example.com";
/// She reads everything, and says again and again that things may go on.
pub(crate) const CAROL: &str = "carol@example.com";

/// What the doors answered of one request.
#[derive(Debug, Default)]
pub(crate) struct Told {
    approved_by: BTreeSet<&'static str>,
    denied: usize,
    collected: usize,
    given_back: usize,
}

pub(crate) struct Load {
    doors: Doors,
    site: Site,
    tokens: BTreeMap<&'static str, PathBuf>,
    approvers: Vec<&'static str>,
    /// What was acknowledged.
    pub(crate) told: Mutex<BTreeMap<String, Told>>,
    is_over: AtomicBool,
    begun: Instant,
    /// How often Ana set about asking.
    asked: AtomicU64,
}

/// Nobody may open more than a thousand requests within an hour: she asks so often at once, and then
/// once within so much time.
const AT_ONCE: u64 = 400;
const PACE: Duration = Duration::from_millis(6_500);

/// Whether somebody said no, and not the world.
fn is_no(error: &CliError) -> bool {
    matches!(error, CliError::Refused { code, .. } if code != "store_away")
}

impl Load {
    pub(crate) fn new(site: &Site, doors: Doors) -> Self {
        let tokens = [ANA, BOB, CAROL].map(|person| (person, site.token(person)));
        Self {
            doors,
            site: site.clone(),
            tokens: tokens.into(),
            approvers: vec![BOB],
            told: Mutex::default(),
            is_over: AtomicBool::new(false),
            begun: Instant::now(),
            asked: AtomicU64::new(0),
        }
    }

    /// Somebody else decides as well.
    pub(crate) fn with_approver(mut self, person: &'static str) -> Self {
        self.tokens.insert(person, self.site.token(person));
        self.approvers.push(person);
        self
    }

    /// Waits until Ana may ask once more, or it is over.
    pub(crate) async fn takes_its_time(&self) {
        let before = self.asked.fetch_add(1, Ordering::SeqCst);
        let waits = PACE * u32::try_from(before.saturating_sub(AT_ONCE)).unwrap();
        while self.begun.elapsed() < waits && !self.is_over() {
            sleep(Duration::from_millis(100)).await;
        }
    }

    pub(crate) fn ends(&self) {
        self.is_over.store(true, Ordering::SeqCst);
    }

    pub(crate) fn is_over(&self) -> bool {
        self.is_over.load(Ordering::SeqCst)
    }

    fn door(&self, dice: &SeededRandom) -> Option<String> {
        let doors = self.doors.lock().unwrap();
        let which = usize::try_from(dice.below(doors.len() as u64)).unwrap();
        doors.values().nth(which).cloned()
    }

    /// A verb as this person at this door.
    async fn at(&self, door: &str, person: &str, verb: Command) -> Result<Value, CliError> {
        let token = Session::token_from(&self.tokens[person])?;
        let session = Session::new(door, &token)?;
        let mut out = vec![];
        let verb = jit_cli::run(&verb, &session, Form::Json, &mut out);
        let done = timeout(Duration::from_secs(10), verb).await;
        let done = done.unwrap_or_else(|_| Err(CliError::BadInput("no answer".to_owned())));
        let said = String::from_utf8(out).unwrap();
        let told = done.as_ref().err().map(ToString::to_string);
        secrets::answered(&format!("{said}{}", told.unwrap_or_default()), &said);
        done.map(|_| serde_json::from_str(&said).unwrap_or_default())
    }

    fn note(&self, id: &str, what: impl FnOnce(&mut Told)) {
        what(self.told.lock().unwrap().entry(id.to_owned()).or_default());
    }

    /// Ana asks; the request, where a door acknowledged it.
    pub(crate) async fn asks(
        &self,
        entitlement: &str,
        secs: u64,
        dice: &SeededRandom,
    ) -> Option<String> {
        let door = self.door(dice)?;
        self.asks_at(&door, entitlement, secs).await.ok()
    }

    /// The same at this door, with what she is told where nothing comes of it.
    pub(crate) async fn asks_at(
        &self,
        door: &str,
        entitlement: &str,
        secs: u64,
    ) -> Result<String, CliError> {
        let ask = Command::Request(RequestArgs {
            entitlement: entitlement.to_owned(),
            reason: "the front page is broken".to_owned(),
            ttl: Some(format!("{secs}s")),
            beneficiary: None,
            parameters: vec![],
            wait: false,
        });
        let asked = self.at(door, ANA, ask).await?;
        let id = asked["id"].as_str();
        let id = id.ok_or_else(|| CliError::BadInput("an answer without an id".to_owned()))?;
        let id = id.to_owned();
        self.note(&id, |_| {});
        Ok(id)
    }

    /// Each of those who decide does.
    pub(crate) async fn decides(&self, id: &str, dice: &SeededRandom) {
        for person in &self.approvers {
            self.decides_as(person, id, dice).await;
        }
    }

    /// They approve at one door and, at the same moment, approve or deny at another; until they are told
    /// that it is decided.
    async fn decides_as(&self, person: &'static str, id: &str, dice: &SeededRandom) {
        for _ in 0..10 {
            let (Some(one), Some(other)) = (self.door(dice), self.door(dice)) else {
                sleep(Duration::from_millis(50)).await;
                continue;
            };
            let approve = || {
                Command::Approve(ApproveArgs {
                    id: id.to_owned(),
                    ttl: None,
                })
            };
            let deny = || {
                Command::Deny(DenyArgs {
                    id: id.to_owned(),
                    reason: "not now".to_owned(),
                })
            };
            let denies = dice.below(5) == 0;
            let second = if denies { deny() } else { approve() };
            let (first, second) = tokio::join!(
                self.at(&one, person, approve()),
                self.at(&other, person, second)
            );
            let mut is_decided = false;
            for (said, denies) in [(first, false), (second, denies)] {
                match said {
                    Ok(_) if denies => self.note(id, |told| told.denied += 1),
                    Ok(_) => self.note(id, |told| {
                        told.approved_by.insert(person);
                    }),
                    Err(error) if is_no(&error) => {}
                    Err(_) => continue,
                }
                is_decided = true;
            }
            if is_decided {
                return;
            }
        }
    }

    /// Bob approves, at one door.
    pub(crate) async fn approves(&self, id: &str) -> bool {
        let Some(door) = self.door(&SeededRandom::new(0)) else {
            return false;
        };
        let approve = Command::Approve(ApproveArgs {
            id: id.to_owned(),
            ttl: None,
        });
        self.at(&door, BOB, approve).await.is_ok()
    }

    /// Ana gives it back, where a door answers.
    pub(crate) async fn gives_back(&self, id: &str, dice: &SeededRandom) {
        if let Some(door) = self.door(dice) {
            let end = Command::End(IdArgs { id: id.to_owned() });
            if self.at(&door, ANA, end).await.is_ok() {
                self.note(id, |told| told.given_back += 1);
            }
        }
    }

    /// Ana collects at two doors at once, until she is told what she gets.
    pub(crate) async fn collects(&self, id: &str, dice: &SeededRandom) {
        for _ in 0..10 {
            let (Some(one), Some(other)) = (self.door(dice), self.door(dice)) else {
                sleep(Duration::from_millis(50)).await;
                continue;
            };
            let collect = || Command::Collect(IdArgs { id: id.to_owned() });
            let (first, second) = tokio::join!(
                self.at(&one, ANA, collect()),
                self.at(&other, ANA, collect())
            );
            let got = usize::from(first.is_ok()) + usize::from(second.is_ok());
            self.note(id, |told| told.collected += got);
            let no = |said: &Result<Value, CliError>| said.as_ref().is_err_and(is_no);
            if got > 0 || (no(&first) && no(&second)) {
                return;
            }
        }
    }

    /// One after the other on one thing, for so many seconds or a little more, until it is over.
    pub(crate) async fn lane(
        &self,
        entitlement: &str,
        shortest: u64,
        is_collected: bool,
        seed: u64,
    ) {
        let dice = SeededRandom::new(seed);
        while !self.is_over() {
            let secs = shortest + dice.below(4);
            self.takes_its_time().await;
            let Some(id) = self.asks(entitlement, secs, &dice).await else {
                sleep(Duration::from_millis(100)).await;
                continue;
            };
            self.decides(&id, &dice).await;
            if is_collected {
                self.collects(&id, &dice).await;
            }
            if let (0, Some(door)) = (dice.below(4), self.door(&dice)) {
                // Nothing was paused; it is written down all the same, in the audit of the service.
                let _ = self.at(&door, CAROL, Command::Resume).await;
            }
            if dice.below(4) == 0 {
                sleep(Duration::from_millis(dice.below(1_000))).await;
                self.gives_back(&id, &dice).await;
            }
            // Sometimes more is asked for while it still stands.
            sleep(Duration::from_millis(dice.below(secs * 1_000 + 2_000))).await;
        }
    }

    /// Every request as an auditor sees it, the newest first.
    async fn list(&self) -> Option<Vec<Value>> {
        let dice = SeededRandom::new(0);
        let mut all: Vec<Value> = vec![];
        loop {
            let door = self.door(&dice)?;
            let list = Command::List(ListArgs {
                principal: None,
                entitlement: None,
                status: None,
                from: None,
                until: None,
                limit: Some(100),
                after: all.last().map(|it| it["id"].as_str().unwrap().to_owned()),
                entitlements: false,
                search: None,
            });
            let page = self.at(&door, CAROL, list).await.ok()?;
            let page = page["requests"].as_array()?;
            if page.is_empty() {
                return Some(all);
            }
            all.extend_from_slice(page);
        }
    }

    /// Decides whatever is left, and waits until every request is at its end.
    pub(crate) async fn winds_up(&self) {
        let dice = SeededRandom::new(1);
        until("every request is at its end", async || {
            let all = self.list().await.unwrap_or_default();
            let mut is_done = !all.is_empty();
            for request in &all {
                let id = request["id"].as_str().unwrap();
                match request["status"].as_str().unwrap() {
                    "pending" => self.decides(id, &dice).await,
                    "approved" | "provisioning" | "active" | "revoking" => {}
                    _ => continue,
                }
                is_done = false;
            }
            if !is_done {
                sleep(Duration::from_millis(200)).await;
            }
            is_done
        })
        .await;
    }

    /// The audit of a request.
    pub(crate) async fn history(&self, id: &str) -> Value {
        let door = self.door(&SeededRandom::new(2)).unwrap();
        let history = Command::History(IdArgs { id: id.to_owned() });
        self.at(&door, CAROL, history).await.unwrap()
    }

    /// Every request with the words of its audit.
    pub(crate) async fn sees(&self) -> Vec<Seen> {
        let mut seen = vec![];
        for shown in self.list().await.unwrap() {
            let history = self.history(shown["id"].as_str().unwrap()).await;
            seen.push(Seen::of(shown, &history));
        }
        seen
    }

    /// What the doors acknowledged is so.
    pub(crate) fn problems(&self, seen: &[Seen]) -> Vec<String> {
        let mut problems: Vec<String> = seen.iter().flat_map(Seen::problems).collect();
        for (id, told) in &*self.told.lock().unwrap() {
            let mut wrong = |why: &str| problems.push(format!("{id}: {why}: {told:?}"));
            let Some(request) = seen.iter().find(|it| it.id() == id) else {
                wrong("it was acknowledged and is lost");
                continue;
            };
            let has = |fact: &str| request.facts.iter().any(|it| it == fact);
            let approvals = request.facts.iter().filter(|it| *it == "approved").count();
            let is_enough = told.approved_by.len() >= request.approvals_needed();
            if approvals < told.approved_by.len() || (is_enough && !has("granted")) {
                wrong("its approval was acknowledged and is lost");
            }
            if told.denied > 0 && !has("denied") {
                wrong("its denial was acknowledged and is lost");
            }
            if told.collected > 1 {
                wrong("its credential was given out more than once");
            }
            if told.given_back > 0 && !request.was_given_back {
                wrong("it was given back early, as acknowledged, and that is lost");
            }
        }
        problems
    }
}
