//! Tables that are not a store, or not now, and a table that goes away: each a sentence that says
//! what to do, and nothing changed.

use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::time::Duration;

use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType,
};
use jit_core::ports::{CommitError, Delivery, DeliveryKey, Effect, ErrorKind, Query, RequestStore};
use jit_dynamodb::{DynamoStore, OpenError, Settings, create_table};
use jit_testkit::sample;
use serde_json::json;

use crate::faulty::Faulty;
use crate::faulty::Trouble::{Answer, Hang, Refuse};
use crate::world::{Item, World, text};

async fn raw_table(world: &World, name: &str, keys: [(&str, ScalarAttributeType); 2]) {
    let mut create = world.client().create_table().table_name(name);
    for ((attribute, kind), role) in keys.into_iter().zip([KeyType::Hash, KeyType::Range]) {
        let defined = AttributeDefinition::builder();
        let defined = defined.attribute_name(attribute).attribute_type(kind);
        let key = KeySchemaElement::builder().attribute_name(attribute);
        create = create
            .attribute_definitions(defined.build().unwrap())
            .key_schema(key.key_type(role).build().unwrap());
    }
    let create = create.billing_mode(BillingMode::PayPerRequest);
    create.send().await.unwrap();
    for _ in 0..100 {
        let described = world
            .client()
            .describe_table()
            .table_name(name)
            .send()
            .await;
        let status = described.unwrap().table.unwrap().table_status.unwrap();
        if status.as_str() == "ACTIVE" {
            return;
        }
        tokio::task::yield_now().await;
    }
}

const OURS: [(&str, ScalarAttributeType); 2] = [
    ("pk", ScalarAttributeType::S),
    ("sk", ScalarAttributeType::S),
];

/// An error and all its causes.
fn story(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    let causes: Vec<String> = causes.map(ToString::to_string).collect();
    causes.join(": ")
}

async fn refused(world: &World, table: &str) -> (OpenError, String) {
    let error = DynamoStore::open(world.client(), table).await.unwrap_err();
    let text = story(&error);
    assert!(text.contains(table), "{text}");
    (error, text)
}

#[tokio::test]
async fn a_table_that_does_not_exist_is_told_with_what_makes_it() {
    let world = World::new();
    let (error, text) = refused(&world, "nowhere").await;
    assert!(matches!(error, OpenError::Missing { .. }));
    assert!(
        text.contains("create-table") && text.contains("eu-central-1"),
        "{text}"
    );
}

#[tokio::test]
async fn a_table_of_other_keys_is_left_as_it_is() {
    let world = World::new();
    let others = [
        [
            ("id", ScalarAttributeType::S),
            ("at", ScalarAttributeType::S),
        ],
        [
            ("pk", ScalarAttributeType::S),
            ("sk", ScalarAttributeType::N),
        ],
        [
            ("sk", ScalarAttributeType::S),
            ("pk", ScalarAttributeType::S),
        ],
    ];
    for (number, keys) in others.into_iter().enumerate() {
        let name = format!("other-{number}");
        raw_table(&world, &name, keys).await;
        let (error, text) = refused(&world, &name).await;
        assert!(matches!(error, OpenError::OtherKeys { .. }), "{text}");
        let made = create_table(&world.client(), &name).await;
        assert!(matches!(made, Err(OpenError::OtherKeys { .. })));
        assert!(world.scan(&name).await.is_empty());
    }
}

#[tokio::test]
async fn a_table_with_rows_of_another_program_is_left_as_it_is() {
    let world = World::new();
    raw_table(&world, "theirs", OURS).await;
    let row = Item::from([
        ("pk".into(), text("user#1")),
        ("sk".into(), text("profile")),
    ]);
    world.put("theirs", row).await;
    let network = Faulty::new();
    let client = world.faulty_client(&network);
    for made in [
        DynamoStore::open(client.clone(), "theirs").await.map(drop),
        create_table(&client, "theirs").await,
    ] {
        let error = made.unwrap_err();
        assert!(matches!(error, OpenError::Foreign { .. }), "{error:?}");
        assert!(story(&error).contains("another program"));
    }
    let calls = network.calls();
    let reads = ["DescribeTable", "GetItem", "Scan"];
    assert!(
        calls.iter().all(|call| reads.contains(&call.as_str())),
        "{calls:?}"
    );
    assert_eq!(world.scan("theirs").await.len(), 1);
}

#[tokio::test]
async fn a_table_of_a_later_release_is_left_as_it_is() {
    let world = World::new();
    let table = world.table().await;
    let form = aws_sdk_dynamodb::types::AttributeValue::N("2".to_owned());
    let marker = Item::from([
        ("pk".into(), text("store")),
        ("sk".into(), text("marker")),
        ("application".into(), text("jit-access")),
        ("form".into(), form),
    ]);
    world.put(&table, marker.clone()).await;
    let (error, text) = refused(&world, &table).await;
    assert!(matches!(
        error,
        OpenError::Newer {
            found: 2,
            known: 1,
            ..
        }
    ));
    assert!(text.contains("finish the upgrade"), "{text}");
    assert_eq!(world.scan(&table).await, [marker]);
}

