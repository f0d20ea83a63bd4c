//! The adapter against a simulated PagerDuty on loopback, and against a server that says whatever a
//! test has it say.

mod contract;
mod events;
mod rota;
mod secrets;

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use jit_core::Timestamp;
use jit_core::ports::{Alarm, PortError};
use jit_core::request::RequestId;
use jit_testkit::sample;
use okta_sim::{OnCall, Setup, Sim, World};
use secrecy::SecretString;

use crate::{Address, Duty, EventsSettings, Id, Levels, PagerDuty, PagerDutyEvents, Settings};

const TOKEN: &str = "u-canary-api-token00";
const ROUTING_KEY: &str = "canary0123456789abcdef0123456789";

/// An account with a schedule, an escalation policy and two people, at the instant of the samples.
struct Account {
    sim: Sim,
    ana: String,
    bob: String,
    schedule: String,
    policy: String,
}

impl Account {
    fn new() -> Self {
        let now = sample::start().unix_micros();
        let setup = Setup {
            pagerduty_tokens: vec![TOKEN.to_owned()],
            routing_keys: vec![ROUTING_KEY.to_owned()],
            ..Setup::default().manual(now)
        };
        let sim = Sim::start(setup).unwrap();
        let world = sim.world();
        Self {
            ana: world.add_responder("Ana Example", "Ana@Example.com"),
            bob: world.add_responder("Bob Example", "bob@example.com"),
            schedule: world.add_schedule("Database"),
            policy: world.add_escalation_policy("Database first"),
            sim,
        }
    }

    fn world(&self) -> &World {
        self.sim.world()
    }

    /// Puts somebody on call for ever, on this level.
    fn on_call(&self, user: &str, level: u32) {
        self.world().put_on_call(OnCall {
            user: user.to_owned(),
            schedule: Some(self.schedule.clone()),
            escalation_policy: self.policy.clone(),
            level,
            from_micros: None,
            until_micros: None,
        });
    }

    fn by_policy(&self) -> Duty {
        Duty::EscalationPolicy(self.policy.parse().unwrap())
    }

    fn by_schedule(&self) -> Duty {
        Duty::Schedule(self.schedule.parse().unwrap())
    }

    fn settings(&self) -> Settings {
        Settings {
            api: address(&self.sim),
            ..settings(self.by_policy())
        }
    }

    fn rota(&self) -> PagerDuty {
        PagerDuty::rota(self.settings()).unwrap()
    }

    fn pager(&self) -> PagerDutyEvents {
        pager(&format!("{}/pagerduty", self.sim.url()))
    }
}

fn address(sim: &Sim) -> Address {
    format!("{}/pagerduty", sim.url()).parse().unwrap()
}

/// Settings that lead nowhere yet.
fn settings(duty: Duty) -> Settings {
    Settings {
        token: SecretString::from(TOKEN),
        api: "http://127.0.0.1:1".parse().unwrap(),
        duty,
        levels: Levels::First,
    }
}

fn events_settings(url: &str) -> EventsSettings {
    EventsSettings {
        routing_key: SecretString::from(ROUTING_KEY).try_into().unwrap(),
        events: url.parse().unwrap(),
    }
}

fn pager(url: &str) -> PagerDutyEvents {
    PagerDutyEvents::new(events_settings(url)).unwrap()
}

fn id(text: &str) -> Id {
    text.parse().unwrap()
}

fn now() -> Timestamp {
    sample::start()
}

fn alarm() -> Alarm {
    Alarm {
        request: Some(RequestId::new(now(), [3; 10])),
        summary: "a grant is stuck".to_owned(),
        at: now(),
    }
}

/// Everything that an error says, its causes too.
fn whole_story(error: &PortError) -> String {
    let mut story = format!("{error} {error:?}");
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        story.push_str(&format!(" {error} {error:?}"));
        cause = error.source();
    }
    story
}

/// A server that gives these answers, one a connection and in this order, and keeps what it was
/// asked.
struct Odd {
    url: String,
    heard: Arc<Mutex<Vec<String>>>,
    thread: Option<JoinHandle<()>>,
}

impl Odd {
    fn saying(answers: Vec<String>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let heard = Arc::new(Mutex::new(vec![]));
        let keep = Arc::clone(&heard);
        let thread = std::thread::spawn(move || {
            for answer in answers {
                let (mut stream, _) = listener.accept().unwrap();
                let mut asked = vec![];
                let mut byte = [0];
                while !asked.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap() > 0 {
                    asked.extend_from_slice(&byte);
                }
                keep.lock().unwrap().push(String::from_utf8(asked).unwrap());
                // Whoever has heard enough closes, which is theirs to do.
                let _ = stream.write_all(answer.as_bytes());
            }
        });
        Self {
            url,
            heard,
            thread: Some(thread),
        }
    }

    /// The same with answers of 200 and these bodies.
    fn answering(bodies: &[&str]) -> Self {
        let answers = bodies.iter().map(|body| answer("200 OK", "", body));
        Self::saying(answers.collect())
    }

    fn rota(&self, duty: Duty) -> PagerDuty {
        PagerDuty::rota(Settings {
            api: self.url.parse().unwrap(),
            ..settings(duty)
        })
        .unwrap()
    }

    /// What it was asked, once it has given every answer.
    fn heard(mut self) -> Vec<String> {
        self.thread.take().unwrap().join().unwrap();
        self.heard.lock().unwrap().clone()
    }
}

/// An answer over HTTP with this status line and these further headers.
fn answer(status: &str, headers: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n{headers}\r\n{body}"
    )
}
