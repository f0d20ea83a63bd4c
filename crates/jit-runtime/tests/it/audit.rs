//! The proof of the audit: whatever somebody with the file open does to it is found.

use jit_runtime::operate::{
    AuditVerb, Form, Format, OperateError, Operation, Outcome, PolicyVerb, TokenVerb, VerifyArgs,
};
use rusqlite::Connection;
use serde_json::Value;

use crate::house::House;

/// An installation with one request that was asked for and denied, two events in its chain, and a
/// checkpoint that saw them. Nothing runs on it.
async fn with_a_story() -> (House, String) {
    let house = House::new();
    let daemon = house.daemon().await;
    let (ana, bob) = house.callers(&daemon).await;
    let id = ana.asked("1h").await;
    let (status, denied) = bob.decide(&id, "deny").await;
    assert_eq!(status, 200, "{denied}");
    // A daemon that stops leaves a checkpoint behind.
    daemon.stop().await;
    (house, id)
}

/// What somebody who has the file does to it, past the triggers that keep honest programs out.
fn tamper(house: &House, statements: &str) {
    let file = Connection::open(house.file("jit.db")).unwrap();
    let triggers = "DROP TRIGGER IF EXISTS event_stays; DROP TRIGGER IF EXISTS event_remains;";
    file.execute_batch(triggers).unwrap();
    file.execute_batch(statements).unwrap();
}

async fn verified(house: &House) -> (Outcome, Vec<String>) {
    let (outcome, report) = house
        .operate(Operation::Audit(AuditVerb::Verify(VerifyArgs::default())))
        .await;
    let problems = report["problems"].as_array().unwrap();
    let problems = problems.iter().map(|it| it.as_str().unwrap().to_owned());
    (outcome, problems.collect())
}

#[tokio::test]
async fn an_audit_that_nobody_touched_is_verified() {
    let (house, _) = with_a_story().await;
    assert_eq!(verified(&house).await, (Outcome::Well, vec![]));
    let text = house
        .operate_in(
            Form::Text,
            Operation::Audit(AuditVerb::Verify(VerifyArgs::default())),
        )
        .await;
    assert!(text.unwrap().1.starts_with("audit verified: "));
}

#[tokio::test]
async fn every_way_to_tamper_with_the_audit_is_found() {
    let rows = [
        (
            "an event is edited",
            "UPDATE event SET body = replace(body, 'the disk is full', 'nothing at all')
             WHERE chain = '{id}' AND seq = 1",
            "event 1 was changed",
        ),
        (
            "an event is edited with its hash",
            "UPDATE event SET body = replace(body, 'bob@', 'eve@'), hash = '{other}'
             WHERE chain = '{id}' AND seq = 2",
            "event 2 was changed",
        ),
        (
            "an event is deleted from the middle",
            "DELETE FROM event WHERE chain = '{id}' AND seq = 1",
            "event 1 is missing",
        ),
        (
            "the end of a chain is cut off",
            "DELETE FROM event WHERE chain = '{id}' AND seq = 2",
            "req-",
        ),
        (
            "two events change places",
            "UPDATE event SET seq = 99 WHERE chain = '{id}' AND seq = 1;
             UPDATE event SET seq = 1 WHERE chain = '{id}' AND seq = 2;
             UPDATE event SET seq = 2 WHERE chain = '{id}' AND seq = 99",
            "req-",
        ),
        (
            "the record says something else than its events",
            "UPDATE request SET body = replace(body, 'the disk is full', 'nothing at all')",
            "what was asked",
        ),
        (
            "a record goes",
            "DELETE FROM request WHERE id = '{id}'",
            "events without a record",
        ),
        (
            "a record is moved to another name",
            "UPDATE request SET id = 'req-00000000000000000000000000' WHERE id = '{id}'",
            "events without a record",
        ),
        (
            "a request goes with all its events",
            "DELETE FROM request WHERE id = '{id}'; DELETE FROM event WHERE chain = '{id}'",
            "was there at a checkpoint",
        ),
        (
            "the system chain is edited",
            "UPDATE event SET body = replace(body, 'ana@', 'eve@')
             WHERE chain = 'system' AND seq = 2",
            "chain system: event 2 was changed",
        ),
        (
            "the system chain is cut",
            "DELETE FROM event WHERE chain = 'system' AND seq =
             (SELECT max(seq) FROM event WHERE chain = 'system')",
            "system",
        ),
        (
            "an event is put in under a number that none has",
            "INSERT INTO event SELECT chain, -7, at, body, hash FROM event
             WHERE chain = '{id}' AND seq = 2",
            "event 1 is missing, 0 stands in its place",
        ),
        (
            "the same in the system chain",
            "INSERT INTO event SELECT chain, 0, at, body, hash FROM event
             WHERE chain = 'system' AND seq = 2",
            "chain system: event 1 is missing, 0 stands in its place",
        ),
        (
            "an event moves to another chain",
            "UPDATE event SET chain = 'system', seq = 99 WHERE chain = '{id}' AND seq = 2",
            "chain system",
        ),
    ];
    for (what, statements, found) in rows {
        let (house, id) = with_a_story().await;
        let statements = statements.replace("{id}", &id);
        tamper(&house, &statements.replace("{other}", &"0".repeat(64)));
        let (outcome, problems) = verified(&house).await;
        assert_eq!(outcome, Outcome::Wrong, "{what}");
        let told = problems.iter().any(|problem| problem.contains(found));
        assert!(told, "{what}: {problems:?}");
    }
}

