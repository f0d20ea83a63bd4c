//! What a caller is told when calls or replies are lost, refused, late or garbage: never that
//! nothing was done where something may have been, and one write however often it is sent.

use std::sync::Arc;

use jit_core::ports::{
    CommitError, Delivery, DeliveryKey, Effect, ErrorKind, Inbox, PortError, RequestStore, Touch,
};
use jit_dynamodb::DynamoStore;
use jit_testkit::sample;
use jit_testkit::server::moto;
use tokio::sync::Notify;

use crate::faulty::Trouble::{
    Cancel, CancelAndDoLater, Garbage, Hang, HangReply, LoseCall, LoseReply, Nothing, Refuse,
    Undone, Wait,
};
use crate::faulty::{Faulty, Trouble};
use crate::world::World;

const THROTTLED: Trouble = Refuse(400, "ProvisionedThroughputExceededException", "slower");
const DENIED: Trouble = Refuse(
    400,
    "AccessDeniedException",
    "User: u is not authorized to perform: dynamodb:PutItem",
);

fn creation(number: u16) -> jit_core::ports::Commit {
    sample::commit([sample::creation(sample::request(number))])
}

fn told<T: std::fmt::Debug>(answer: Result<T, CommitError>) -> (ErrorKind, Effect) {
    match answer {
        Err(CommitError::Port(PortError { kind, effect, .. })) => (kind, effect),
        other => panic!("not a failure of the store: {other:?}"),
    }
}

fn limited(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::RateLimited { .. })
}

fn delivery_key() -> DeliveryKey {
    DeliveryKey {
        request: sample::id(1),
        notifier: "slack".to_owned(),
        target: "C1".to_owned(),
    }
}

fn touch() -> Touch {
    Touch {
        key: delivery_key(),
        take_until: None,
    }
}

async fn with_delivery(store: &DynamoStore) {
    let mut commit = creation(1);
    commit.deliveries = vec![touch()];
    store.commit(commit).await.unwrap();
}

async fn sent(network: &Faulty) -> usize {
    let calls = network.calls();
    calls
        .iter()
        .filter(|it| *it == "TransactWriteItems")
        .count()
}

#[tokio::test]
async fn a_commit_whose_reply_is_lost_is_one_commit_and_is_told_as_written() {
    let world = World::new();
    let (store, network, other, _) = world.faulty().await;
    for (number, trouble) in (1..).zip([LoseReply, LoseCall, HangReply, THROTTLED]) {
        network.next("TransactWriteItems", [trouble.clone()]);
        store.commit(creation(number)).await.unwrap();
        assert_eq!(sent(&network).await, 2, "{trouble:?}");
        let record = other.load(sample::id(number)).await.unwrap().unwrap();
        assert_eq!(record.version, 1);
        let events = other.events(sample::id(number)).await.unwrap();
        assert_eq!(events.len(), 1, "{trouble:?}");
    }
}

#[tokio::test]
async fn an_answer_that_is_none_of_dynamodbs_says_nothing_of_what_was_done() {
    let world = World::new();
    let (store, network, other, _) = world.faulty().await;
    network.next("TransactWriteItems", [Garbage]);
    let said = told(store.commit(creation(1)).await);
    assert_eq!(said, (ErrorKind::Unavailable, Effect::Unknown));
    assert!(other.load(sample::id(1)).await.unwrap().is_some());
    network.always("GetItem", &Garbage);
    let error = store.load(sample::id(1)).await.unwrap_err();
    assert!(error.kind.is_retryable());
}

#[tokio::test]
async fn a_written_commit_is_known_by_its_mark_where_its_token_was_forgotten() {
    let world = World::new();
    let (store, network, other, _) = world.faulty().await;
    network.forget_tokens();
    network.next("TransactWriteItems", [LoseReply]);
    store.commit(creation(1)).await.unwrap();
    // Over a record, without events; and with what only the store looks at.
    let record = sample::next(&sample::creation(sample::request(1)).record, sample::at(9));
    let mut over = sample::commit([sample::update(record)]);
    over.deliveries = vec![Touch {
        take_until: Some(sample::at(30)),
        ..touch()
    }];
    network.next("TransactWriteItems", [LoseReply]);
    let taken = store.commit(over).await.unwrap();
    assert_eq!(taken.len(), 1, "and what it took is its own");
    assert_eq!(other.deliveries(sample::id(1)).await.unwrap(), taken);
    assert_eq!(other.load(sample::id(1)).await.unwrap().unwrap().version, 2);
    // Without any record: a small row.
    let row = |value: &str, expected: Option<&str>| jit_core::ports::Commit {
        rows: vec![jit_core::ports::RowChange {
            row: jit_core::ports::Row {
                table: "flag",
                key: "pause".to_owned(),
                value: value.to_owned(),
            },
            expected: expected.map(str::to_owned),
        }],
        ..jit_core::ports::Commit::default()
    };
    network.next("TransactWriteItems", [LoseReply]);
    store.commit(row("1", None)).await.unwrap();
    network.next("TransactWriteItems", [LoseReply]);
    let delivery = Delivery {
        version: taken[0].version + 1,
        ..taken[0].clone()
    };
    store.delivery_update(delivery).await.unwrap();
    let conflict = store.commit(row("2", None)).await;
    assert!(matches!(conflict, Err(CommitError::Conflict)));
}