#[tokio::test]
async fn a_table_that_is_not_ready_is_told_with_its_status() {
    let world = World::new();
    let network = Faulty::new();
    let table = world.table().await;
    for status in [
        "CREATING",
        "DELETING",
        "INACCESSIBLE_ENCRYPTION_CREDENTIALS",
    ] {
        let body = json!({"Table": {"TableName": table, "TableStatus": status}});
        let no_rows = Refuse(
            400,
            "ResourceNotFoundException",
            "it has no rows to read yet",
        );
        network.next("GetItem", [no_rows]);
        network.next("DescribeTable", [Answer(body)]);
        let error = DynamoStore::open(world.faulty_client(&network), &table).await;
        let error = error.unwrap_err();
        assert!(matches!(error, OpenError::NotReady { .. }));
        assert!(story(&error).contains(status));
    }
}

#[tokio::test]
async fn backups_that_a_new_table_cannot_have_yet_are_asked_for_again() {
    let world = World::new();
    let network = Faulty::new();
    let not_yet = Refuse(
        400,
        "ContinuousBackupsUnavailableException",
        "Backups are being enabled for the table. Please retry later",
    );
    network.next("UpdateContinuousBackups", [not_yet]);
    create_table(&world.faulty_client(&network), "new")
        .await
        .unwrap();
    let calls = network.calls();
    let asked = calls.iter().filter(|it| *it == "UpdateContinuousBackups");
    assert_eq!(asked.count(), 2);
}

#[tokio::test]
async fn expiry_that_is_on_stays_on_and_another_attribute_is_told() {
    let world = World::new();
    let network = Faulty::new();
    let client = world.faulty_client(&network);
    let on = "TimeToLive is already enabled";
    network.next("UpdateTimeToLive", [Refuse(400, "ValidationException", on)]);
    create_table(&client, "ours").await.unwrap();
    let other = "TimeToLive is active on a different AttributeName: current AttributeName is ttl";
    network.next(
        "UpdateTimeToLive",
        [Refuse(400, "ValidationException", other)],
    );
    let error = create_table(&client, "ours").await.unwrap_err();
    assert!(story(&error).contains(other), "{}", story(&error));
}

#[tokio::test]
async fn a_refusal_of_aws_names_the_action_that_is_not_allowed() {
    let world = World::new();
    let table = world.table().await;
    for (call, action) in [
        (
            "DescribeTable",
            "not authorized to perform: dynamodb:DescribeTable",
        ),
        ("GetItem", "not authorized to perform: dynamodb:GetItem"),
    ] {
        let network = Faulty::new();
        let refused = || Refuse(400, "AccessDeniedException", action);
        network.next("GetItem", [refused(), refused()]);
        network.next(call, [refused()]);
        let error = DynamoStore::open(world.faulty_client(&network), &table).await;
        let error = error.unwrap_err();
        assert!(matches!(error, OpenError::Unreachable { .. }));
        assert!(story(&error).contains(action), "{}", story(&error));
        let error = jit_core::ports::PortError::from(error);
        assert_eq!(
            (error.kind, error.effect),
            (ErrorKind::Forbidden, Effect::None)
        );
    }
}

