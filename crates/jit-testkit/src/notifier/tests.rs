//! The suite is worth what it catches: every clause, broken once, by a notifier that is sound but
//! for that.

use std::sync::Mutex;

use tokio::task::JoinHandle;

use super::*;

/// A promise that is not kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Broken {
    NameIsNotPlain,
    NamesATargetTwice,
    TargetsChange,
    TellsNobody,
    StaysAsItWas,
    TellsAgain,
    RepeatsEverything,
    TakesBackWhatItSaid,
    ForgetsWhereItIs,
    FailuresAreSwallowed,
    FailuresAreForEver,
    ThrottlingIsAnOutage,
    PostsThoughItFailed,
    PostsTwiceAfterAFailure,
    TellsOneAtATime,
    NeverReturns,
    HangsWithTheOtherSide,
    RefusalsAreTriedAgain,
}

const ALL: [Broken; 18] = [
    Broken::NameIsNotPlain,
    Broken::NamesATargetTwice,
    Broken::TargetsChange,
    Broken::TellsNobody,
    Broken::StaysAsItWas,
    Broken::TellsAgain,
    Broken::RepeatsEverything,
    Broken::TakesBackWhatItSaid,
    Broken::ForgetsWhereItIs,
    Broken::FailuresAreSwallowed,
    Broken::FailuresAreForEver,
    Broken::ThrottlingIsAnOutage,
    Broken::PostsThoughItFailed,
    Broken::PostsTwiceAfterAFailure,
    Broken::TellsOneAtATime,
    Broken::NeverReturns,
    Broken::HangsWithTheOtherSide,
    Broken::RefusalsAreTriedAgain,
];

#[derive(Debug, Default)]
struct Wall {
    messages: Vec<(String, String)>,
    failing: Option<Breakage>,
    failed: bool,
    asked: usize,
    busy: bool,
}

/// A wall that everybody reads, with one message for each request.
#[derive(Clone)]
struct Board {
    wall: Arc<Mutex<Wall>>,
    broken: Option<Broken>,
}

impl Board {
    fn is(&self, broken: Broken) -> bool {
        self.broken == Some(broken)
    }

    fn failure(&self, how: Breakage) -> PortError {
        let kind = match how {
            _ if self.is(Broken::FailuresAreForEver) => ErrorKind::Misconfigured,
            Breakage::Refusal if !self.is(Broken::RefusalsAreTriedAgain) => {
                ErrorKind::Misconfigured
            }
            Breakage::Throttling if !self.is(Broken::ThrottlingIsAnOutage) => {
                ErrorKind::RateLimited {
                    retry_after_ms: Some(2_000),
                }
            }
            _ => ErrorKind::Unavailable,
        };
        PortError::maybe_done("board", "post", kind)
    }

    fn tell(&self, said: &Announcement<'_>) -> Result<Told, PortError> {
        let mut wall = self.wall.lock().unwrap();
        let target = said.delivery.key.target.clone();
        let text = match self.is(Broken::StaysAsItWas) {
            true => "a request".to_owned(),
            false => format!("{} is {}", said.request.id, said.request.status()),
        };
        let place = said.delivery.message.as_ref();
        let place: Option<usize> = place.and_then(|place| place.parse().ok());
        let quiet = self.is(Broken::TellsNobody);
        let done = Told {
            message: place.map(|place| place.to_string()),
            again_at: None,
        };
        if let Some(how) = wall.failing {
            wall.failed = true;
            if how.may_have_told() || self.is(Broken::PostsThoughItFailed) {
                wall.messages.push((target, text));
            }
            return match self.is(Broken::FailuresAreSwallowed) {
                true => Ok(Told {
                    message: Some("0".to_owned()),
                    again_at: None,
                }),
                false => Err(self.failure(how)),
            };
        }
        let again = said.news.is_empty() && !self.is(Broken::TellsAgain);
        if again && place.is_some() || quiet {
            return Ok(done);
        }
        if self.is(Broken::TakesBackWhatItSaid) && said.request.status() == Status::Closed {
            wall.messages.clear();
            return Ok(Told::default());
        }
        match place.filter(|_| !self.is(Broken::TellsAgain)) {
            Some(place) if !self.is(Broken::RepeatsEverything) => {
                wall.messages[place] = (target, text);
                Ok(done)
            }
            _ => {
                let copies = match self.broken {
                    Some(Broken::RepeatsEverything) => said.news.len().pow(2) * 3,
                    Some(Broken::PostsTwiceAfterAFailure) if wall.failed => 3,
                    _ => 1,
                };
                for _ in 0..copies {
                    wall.messages.push((target.clone(), text.clone()));
                }
                let message = (wall.messages.len() - 1).to_string();
                Ok(Told {
                    message: (!self.is(Broken::ForgetsWhereItIs)).then_some(message),
                    again_at: None,
                })
            }
        }
    }
}

#[async_trait]
impl Notifier for Board {
    fn name(&self) -> &'static str {
        match self.is(Broken::NameIsNotPlain) {
            true => "The Board",
            false => "board",
        }
    }

    fn targets(&self, _: &AccessRequest) -> Vec<String> {
        let mut wall = self.wall.lock().unwrap();
        wall.asked += 1;
        match self.broken {
            Some(Broken::NamesATargetTwice) => vec!["wall".to_owned(); 2],
            Some(Broken::TargetsChange) => vec![format!("wall {}", wall.asked)],
            _ => vec!["wall".to_owned()],
        }
    }

    async fn announce(&self, said: Announcement<'_>) -> Result<Told, PortError> {
        let hangs = self.wall.lock().unwrap().failing == Some(Breakage::Hang);
        if self.is(Broken::NeverReturns) || hangs && self.is(Broken::HangsWithTheOtherSide) {
            std::future::pending::<()>().await;
        }
        if self.is(Broken::TellsOneAtATime) {
            if std::mem::replace(&mut self.wall.lock().unwrap().busy, true) {
                return Ok(Told::default());
            }
            tokio::task::yield_now().await;
            self.wall.lock().unwrap().busy = false;
        }
        self.tell(&said)
    }
}

#[async_trait]
impl NotifierFixture for Board {
    fn counterpart(&self) -> &'static str {
        "a wall in memory"
    }
    fn notifier(&self) -> Arc<dyn Notifier> {
        Arc::new(self.clone())
    }
    async fn seen(&self, target: &str) -> Vec<String> {
        let wall = self.wall.lock().unwrap();
        let there = wall.messages.iter().filter(|(on, _)| on == target);
        there.map(|(_, text)| text.clone()).collect()
    }
    fn breakages(&self) -> &'static [Breakage] {
        &[
            Breakage::Refusal,
            Breakage::Outage,
            Breakage::Throttling,
            Breakage::LostReply,
            Breakage::Hang,
        ]
    }
    async fn break_calls(&mut self, how: Breakage) {
        self.wall.lock().unwrap().failing = Some(how);
    }
    async fn mend(&mut self) {
        self.wall.lock().unwrap().failing = None;
    }
    async fn pass(&mut self, _: Duration) {}
}

fn run(broken: Option<Broken>) -> JoinHandle<()> {
    let mut board = Board {
        wall: Arc::default(),
        broken,
    };
    tokio::spawn(async move { notifier_contract(&mut board).await })
}

#[tokio::test]
async fn a_wall_in_memory_keeps_the_contract() {
    run(None).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn every_broken_promise_is_caught() {
    for broken in ALL {
        let caught = run(Some(broken)).await.is_err();
        assert!(caught, "{broken:?} is not caught");
    }
}
