//! Once around on a real table, for whoever has one: nothing of it runs unless it is asked for. The
//! gate goes the same way on the server that the other tests use.

use jit_core::audit::verify_chain;
use jit_core::ports::{
    CommitError, DeliveryKey, Inbox, Query, RequestStore, SlotChange, Touch, Wake,
};
use jit_core::request::{RequestId, Slot, Status};
use jit_dynamodb::{DynamoStore, Settings};
use jit_testkit::sample;

use crate::world::World;

const ASKED_FOR: &str = "JIT_LIVE_AWS";
const NEEDED: [&str; 2] = ["JIT_LIVE_AWS_REGION", "JIT_LIVE_AWS_TABLE"];

#[expect(
    clippy::disallowed_methods,
    reason = "nobody configures a test that calls a real AWS"
)]
fn said(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|it| !it.is_empty())
}

/// Ids of this run alone: a real table is kept from run to run.
fn fresh(number: u8) -> RequestId {
    let random = uuid::Uuid::new_v4().into_bytes();
    let mut bytes = [number; 10];
    for (byte, random) in bytes.iter_mut().skip(1).zip(random) {
        *byte = random;
    }
    RequestId::new(sample::start(), bytes)
}

async fn once_around(store: &DynamoStore) {
    let mut request = sample::request_in(1, Status::Active);
    request.id = fresh(1);
    request.chain = jit_core::audit::ChainHead::start(&request.id.to_string());
    let input = format!("live/{}", request.id);
    let put = store.inbox_put(&input, "text", sample::at(1)).await;
    assert_eq!(put.unwrap(), Inbox::New);
    let mut change = sample::creation(request.clone());
    change.wake = Some(Wake {
        revoke_at: Some(sample::at(2)),
        ..sample::wake(sample::at(2))
    });
    let key = DeliveryKey {
        request: request.id,
        notifier: format!("live-{}", request.id),
        target: "C1".to_owned(),
    };
    let mut commit = sample::commit([change.clone()]);
    commit.inbox_done = Some(input.clone());
    commit.deliveries = vec![Touch {
        key,
        take_until: Some(sample::at(60)),
    }];
    assert_eq!(store.commit(commit).await.unwrap().len(), 1);
    let again = store.commit(sample::commit([change])).await;
    assert!(matches!(again, Err(CommitError::Conflict)), "{again:?}");
    let (read, chain) = store.story(request.id).await.unwrap().unwrap();
    assert_eq!(
        verify_chain(&read.id.to_string(), &chain).unwrap(),
        read.chain
    );
    let due = store.due(sample::at(3), 1_000).await.unwrap();
    assert!(due.iter().any(|due| due.id == request.id));
    let of_ana = Query {
        principal: Some(request.requester.clone()),
        limit: 1_000,
        ..Query::default()
    };
    let found = store.query(&of_ana).await.unwrap();
    assert!(found.iter().any(|it| it.id == request.id));
    // It is closed, so that nothing of it is due for whoever uses the table.
    let mut closed = sample::request_in(1, Status::Closed);
    closed.id = request.id;
    closed.chain = read.chain;
    closed.version = 2;
    let slot = SlotChange {
        slot: Slot {
            key: jit_core::provider::Target::new("live", "ana".parse().unwrap(), input)
                .slot_key(&Default::default()),
            owner: request.id,
        },
        expected: None,
    };
    let mut commit = sample::commit([sample::update(closed)]);
    commit.slots = vec![slot.clone()];
    store.commit(commit).await.unwrap();
    let due = store.due(sample::at(3), 1_000).await.unwrap();
    assert!(due.iter().all(|due| due.id != request.id));
    let owner = store.slot(&slot.slot.key).await.unwrap();
    assert_eq!(owner, Some(slot.slot));
}

#[tokio::test]
async fn the_way_on_a_real_table_is_gone_on_a_server_of_this_machine() {
    once_around(&World::new().store().await).await;
}

#[tokio::test]
async fn a_real_table_is_gone_around_once_where_it_is_asked_for() {
    if said(ASKED_FOR).as_deref() != Some("1") {
        eprintln!("SKIPPED: no real AWS was called; set {ASKED_FOR}=1 and {NEEDED:?} to call one");
        return;
    }
    let unsaid = |name| panic!("{ASKED_FOR} is set, and {name} is not");
    let [region, table] = NEEDED.map(|name| said(name).unwrap_or_else(|| unsaid(name)));
    let settings = Settings {
        table,
        region: Some(region),
        endpoint: None,
    };
    once_around(&DynamoStore::connect(&settings).await.unwrap()).await;
}