/// More of them than a page holds hide nothing from an export, which says that something is wrong.
#[tokio::test]
async fn events_under_numbers_that_none_has_take_nobodys_place_in_an_export() {
    let (house, _) = with_a_story().await;
    let all = || {
        Operation::Audit(AuditVerb::Export {
            format: Format::Jsonl,
            from: None,
            until: None,
        })
    };
    let (outcome, before) = house.operate_in(Form::Text, all()).await.unwrap();
    assert_eq!(outcome, Outcome::Well);
    tamper(
        &house,
        "WITH RECURSIVE n(x) AS (SELECT 0 UNION ALL SELECT x + 1 FROM n WHERE x < 599)
         INSERT INTO event SELECT chain, -x, at, body, hash FROM event, n
         WHERE chain = 'system' AND seq = 1",
    );
    let (outcome, told) = house.operate_in(Form::Text, all()).await.unwrap();
    assert_eq!(outcome, Outcome::Wrong);
    assert_eq!(told.lines().count(), before.lines().count() + 600);
    for line in before.lines() {
        assert!(told.contains(line), "{line} is hidden");
    }
}

#[tokio::test]
async fn a_system_chain_that_is_written_anew_with_good_hashes_is_found() {
    let (house, _) = with_a_story().await;
    tamper(&house, "");
    let file = Connection::open(house.file("jit.db")).unwrap();
    let last = "SELECT seq, body FROM event WHERE chain = 'system' ORDER BY seq DESC LIMIT 1";
    let read = |row: &rusqlite::Row<'_>| Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?));
    let (seq, body) = file.query_row(last, [], read).unwrap();
    let anew = body.replace(r#"{"actor":"system"}"#, r#"{"actor":"operator"}"#);
    assert_ne!(body, anew, "{body}");
    let hash = jit_core::digest::Digest::of(anew.as_bytes()).to_string();
    let changed = "UPDATE event SET body = ?1, hash = ?2 WHERE chain = 'system' AND seq = ?3";
    let params = rusqlite::params![anew, hash, seq];
    assert_eq!(file.execute(changed, params).unwrap(), 1);
    let (outcome, problems) = verified(&house).await;
    assert_eq!(outcome, Outcome::Wrong);
    assert!(
        problems.iter().any(|it| it.contains("its head")),
        "{problems:?}"
    );
}

#[tokio::test]
async fn an_event_that_somebody_adds_behind_the_head_is_found() {
    let (house, _) = with_a_story().await;
    let file = Connection::open(house.file("jit.db")).unwrap();
    let last = "SELECT seq, body, hash, at FROM event WHERE chain = 'system' ORDER BY seq DESC";
    let read = |row: &rusqlite::Row<'_>| {
        let (seq, body) = (row.get::<_, i64>(0)?, row.get::<_, String>(1)?);
        Ok((seq, body, row.get::<_, String>(2)?, row.get::<_, i64>(3)?))
    };
    let (seq, body, hash, at) = file.query_row(last, [], read).unwrap();
    let mut more: Value = serde_json::from_str(&body).unwrap();
    (more["seq"], more["prev"]) = ((seq + 1).into(), hash.into());
    // In the order in which such a body is written.
    let seq_then = format!("\"seq\":{seq}");
    let text = body.replace(&seq_then, &format!("\"seq\":{}", seq + 1));
    let (start, _) = text.rsplit_once("\"prev\":").unwrap();
    let text = format!("{start}\"prev\":{}}}", more["prev"]);
    let hash = jit_core::digest::Digest::of(text.as_bytes()).to_string();
    let added = "INSERT INTO event (chain, seq, at, body, hash) VALUES ('system', ?1, ?2, ?3, ?4)";
    file.execute(added, rusqlite::params![seq + 1, at, text, hash])
        .unwrap();
    let (outcome, problems) = verified(&house).await;
    assert_eq!(outcome, Outcome::Wrong);
    assert!(
        problems.iter().any(|it| it.contains("its head")),
        "{problems:?}"
    );
}

