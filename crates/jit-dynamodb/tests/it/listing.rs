//! What queries read: as many calls as what they find wants, and not as what exists.

use std::collections::BTreeMap;

use jit_core::ports::{Query, RequestStore};
use jit_core::request::{AccessRequest, RequestId, Status};
use jit_dynamodb::DynamoStore;
use jit_testkit::sample;

use crate::world::World;

const AGENT: &str = "agent:ci";
const ADMINS: &str = "groupfile/admins";
const DATABASE: &str = "vault/db";
const OPEN: [Status; 5] = [
    Status::Pending,
    Status::Approved,
    Status::Provisioning,
    Status::Active,
    Status::Revoking,
];
const GIVEN: [Status; 4] = [
    Status::Active,
    Status::Revoking,
    Status::Settling,
    Status::Closed,
];

/// The agent and Ana take turns, 150 requests each: the agent's are for one thing or another and
/// now and then for the database as well, Ana's are for the database. Nearly all are over.
fn record(number: u16) -> AccessRequest {
    let status = match number {
        20 | 50 | 170 => Status::Active,
        _ => Status::Closed,
    };
    let mut request = sample::request_in(number, status);
    if (number / 150).is_multiple_of(2) {
        request.requester = AGENT.parse().unwrap();
        request.beneficiary = AGENT.parse().unwrap();
        let one = [ADMINS, "groupfile/ops"][usize::from(number % 2)];
        request.parts = match number % 97 {
            0 => sample::parts(&[one, DATABASE]),
            _ => sample::parts(&[one]),
        };
    } else {
        request.parts = sample::parts(&[DATABASE]);
    }
    request
}

async fn filled(world: &World, records: u16) -> DynamoStore {
    let store = world.store().await;
    let numbers: Vec<u16> = (0..records).collect();
    for numbers in numbers.chunks(8) {
        let changes = numbers
            .iter()
            .map(|number| sample::creation(record(*number)));
        store.commit(sample::commit(changes)).await.unwrap();
    }
    store
}

fn asked(person: Option<&str>, thing: Option<&str>, statuses: &[Status], limit: usize) -> Query {
    Query {
        principal: person.map(|name| name.parse().unwrap()),
        entitlement: thing.map(|name| name.parse().unwrap()),
        statuses: statuses.to_vec(),
        limit,
        ..Query::default()
    }
}

/// How many are found, and in how many calls.
async fn looked(store: &DynamoStore, query: &Query) -> (usize, BTreeMap<&'static str, u64>) {
    let before = store.usage().calls;
    let found = store.query(query).await.unwrap().len();
    let mut calls = store.usage().calls;
    for (call, count) in &mut calls {
        *count -= before.get(call).copied().unwrap_or_default();
    }
    calls.retain(|_, count| *count > 0);
    (found, calls)
}

fn calls(queries: u64, batches: u64) -> BTreeMap<&'static str, u64> {
    let calls = [("Query", queries), ("BatchGetItem", batches)];
    calls.into_iter().filter(|(_, count)| *count > 0).collect()
}

#[tokio::test]
async fn what_is_asked_at_each_request_and_for_each_card_costs_no_call_more_with_a_long_history() {
    let world = World::new();
    let newcomer = Some("newcomer@example.com");
    let questions = [
        // What the agent has open, who has it now, whether a newcomer had it, what is open at all.
        (asked(Some(AGENT), None, &OPEN, 5), 2, calls(2, 1)),
        (asked(None, Some(ADMINS), &OPEN, 1_000), 2, calls(2, 1)),
        (asked(Some(AGENT), Some(ADMINS), &OPEN, 40), 2, calls(3, 1)),
        (asked(newcomer, Some(ADMINS), &GIVEN, 40), 0, calls(2, 0)),
        (asked(None, None, &OPEN, 40), 3, calls(1, 1)),
        // Who had it.
        (asked(None, Some(ADMINS), &GIVEN, 40), 40, calls(1, 1)),
    ];
    for records in [400, 1_200] {
        let store = filled(&world, records).await;
        for (query, found, calls) in &questions {
            let looked = looked(&store, query).await;
            assert_eq!(looked, (*found, calls.clone()), "{records}: {query:?}");
        }
    }
}

#[tokio::test]
async fn of_two_long_lists_only_what_stands_in_both_is_read() {
    let world = World::new();
    let store = filled(&world, 1_200).await;
    let both = asked(Some(AGENT), Some(DATABASE), &GIVEN, 40);
    let (found, calls) = looked(&store, &both).await;
    let wanted = (0..1_200_u16).rev().filter(|number| {
        let request = record(*number);
        request.requester.as_str() == AGENT && request.parts.iter().count() == 2
    });
    let wanted: Vec<RequestId> = wanted.map(sample::id).collect();
    assert_eq!(found, wanted.len());
    assert_eq!(calls["BatchGetItem"], 1, "{calls:?}");
    assert!(calls["Query"] <= 12, "{calls:?}");
    let often = asked(Some(AGENT), Some(ADMINS), &GIVEN, 40);
    let (found, calls) = looked(&store, &often).await;
    assert_eq!((found, calls["BatchGetItem"]), (40, 1), "{calls:?}");
    assert!(calls["Query"] <= 4, "{calls:?}");
    // The same page by page.
    let (mut pages, mut after) = (vec![], None);
    loop {
        let page = Query {
            after,
            limit: 2,
            ..both.clone()
        };
        let page = store.query(&page).await.unwrap();
        let Some(last) = page.last() else { break };
        after = Some(last.id);
        pages.extend(page.iter().map(|request| request.id));
    }
    assert_eq!(pages, wanted);
}

#[tokio::test]
async fn what_finds_nothing_in_a_long_list_is_asked_in_few_calls() {
    let world = World::new();
    let store = filled(&world, 1_200).await;
    let denied = asked(Some(AGENT), None, &[Status::Denied], 5);
    let (found, calls) = looked(&store, &denied).await;
    let all: u64 = calls.values().sum();
    assert_eq!(found, 0);
    assert!(all <= 25, "six hundred records in {calls:?}");
}
