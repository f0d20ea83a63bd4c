//! The judge: holds what was promised against what stood. It knows no process and reads no store.

use std::collections::BTreeMap;

use serde_json::Value;

use super::LATE_MAX;

/// Somebody approved that there is access to this from then until then; microseconds.
#[derive(Debug, Clone)]
pub(crate) struct Promise {
    pub(crate) what: String,
    pub(crate) from: i64,
    pub(crate) until: i64,
}

/// There was access to this, by whoever gives it.
#[derive(Debug, Clone)]
pub(crate) struct Access {
    pub(crate) what: String,
    pub(crate) from: i64,
    pub(crate) until: Option<i64>,
}

/// What the judge found.
#[derive(Debug, Default)]
pub(crate) struct Verdict {
    /// The longest that access stood past its end, in microseconds.
    pub(crate) late: i64,
    pub(crate) accesses: usize,
    pub(crate) problems: Vec<String>,
}

/// No access without a promise, none before it, none that began after its end, none long past it, and
/// none at the end of all.
pub(crate) fn judge(promises: &[Promise], accesses: &[Access], apply_max: i64) -> Verdict {
    let mut verdict = Verdict::default();
    for access in accesses {
        verdict.accesses += 1;
        let of_it = || promises.iter().filter(|it| it.what == access.what);
        let end_by = |instant: i64| {
            of_it()
                .filter(|it| it.from <= instant)
                .map(|it| it.until)
                .max()
        };
        let mut wrong = |why: String| verdict.problems.push(format!("{access:?}: {why}"));
        match end_by(access.from) {
            None => wrong("nobody had approved it".to_owned()),
            Some(end) if access.from > end + apply_max => {
                wrong(format!("it began {} µs after its end", access.from - end));
            }
            Some(_) => {}
        }
        let Some(until) = access.until else {
            wrong("it still stands".to_owned());
            continue;
        };
        // The end moves on whenever somebody approves more of it; it is latest just before.
        let later = of_it().map(|it| it.from - 1);
        let looks = later
            .filter(|at| (access.from..until).contains(at))
            .chain([until]);
        for at in looks {
            let late = end_by(at).map_or(0, |end| at - end);
            verdict.late = verdict.late.max(late);
            if late > LATE_MAX {
                verdict
                    .problems
                    .push(format!("{access:?}: {late} µs past its end"));
            }
        }
    }
    verdict
}

/// Fed with ends that were half a minute and a second earlier, the judge objects: it would have seen it.
pub(crate) fn is_awake(promises: &[Promise], accesses: &[Access]) {
    let mut earlier = promises.to_vec();
    for promise in &mut earlier {
        promise.until -= LATE_MAX + 1_000_000;
    }
    let verdict = judge(&earlier, accesses, i64::MAX / 2);
    let late = |it: &String| it.contains("past its end");
    assert!(verdict.problems.iter().any(late), "the judge sleeps");
}

/// The periods of what was seen to come and go, in the order in which it did.
#[derive(Debug, Default)]
pub(crate) struct Periods(Vec<Access>);

impl Periods {
    pub(crate) fn comes(&mut self, what: &str, at: i64) {
        if self.open(what).is_none() {
            let (what, until) = (what.to_owned(), None);
            self.0.push(Access {
                what,
                from: at,
                until,
            });
        }
    }

    pub(crate) fn goes(&mut self, what: &str, at: i64) {
        if let Some(access) = self.open(what) {
            access.until = Some(at);
        }
    }

    fn open(&mut self, what: &str) -> Option<&mut Access> {
        let mut of_it = self.0.iter_mut().rev();
        of_it.find(|it| it.what == what && it.until.is_none())
    }

    pub(crate) fn all(&self) -> Vec<Access> {
        self.0.clone()
    }
}

/// A request as a door shows it at the end, with the words of its audit.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) shown: Value,
    pub(crate) facts: Vec<String>,
    /// Its audit says that it was given back before its time.
    pub(crate) was_given_back: bool,
}

/// This is how an early end is written down, of access as of what is not given yet.
fn gives_back(event: &Value) -> bool {
    let details = &event["details"];
    match event["fact"].as_str().unwrap() {
        "ending" => details["cause"] == "ended",
        "cancelled" => details["why"] == "ended",
        fact => fact == "withdrawn",
    }
}

/// Each of these decides a request, and nothing else does.
const DECISIVE: [&str; 5] = ["granted", "denied", "withdrawn", "lapsed", "invalidated"];

