//! The oracle: an independent reference of who may request, approve, deny, take back, end and revoke,
//! held against the real engine over drawn stories. `reference` is the text once more, `subject` is
//! the engine, `draw` makes the stories, and `sabotage` lies to see that it would be noticed.

mod case;
mod draw;
mod reference;
mod sabotage;
mod subject;
mod tests;

use std::collections::BTreeMap;
use std::fmt::Write as _;

use case::{Answer, Case, Matter, Pace, Picture, Right, State, Step};
use reference::Reference;
use sabotage::Saboteur;
use subject::Subject;

/// What came of a case: what was met, and where the two sides did not agree.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) counts: BTreeMap<String, u64>,
    pub(crate) disagreement: Option<String>,
}

impl Outcome {
    fn count(&mut self, name: impl Into<String>) {
        *self.counts.entry(name.into()).or_default() += 1;
    }
}

/// Whether the engine's answer is one that the reference gives.
fn agree(reference: &Answer, engine: &Answer) -> bool {
    match (reference, engine) {
        (Answer::Refused(reasons), Answer::Refused(given)) => given.is_subset(reasons),
        (reference, engine) => reference == engine,
    }
}

fn agree_on_state(reference: &Picture, engine: &Picture) -> bool {
    let state = match (&reference.state, &engine.state) {
        (State::Invalidated(reasons), State::Invalidated(given))
        | (State::Cancelled(reasons), State::Cancelled(given)) => given.is_subset(reasons),
        (reference, engine) => reference == engine,
    };
    state && reference.approvals == engine.approvals && reference.dropped == engine.dropped
}

/// Tells both sides the story, and compares them after each step.
pub(crate) async fn compare(case: &Case, saboteur: Option<Saboteur>) -> Outcome {
    let subject = Subject::new(case, saboteur.and_then(Saboteur::lie));
    let slip = saboteur.and_then(Saboteur::slip);
    let mut reference = Reference::new(
        case.policy.clone(),
        case.directory.clone(),
        case.starts_at,
        slip,
    );
    let mut outcome = Outcome::default();
    let mut log = String::new();

    // A saboteur must be noticed by what people can do.
    if saboteur.is_none() {
        explanations(case, &reference, &subject, &mut outcome, &mut log).await;
    }
    let opened = (
        vec![reference.open(case.ask)],
        vec![subject.open(case.ask).await],
    );
    let mut before = State::NotOpened;
    let all = std::iter::once(None).chain(case.steps.iter().map(Some));
    for step in all {
        let (wanted, given) = match step {
            None => opened.clone(),
            Some(step) => (reference.step(step), subject.step(step).await),
        };
        let (right, real) = (reference.picture(), subject.picture().await);
        let agreed = wanted.len() == given.len()
            && wanted
                .iter()
                .zip(&given)
                .all(|(one, other)| agree(one, other))
            && agree_on_state(&right, &real);
        let told = step.map_or_else(|| "the request is opened".to_owned(), Step::to_string);
        let _ = writeln!(
            log,
            "  {told}\n      reference: {wanted:?} {right:?}\n      engine:    {given:?} {real:?}"
        );
        if !agreed {
            outcome.disagreement = Some(report(case, &log));
        }
        if outcome.disagreement.is_some() {
            return outcome;
        }
        count(&mut outcome, step, &given, &before, &real);
        before = real.state;
        if before == State::NotOpened {
            return outcome;
        }
    }
    outcome.count(format!("order {}", order_word(case.order)));
    outcome.count(format!("ended {}", before.word()));
    outcome
}

/// The whole case, and what either side made of it up to where they part.
fn report(case: &Case, log: &str) -> String {
    let seed = case.seed;
    format!("JIT_ORACLE_SEED={seed} runs it again.\n{case}\nIt went:\n{log}")
}

fn order_word(order: [Matter; 5]) -> String {
    order.map(|matter| format!("{matter:?}")).join(" ")
}

/// Counts what was met in a step.
fn count(
    outcome: &mut Outcome,
    step: Option<&Step>,
    given: &[Answer],
    before: &State,
    real: &Picture,
) {
    for answer in given {
        match answer {
            Answer::Done => {}
            Answer::PutOff => outcome.count("put off"),
            Answer::Refused(why) => why
                .iter()
                .for_each(|why| outcome.count(format!("refused {why:?}"))),
        }
    }
    if *before != real.state {
        outcome.count(format!("verdict {}", real.state.word()));
    }
    (0..real.dropped.len()).for_each(|_| outcome.count("dropped"));
    match step {
        None => outcome.count("opened or not"),
        Some(Step::Say(_, verb)) if given == [Answer::Done] => {
            outcome.count(format!("did {verb:?}"))
        }
        Some(Step::Race {
            first,
            meanwhile,
            pace,
        }) => {
            let first = match first.as_ref() {
                Step::Say(_, verb) => format!("{verb:?}"),
                _ => "Work".to_owned(),
            };
            let meanwhile = match meanwhile.as_ref() {
                Step::Say(_, verb) => format!("{verb:?}"),
                Step::People(_) => "people".to_owned(),
                _ => "policy".to_owned(),
            };
            if *before != real.state {
                outcome.count(format!("race {first} and {meanwhile}"));
                if *pace == Pace::Slow {
                    outcome.count("race slow");
                }
            }
        }
        Some(_) => {}
    }
}

/// What `jit policy explain` would say to everybody at the beginning, and a while later.
async fn explanations(
    case: &Case,
    reference: &Reference,
    subject: &Subject,
    outcome: &mut Outcome,
    log: &mut String,
) {
    let (on, of) = (case.ask.what, case.ask.named.unwrap_or(case.ask.by));
    let people = case.directory.people.keys();
    for who in people.skip(usize::try_from(case.seed % 7).unwrap()).take(3) {
        let waited = 60 * (case.seed % 25);
        for right in [
            Right::Request,
            Right::OnBehalfOf,
            Right::Approve,
            Right::Revoke,
        ] {
            let wanted = reference.explain(who, right, on, of, waited);
            let given = subject.explain(who, right, on, of, waited).await;
            if wanted != given {
                let _ = writeln!(
                    log,
                    "  explain {who} {right:?} {on} of {of} after {waited} s\n      reference: {wanted:?}"
                );
                let _ = writeln!(log, "      engine:    {given:?}");
                outcome.disagreement = Some(report(case, log));
            }
            outcome.count(format!("explained {}", given.is_some_and(|it| it.0)));
        }
    }
}