fn export(format: Format, from: Option<&str>, until: Option<&str>) -> Operation {
    let instant = |text: Option<&str>| text.map(|text| text.parse().unwrap());
    let (from, until) = (instant(from), instant(until));
    Operation::Audit(AuditVerb::Export {
        format,
        from,
        until,
    })
}

/// What is said of this text in the place of an export, beside an earlier one where there is one.
async fn export_verified(house: &House, text: &str, earlier: Option<&str>) -> (Outcome, Value) {
    let written = |name: &str, text: &str| {
        let file = house.file(name);
        std::fs::write(&file, text).unwrap();
        file
    };
    let args = VerifyArgs {
        export: Some(written("now.jsonl", text)),
        against: earlier.map(|text| written("then.jsonl", text)),
    };
    house
        .operate(Operation::Audit(AuditVerb::Verify(args)))
        .await
}

#[tokio::test]
async fn an_export_proves_itself_and_an_earlier_one_proves_more() {
    let (house, id) = with_a_story().await;
    let export = || house.operate_in(Form::Text, export(Format::Jsonl, None, None));
    let (_, whole) = export().await.unwrap();
    let (outcome, said) = export_verified(&house, &whole, None).await;
    assert_eq!(outcome, Outcome::Well, "{said}");
    assert_eq!(said["events"], whole.lines().count());
    let remark = said["remarks"][0].as_str().unwrap();
    assert!(
        remark.contains("after its last checkpoint, at 20"),
        "{remark}"
    );

    let lines: Vec<&str> = whole.lines().collect();
    let of_it = |line: &str| line.contains(&format!("\"chain\":\"{id}\",\"hash\""));
    let is_second = |line: &str| of_it(line) && line.contains("\"seq\":2,\"event\":");
    let second = lines.iter().position(|it| is_second(it)).unwrap();
    let without = |place: usize| [&lines[..place], &lines[place + 1..]].concat().join("\n");
    let edited = whole.replace("the disk is full", "nothing at all");
    let no_chain: Vec<&str> = { lines.iter().copied() }.filter(|it| !of_it(it)).collect();
    // A checkpoint in it saw the request, so that no earlier export is needed.
    for (text, found) in [
        (edited, "event 1 was changed"),
        (without(second - 1), "event 1"),
        (without(second), "event 2 was there at a checkpoint"),
        (no_chain.join("\n"), "event 2 was there at a checkpoint"),
    ] {
        let (outcome, said) = export_verified(&house, &text, None).await;
        assert_eq!(outcome, Outcome::Wrong, "{found}: {said}");
        assert!(
            said["problems"][0].as_str().unwrap().contains(found),
            "{said}"
        );
    }

    // What came last of the system is missed only by an earlier export.
    let last = lines.len() - 1;
    let (outcome, said) = export_verified(&house, &without(last), None).await;
    assert_eq!(outcome, Outcome::Well, "{said}");
    let (outcome, said) = export_verified(&house, &without(last), Some(&whole)).await;
    assert_eq!(outcome, Outcome::Wrong, "{said}");
    assert!(
        said["problems"][0]
            .as_str()
            .unwrap()
            .contains("earlier copy"),
        "{said}"
    );
    // So is a history that somebody wrote anew, with every hash as it has to be.
    let (other, _) = with_a_story().await;
    let anew = other.operate_in(Form::Text, self::export(Format::Jsonl, None, None));
    let anew = anew.await.unwrap().1;
    assert_eq!(export_verified(&house, &anew, None).await.0, Outcome::Well);
    assert_eq!(
        export_verified(&house, &anew, Some(&whole)).await.0,
        Outcome::Wrong
    );

    // An earlier one that is not whole hides nothing.
    let spoilt = whole.replace("the disk is full", "nothing at all");
    let (outcome, said) = export_verified(&house, &no_chain.join("\n"), Some(&spoilt)).await;
    assert_eq!(outcome, Outcome::Wrong);
    assert!(
        said.to_string().contains("the earlier copy is not whole"),
        "{said}"
    );

    // A later one has more, and all of before.
    let daemon = house.daemon().await;
    let (ana, _) = house.callers(&daemon).await;
    ana.asked("1h").await;
    daemon.stop().await;
    let (_, later) = export().await.unwrap();
    assert!(later.lines().count() > whole.lines().count());
    let (outcome, said) = export_verified(&house, &later, Some(&whole)).await;
    assert_eq!(
        (outcome, &said["remarks"]),
        (Outcome::Well, &serde_json::json!([]))
    );
}