impl Seen {
    pub(crate) fn of(shown: Value, history: &Value) -> Self {
        let events = history["events"].as_array().unwrap();
        let facts = events.iter().map(|it| it["fact"].as_str().unwrap());
        Self {
            shown,
            facts: facts.map(str::to_owned).collect(),
            was_given_back: events.iter().any(gives_back),
        }
    }

    pub(crate) fn id(&self) -> &str {
        self.shown["id"].as_str().unwrap()
    }

    pub(crate) fn status(&self) -> &str {
        self.shown["status"].as_str().unwrap()
    }

    pub(crate) fn reason(&self) -> &str {
        self.shown["reason"].as_str().unwrap()
    }

    pub(crate) fn approvals_needed(&self) -> usize {
        let needed = self.shown["approvals_needed"].as_u64().unwrap();
        usize::try_from(needed).unwrap()
    }

    fn instant(&self, name: &str) -> Option<i64> {
        let at: jit_core::Timestamp = self.shown[name].as_str()?.parse().unwrap();
        Some(at.unix_micros())
    }

    /// What was promised by it; a credential is a thing of its own.
    pub(crate) fn promise(&self) -> Option<Promise> {
        let entitlement = self.shown["entitlements"][0]["entitlement"]
            .as_str()
            .unwrap();
        let what = match entitlement.starts_with("vault/") {
            true => self.id(),
            false => entitlement,
        };
        Some(Promise {
            what: what.to_owned(),
            from: self.instant("approved_at")?,
            until: self.instant("expires_at")?,
        })
    }

    /// It came to one end, by one decision, and never was stuck.
    pub(crate) fn problems(&self) -> Vec<String> {
        let mut problems = vec![];
        if ["pending", "approved", "provisioning", "active", "revoking"].contains(&self.status()) {
            problems.push(format!("{} is {}", self.id(), self.status()));
        }
        let decisions = self
            .facts
            .iter()
            .filter(|it| DECISIVE.contains(&it.as_str()));
        let decisions: Vec<&String> = decisions.collect();
        if decisions.len() != 1 {
            problems.push(format!("{} was decided: {decisions:?}", self.id()));
        }
        let mut counted = BTreeMap::<&str, usize>::new();
        for fact in &self.facts {
            *counted.entry(fact).or_default() += 1;
        }
        for (fact, most) in [("requested", 1), ("approved", self.approvals_needed())] {
            if counted.get(fact).is_some_and(|it| *it > most) {
                problems.push(format!("{}: {fact} more than {most} times", self.id()));
            }
        }
        if counted.contains_key("stuck") {
            problems.push(format!("{} was stuck", self.id()));
        }
        problems
    }
}

fn seconds(promised: (i64, i64), stood: (i64, i64)) -> Verdict {
    let second = |it: i64| it * 1_000_000;
    let what = || "a group".to_owned();
    let (from, until) = (second(promised.0), second(promised.1));
    let promise = Promise {
        what: what(),
        from,
        until,
    };
    let (from, until) = (second(stood.0), Some(second(stood.1)));
    judge(
        &[promise],
        &[Access {
            what: what(),
            from,
            until,
        }],
        0,
    )
}

#[test]
fn the_judge_lets_pass_what_ends_in_time() {
    let verdict = seconds((10, 20), (11, 22));
    assert!(verdict.problems.is_empty(), "{verdict:?}");
    assert_eq!(verdict.late, 2_000_000);
}

#[test]
fn the_judge_sees_what_ends_late_begins_early_or_late_or_does_not_end() {
    for (stood, why) in [
        ((11, 51), "past its end"),
        ((9, 15), "nobody had approved"),
        ((21, 22), "after its end"),
    ] {
        let verdict = seconds((10, 20), stood);
        assert!(verdict.problems[0].contains(why), "{verdict:?}");
    }
    let what = "a group".to_owned();
    let stands = Access {
        what,
        from: 0,
        until: None,
    };
    let verdict = judge(&[], &[stands], 0);
    assert!(verdict.problems[1].contains("still stands"), "{verdict:?}");
}

#[test]
fn the_judge_sees_a_gap_between_two_promises() {
    let promise = |from, until| Promise {
        what: "a group".to_owned(),
        from,
        until,
    };
    let minute = 60_000_000;
    let stood = Access {
        what: "a group".to_owned(),
        from: 1,
        until: Some(3 * minute),
    };
    let verdict = judge(
        &[promise(0, minute), promise(2 * minute, 3 * minute)],
        &[stood],
        0,
    );
    assert!(verdict.problems[0].contains("past its end"), "{verdict:?}");
}