#[tokio::test]
async fn a_written_commit_is_known_after_somebody_else_went_on_from_it() {
    let world = World::new();
    let (store, network, other, _) = world.faulty().await;
    network.forget_tokens();
    let gate = Arc::new(Notify::new());
    network.next("TransactWriteItems", [LoseReply, Wait(gate.clone())]);
    let goes_on = async {
        let record = loop {
            if let Some(record) = other.load(sample::id(1)).await.unwrap() {
                break record;
            }
        };
        let next = sample::update(sample::next(&record, sample::at(5)));
        other.commit(sample::commit([next])).await.unwrap();
        gate.notify_one();
    };
    let (written, ()) = tokio::join!(store.commit(creation(1)), goes_on);
    written.unwrap();
    assert_eq!(other.load(sample::id(1)).await.unwrap().unwrap().version, 2);
}

#[tokio::test]
async fn a_transaction_that_lands_between_two_looks_is_not_told_as_anothers() {
    let world = World::new();
    let (store, network, other, _) = world.faulty().await;
    // Its mark is not there yet when it is looked for; when all is read anew, it is.
    network.next("TransactWriteItems", [CancelAndDoLater]);
    store.commit(creation(1)).await.unwrap();
    assert_eq!(other.load(sample::id(1)).await.unwrap().unwrap().version, 1);
}

#[tokio::test]
async fn nothing_done_is_said_only_where_it_is_certain() {
    let world = World::new();
    let (store, network, _, _) = world.faulty().await;
    // One try after the other: what the last one says does not speak for the first.
    let tries: [(&[Trouble], Effect); 9] = [
        (&[THROTTLED, THROTTLED, THROTTLED], Effect::None),
        (&[LoseReply, THROTTLED, THROTTLED], Effect::Unknown),
        (&[HangReply, THROTTLED, DENIED], Effect::Unknown),
        (&[DENIED], Effect::None),
        (&[THROTTLED, DENIED], Effect::None),
        (&[LoseCall, LoseCall, LoseCall], Effect::Unknown),
        (&[Garbage, DENIED], Effect::Unknown),
        (
            &[Refuse(500, "InternalServerError", "?"), DENIED],
            Effect::Unknown,
        ),
        (
            &[
                LoseCall,
                Refuse(400, "TransactionInProgressException", "?"),
                DENIED,
            ],
            Effect::Unknown,
        ),
    ];
    for (number, (troubles, effect)) in (1..).zip(tries) {
        network.heal();
        network.next("TransactWriteItems", troubles.to_vec());
        let (_, said) = told(store.commit(creation(number)).await);
        assert_eq!(said, effect, "{troubles:?}");
        let there = store.load(sample::id(number)).await.unwrap().is_some();
        assert!(!there || said == Effect::Unknown, "{troubles:?}");
    }
}

#[tokio::test]
async fn a_commit_whose_mark_cannot_be_read_may_have_been_done() {
    let world = World::new();
    let (store, network, other, _) = world.faulty().await;
    network.forget_tokens();
    network.next("TransactWriteItems", [LoseReply]);
    network.next("GetItem", [DENIED]);
    let said = told(store.commit(creation(1)).await);
    assert_eq!(said, (ErrorKind::Forbidden, Effect::Unknown));
    assert!(other.load(sample::id(1)).await.unwrap().is_some());
}