#[tokio::test]
async fn what_is_no_export_is_named_with_its_line() {
    let (house, _) = with_a_story().await;
    let part = house.operate_in(Form::Text, export(Format::Jsonl, None, None));
    let part = part.await.unwrap().1;
    let csv = house.operate_in(Form::Text, export(Format::Csv, None, None));
    let csv = csv.await.unwrap().1;
    let spoilt = format!("{part}{{}}\n");
    let wrong = part.lines().count() + 1;
    let none = "none of what audit export --format jsonl writes";
    for (text, told) in [
        (csv, format!("line 1 is {none}")),
        (spoilt, format!("line {wrong} is {none}")),
        (String::new(), "there is no event in it".to_owned()),
    ] {
        std::fs::write(house.file("now.jsonl"), text).unwrap();
        let args = VerifyArgs {
            export: Some(house.file("now.jsonl")),
            against: None,
        };
        let verify = Operation::Audit(AuditVerb::Verify(args));
        let refused = house.operate_in(Form::Text, verify).await.unwrap_err();
        assert!(refused.to_string().contains(&told), "{refused}");
    }
}

#[tokio::test]
async fn what_is_forgotten_is_exported_and_what_cannot_be_read_hides_nothing_else() {
    let (house, id) = with_a_story().await;
    let all = || export(Format::Csv, None, None);
    // As a cell, or as the chain of a line; a checkpoint names it too.
    let own = format!(",{id},");
    let rows = house.operate_in(Form::Text, all()).await.unwrap();
    assert_eq!(rows.0, Outcome::Well);
    assert!(rows.1.contains(&format!(
        ",{id},1,requested,ana@example.com,http,ana@example.com,"
    )));
    // A record goes some time after its end, its chain never.
    tamper(&house, "DELETE FROM request");
    assert_eq!(house.operate_in(Form::Text, all()).await.unwrap(), rows);
    // Without its first event and its record nobody knows what a chain is about.
    let broken = format!("UPDATE event SET body = '{{}}' WHERE chain = '{id}' AND seq = 1");
    tamper(&house, &broken);
    let (outcome, text) = house.operate_in(Form::Text, all()).await.unwrap();
    assert_eq!(outcome, Outcome::Wrong);
    assert!(
        !text.contains(&own) && text.contains("token_made"),
        "{text}"
    );
    tamper(
        &house,
        &format!("UPDATE event SET hash = 'x' WHERE chain = '{id}'"),
    );
    for format in [Format::Csv, Format::Jsonl] {
        let all = export(format, None, None);
        let (outcome, text) = house.operate_in(Form::Text, all).await.unwrap();
        let own = match format {
            Format::Csv => own.clone(),
            Format::Jsonl => format!("\"chain\":\"{id}\""),
        };
        assert_eq!(outcome, Outcome::Wrong);
        assert!(
            !text.contains(&own) && text.contains("token_made"),
            "{text}"
        );
    }
}