#[tokio::test]
async fn a_table_that_is_lost_is_a_failure_and_never_a_request_that_is_unknown() {
    let world = World::new();
    let (store, _, _, table) = world.faulty().await;
    let change = sample::creation(sample::request(1));
    store
        .commit(sample::commit([change.clone()]))
        .await
        .unwrap();
    let client = world.client();
    let unprotected = client.update_table().table_name(&table);
    let unprotected = unprotected.deletion_protection_enabled(false).send().await;
    unprotected.unwrap();
    client
        .delete_table()
        .table_name(&table)
        .send()
        .await
        .unwrap();
    let id = sample::id(1);
    let all = Query {
        limit: 9,
        ..Query::default()
    };
    let failures = [
        store.load(id).await.map(drop),
        store.story(id).await.map(drop),
        store.events(id).await.map(drop),
        store.due(sample::at(9), 9).await.map(drop),
        store.query(&all).await.map(drop),
        store.row("flag", "pause").await.map(drop),
        store.rows("token").await.map(drop),
        store.system_head().await.map(drop),
        store.idempotency("key").await.map(drop),
        store
            .inbox_put("key", "text", sample::at(0))
            .await
            .map(drop),
        store.inbox_done("key").await,
        store.check().await.map(drop),
    ];
    for (place, failure) in failures.into_iter().enumerate() {
        let error = failure.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Misconfigured, "call number {place}");
    }
    match store.commit(sample::commit([change])).await {
        Err(CommitError::Port(error)) => assert_eq!(error.kind, ErrorKind::Misconfigured),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn every_call_ends_where_dynamodb_hangs() {
    let world = World::new();
    let (store, network, _, _) = world.faulty().await;
    network.always("*", &Hang);
    let (id, at) = (sample::id(1), sample::at(9));
    let all = Query {
        limit: 9,
        ..Query::default()
    };
    let slot = sample::part("groupfile/admins").slot_key();
    let slack = ["slack".to_owned()];
    let began = tokio::time::Instant::now();
    let commit = async {
        let commit = sample::commit([sample::creation(sample::request(1))]);
        match store.commit(commit).await {
            Err(CommitError::Port(error)) => Err(error),
            other => panic!("{other:?}"),
        }
    };
    let update = async {
        let delivery = Delivery {
            key: DeliveryKey {
                request: id,
                notifier: "slack".to_owned(),
                target: "C1".to_owned(),
            },
            version: 1,
            message: None,
            shown_seq: 0,
            attempts: 0,
            deliver_at: None,
            taken_until: None,
        };
        match store.delivery_update(delivery).await {
            Err(CommitError::Port(error)) => Err(error),
            other => panic!("{other:?}"),
        }
    };
    let reads = async {
        tokio::join!(
            async { store.load(id).await.map(drop) },
            async { store.story(id).await.map(drop) },
            async { store.slot(&slot).await.map(drop) },
            async { store.due(at, 9).await.map(drop) },
            async { store.newest_commit().await.map(drop) },
            async { store.deliveries_due(&slack, at, 9).await.map(drop) },
            async { store.deliveries(id).await.map(drop) },
            async { store.events(id).await.map(drop) },
            async { store.system_events(0, 9).await.map(drop) },
            async { store.system_head().await.map(drop) },
            async { store.query(&all).await.map(drop) },
            async { store.by_suffix("abcdef").await.map(drop) },
            async { store.chains(None, 9).await.map(drop) },
            async { store.idempotency("key").await.map(drop) },
            async { store.row("flag", "pause").await.map(drop) },
            async { store.rows("flag").await.map(drop) },
        )
    };
    let writes = async {
        tokio::join!(
            commit,
            update,
            async { store.deliveries_take("slack", at, at, 9).await.map(drop) },
            async { store.inbox_put("key", "text", at).await.map(drop) },
            async { store.inbox_take(at, 9).await.map(drop) },
            async { store.inbox_done("key").await },
            async { store.check().await.map(drop) },
        )
    };
    let (reads, writes) = tokio::join!(reads, writes);
    let (a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p) = reads;
    let (q, r, s, t, u, v, w) = writes;
    let all = [
        a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r, s, t, u, v, w,
    ];
    for (place, answer) in all.into_iter().enumerate() {
        let error = answer.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Unavailable, "call number {place}");
    }
    // The limit of a call with all its tries is 2 s here.
    let took = began.elapsed();
    assert!(took < Duration::from_secs(4), "{took:?}");
}

const HANGING: &str = "JIT_DYNAMO_TEST_HANGS_AT";

/// The client that the daemon uses, with the credentials of an environment, so in a process of its
/// own.
#[test]
fn a_call_ends_within_its_deadline_where_dynamodb_hangs() {
    let silent = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    let child = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "opening::a_child_asks_a_server_that_hangs",
            "--nocapture",
        ])
        .env(HANGING, url)
        .env("AWS_ACCESS_KEY_ID", "test")
        .env("AWS_SECRET_ACCESS_KEY", "test")
        .stdout(Stdio::piped())
        .output()
        .unwrap();
    let said = String::from_utf8(child.stdout).unwrap();
    assert!(said.contains("ended in time"), "{said}");
}

#[tokio::test]
#[expect(
    clippy::print_stdout,
    reason = "a child talks to the test that started it"
)]
async fn a_child_asks_a_server_that_hangs() {
    let endpoint = std::env::var_os(HANGING).and_then(|it| it.into_string().ok());
    let Some(endpoint) = endpoint else {
        return;
    };
    let settings = Settings {
        table: "jit".to_owned(),
        region: Some("eu-central-1".to_owned()),
        endpoint: Some(endpoint),
    };
    let began = tokio::time::Instant::now();
    let error = DynamoStore::connect(&settings).await.unwrap_err();
    assert!(matches!(error, OpenError::Unreachable { .. }), "{error:?}");
    let took = began.elapsed();
    assert!(took < Duration::from_secs(6), "{took:?}");
    println!("ended in time");
}

/// What describes tables may be away, or not allowed; a process that revokes starts all the same.
#[tokio::test]
async fn a_table_that_is_marked_is_opened_though_nothing_describes_it() {
    let world = World::new();
    let (network, table) = (Faulty::new(), world.table().await);
    let away = Refuse(500, "InternalServerError", "the control plane is away");
    network.next("DescribeTable", [away]);
    let opened = DynamoStore::open(world.faulty_client(&network), &table).await;
    assert!(opened.is_ok(), "{opened:?}");
    assert_eq!(network.calls(), ["GetItem"]);
}