#[tokio::test]
async fn a_lost_reply_is_one_commit_on_a_server_that_knows_no_tokens() {
    let world = World::on(moto());
    let (store, network, other, _) = world.faulty().await;
    network.next("TransactWriteItems", [LoseReply]);
    store.commit(creation(1)).await.unwrap();
    assert_eq!(sent(&network).await, 2);
    let (record, events) = other.story(sample::id(1)).await.unwrap().unwrap();
    assert_eq!((record.version, events.len()), (1, 1));
    // A commit that is another's is none of ours there either.
    let conflict = store.commit(creation(1)).await;
    assert!(matches!(conflict, Err(CommitError::Conflict)));
}

#[tokio::test]
async fn every_reason_for_a_cancelled_transaction_is_told_for_what_it_is() {
    let world = World::new();
    let (store, network, other, _) = world.faulty().await;
    // The first row of a creation is its record.
    network.next(
        "TransactWriteItems",
        [Cancel(vec!["ConditionalCheckFailed"])],
    );
    let answer = store.commit(creation(1)).await;
    assert!(matches!(answer, Err(CommitError::Conflict)), "{answer:?}");
    network.next(
        "TransactWriteItems",
        [Cancel(vec!["None", "ItemCollectionSizeLimitExceeded"])],
    );
    let answer = store.commit(creation(1)).await;
    assert!(
        matches!(answer, Err(CommitError::TooLarge { .. })),
        "{answer:?}"
    );
    for reason in ["ThrottlingError", "ProvisionedThroughputExceeded"] {
        // It says more than that somebody else was at another row.
        network.next(
            "TransactWriteItems",
            [Cancel(vec![reason, "TransactionConflict"])],
        );
        let (kind, effect) = told(store.commit(creation(1)).await);
        assert!(limited(kind) && effect == Effect::None, "{reason}");
    }
    network.next("TransactWriteItems", [Cancel(vec!["ValidationError"])]);
    let said = told(store.commit(creation(1)).await);
    assert_eq!(said, (ErrorKind::Misconfigured, Effect::None));
    network.next("TransactWriteItems", [Cancel(vec!["AccessDenied"])]);
    let said = told(store.commit(creation(1)).await);
    assert_eq!(said, (ErrorKind::Forbidden, Effect::None));
    network.next("TransactWriteItems", [Cancel(vec![])]);
    let said = told(store.commit(creation(1)).await);
    assert_eq!(said, (ErrorKind::Unavailable, Effect::None));
    assert_eq!(other.load(sample::id(1)).await.unwrap(), None);
    // Somebody else was at it and is done: it is looked at anew, and written.
    network.calls();
    network.next(
        "TransactWriteItems",
        [Cancel(vec!["None", "TransactionConflict"])],
    );
    store.commit(creation(1)).await.unwrap();
    assert_eq!(sent(&network).await, 2);
    // They never are: in the end it is a conflict, and nothing was written.
    network.always("TransactWriteItems", &Cancel(vec!["TransactionConflict"]));
    let answer = store.commit(creation(2)).await;
    assert!(matches!(answer, Err(CommitError::Conflict)), "{answer:?}");
    network.heal();
    assert_eq!(other.load(sample::id(2)).await.unwrap(), None);
}

#[tokio::test]
async fn rows_that_a_read_left_out_are_asked_for_again() {
    let world = World::new();
    let (store, network, _, _) = world.faulty().await;
    for number in 1..=9 {
        store.commit(creation(number)).await.unwrap();
    }
    let all = jit_core::ports::Query {
        limit: 100,
        ..Default::default()
    };
    network.next("BatchGetItem", [Undone(4), Undone(0), Undone(3)]);
    assert_eq!(store.query(&all).await.unwrap().len(), 9);
    network.calls();
    // Never the rest: that is an error, not a shorter list.
    network.always("BatchGetItem", &Undone(0));
    let error = store.query(&all).await.unwrap_err();
    assert!(error.kind.is_retryable());
    let asked = network.calls().len();
    assert!((3..20).contains(&asked), "asked {asked} times");
    let said = told(store.commit(creation(10)).await);
    assert!(said.0.is_retryable() && said.1 == Effect::None);
}

#[tokio::test]
async fn an_input_whose_reply_is_lost_is_new_to_who_put_it_and_seen_by_the_next() {
    let world = World::new();
    let (store, network, other, _) = world.faulty().await;
    network.forget_tokens();
    network.next("TransactWriteItems", [LoseReply]);
    let put = store.inbox_put("key", "text", sample::at(0)).await.unwrap();
    assert_eq!(put, Inbox::New);
    let put = other.inbox_put("key", "text", sample::at(0)).await.unwrap();
    assert_eq!(put, Inbox::Seen);
}