/// Whoever reads the file, or hands out a token, has none of the secrets of the daemon, and may be of
/// a later release than the daemons that run.
#[tokio::test]
async fn whoever_opens_the_store_needs_no_chat_and_brings_no_file_up_to_date() {
    let house = House::new();
    house.token("ana").await;
    let slack = "[slack]\n[[slack.route]]\nentitlements = \"*\"\nchannel = \"C1\"\n\n[[provider]]";
    house.rewrite("jit.toml", &[("[[provider]]", slack)]);
    let verbs = || {
        [
            Operation::Audit(AuditVerb::Verify(VerifyArgs::default())),
            export(Format::Jsonl, None, None),
            Operation::Token(TokenVerb::List),
            Operation::Token(TokenVerb::Revoke {
                id: "none".to_owned(),
            }),
            Operation::Token(TokenVerb::New {
                principal: "bob".parse().unwrap(),
                ttl: None,
                label: String::new(),
                out: None,
            }),
        ]
    };
    for verb in verbs() {
        match house.operate_in(Form::Text, verb).await {
            Ok((outcome, _)) => assert_eq!(outcome, Outcome::Well),
            Err(told) => assert!(told.to_string().contains("there is no token"), "{told}"),
        }
    }
    let lint = Operation::Policy(PolicyVerb::Lint);
    house.operate_in(Form::Text, lint).await.unwrap();
    let raw = Connection::open(house.file("jit.db")).unwrap();
    raw.pragma_update(None, "user_version", 2).unwrap();
    for verb in verbs() {
        let told = house.operate_in(Form::Text, verb).await.unwrap_err();
        assert!(
            matches!(told, OperateError::Earlier { found: 2, .. }),
            "{told}"
        );
        let told = told.to_string();
        assert!(told.contains("jitd of this release brings it to"), "{told}");
    }
    let found: i64 = raw
        .query_row("PRAGMA user_version", [], |row| row.get(0))
        .unwrap();
    assert_eq!(found, 2);
    // Whoever made the file so that it is theirs did not make a store.
    let house = House::new();
    std::fs::write(house.file("jit.db"), "").unwrap();
    let [verify, _, list, revoke, new] = verbs();
    for verb in [verify, list, revoke] {
        let told = house.operate_in(Form::Text, verb).await.unwrap_err();
        assert!(matches!(told, OperateError::NoStore { .. }), "{told}");
    }
    let (outcome, _) = house.operate_in(Form::Text, new).await.unwrap();
    assert_eq!(outcome, Outcome::Well);
}

#[tokio::test]
async fn an_export_has_every_event_and_the_text_that_each_hash_is_over() {
    let (house, id) = with_a_story().await;
    let lines = |format, from, until| {
        let operation = export(format, from, until);
        let house = &house;
        async move {
            let (outcome, text) = house.operate_in(Form::Text, operation).await.unwrap();
            assert_eq!(outcome, Outcome::Well);
            text
        }
    };
    let text = lines(Format::Jsonl, None, None).await;
    let events: Vec<Value> = text
        .lines()
        .map(|it| serde_json::from_str(it).unwrap())
        .collect();
    let of_request = events.iter().filter(|event| event["chain"] == *id).count();
    assert_eq!(of_request, 2);
    for (line, event) in text.lines().zip(&events) {
        let (_, body) = line.split_once("\"event\":").unwrap();
        let hash = jit_core::digest::Digest::of(body.strip_suffix('}').unwrap().as_bytes());
        assert_eq!(event["hash"], hash.to_string());
    }
    let rows = lines(Format::Csv, None, None).await;
    assert_eq!(rows.lines().count(), 1 + events.len());
    assert!(rows.starts_with("time,request,seq,event,"));
    let none = lines(Format::Jsonl, Some("2200-01-01T00:00:00Z"), None).await;
    assert_eq!(none, "");
    let first = events[0]["at"].as_str().unwrap();
    let until = lines(Format::Jsonl, None, Some(first)).await;
    assert!(!until.contains(&id), "an export ends before its end");
}