#[tokio::test]
async fn what_was_taken_while_the_reply_was_lost_is_given_to_who_took_it() {
    let world = World::new();
    let (store, network, other, _) = world.faulty().await;
    with_delivery(&store).await;
    network.next("UpdateItem", [LoseReply]);
    let (now, until) = (sample::at(100), sample::at(130));
    let taken = store.deliveries_take("slack", now, until, 9).await.unwrap();
    assert_eq!(taken.len(), 1);
    assert_eq!(other.deliveries(sample::id(1)).await.unwrap(), taken);
    let again = other.deliveries_take("slack", now, until, 9).await.unwrap();
    assert_eq!(again, []);

    store.inbox_put("key", "text", sample::at(0)).await.unwrap();
    network.next("UpdateItem", [LoseReply]);
    let taken = store.inbox_take(sample::at(60), 9).await.unwrap();
    assert_eq!(taken.len(), 1);
    assert_eq!(other.inbox_take(sample::at(60), 9).await.unwrap(), []);
}

#[tokio::test]
async fn what_was_taken_before_a_call_failed_is_given_all_the_same() {
    let world = World::new();
    let (store, network, _, _) = world.faulty().await;
    for (number, target) in (1..).zip(["C1", "C2", "C3"]) {
        let mut commit = creation(number);
        let mut touch = touch();
        touch.key.target = target.to_owned();
        touch.key.request = sample::id(number);
        commit.deliveries = vec![touch];
        store.commit(commit).await.unwrap();
        let key = number.to_string();
        store.inbox_put(&key, "text", sample::at(0)).await.unwrap();
    }
    network.next("UpdateItem", [Nothing, DENIED]);
    let (now, until) = (sample::at(100), sample::at(130));
    let taken = store.deliveries_take("slack", now, until, 9).await.unwrap();
    assert_eq!(taken.len(), 1);
    network.next("UpdateItem", [Nothing, DENIED]);
    assert_eq!(store.inbox_take(now, 9).await.unwrap().len(), 1);
    // Where nothing was, the failure is told.
    network.heal();
    network.next("UpdateItem", [DENIED]);
    let error = store.deliveries_take("slack", now, until, 9).await;
    assert_eq!(error.unwrap_err().kind, ErrorKind::Forbidden);
}

#[tokio::test]
async fn a_commit_is_not_sent_again_after_its_facts_grew_old() {
    let world = World::new();
    let (store, network, _, _) = world.faulty().await;
    // The first try is lost on the way; by the time of the next one the facts are too old.
    network.next("TransactWriteItems", [Hang]);
    let mut commit = creation(1);
    commit.good_for = Some(std::time::Duration::from_millis(600));
    let (kind, effect) = told(store.commit(commit).await);
    assert!(kind.is_retryable() && effect == Effect::Unknown);
    assert_eq!(sent(&network).await, 1);
    assert_eq!(store.load(sample::id(1)).await.unwrap(), None);
    // It took too long to look: nothing is sent at all.
    network.next("BatchGetItem", [Hang]);
    let mut commit = creation(1);
    commit.good_for = Some(std::time::Duration::from_millis(100));
    let answer = store.commit(commit).await;
    assert!(matches!(answer, Err(CommitError::Conflict)), "{answer:?}");
    assert_eq!(sent(&network).await, 0);
}

#[tokio::test]
async fn refusals_are_told_in_the_words_of_aws() {
    let world = World::new();
    let (store, network, _, _) = world.faulty().await;
    let refusals = [
        (
            "ExpiredTokenException",
            "The security token included in the request is expired",
        ),
        (
            "InvalidSignatureException",
            "Signature expired: 20261126T054641Z is now earlier than 20261126T055141Z",
        ),
        (
            "UnrecognizedClientException",
            "The security token included in the request is invalid.",
        ),
        (
            "AccessDeniedException",
            "User: arn:aws:iam::1:user/u is not authorized to perform: dynamodb:GetItem",
        ),
    ];
    for (code, words) in refusals {
        network.next("GetItem", [Refuse(400, code, words)]);
        let error = store.load(sample::id(1)).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Forbidden, "{code}");
        let cause = std::error::Error::source(&error).unwrap().to_string();
        assert!(cause.contains(words) && cause.contains(code), "{cause}");
        assert!(
            cause.contains("REQUEST"),
            "support asks for the request's id: {cause}"
        );
    }
}
