//! Each verb once, its bad input, and JSON.

use jit_cli::{CliError, Exit, Form, Session, run};
use jit_core::request::Status;
use serde_json::Value;

use crate::town::{Town, typed};
use crate::world::{ADMINS, CORE, QUICK};

#[tokio::test]
async fn bad_input_is_answered_with_one_sentence_and_nothing_is_stored() {
    let town = Town::new().await;
    for (words, says) in [
        (
            &["request", "groupfile/none", "--reason", "x"][..],
            "there is no entitlement",
        ),
        (
            &["request", "none", "--reason", "x"],
            "is not an entitlement",
        ),
        (
            &["request", ADMINS, "--reason", "x", "--ttl", "30M"],
            "in lower case",
        ),
        (
            &["request", ADMINS, "--reason", "x", "--ttl", "0s"],
            "longer than zero",
        ),
        (
            &["request", ADMINS, "--reason", "x", "--ttl", "2h"],
            "ask for at most 1h",
        ),
        (
            &[
                "request",
                ADMINS,
                "--reason",
                "x",
                "--ttl",
                "99999999999999999999d",
            ],
            "at most 400d",
        ),
        (
            &["request", ADMINS, "--reason", ""],
            "say in a few words why",
        ),
        (
            &["request", ADMINS, "--reason", "a\u{1b}[2Jb"],
            "no control characters",
        ),
        (
            &[
                "request",
                ADMINS,
                "--reason",
                "x",
                "--for",
                "dora@example.com",
            ],
            "on_behalf_of",
        ),
        (
            &["request", ADMINS, "--reason", "x", "--param", "a=1"],
            "takes no parameters",
        ),
        (
            &["request", ADMINS, "--reason", "x", "--ttl", "-5m"],
            "a duration is a whole number",
        ),
        (
            &["show", "req-01kdvd96m0b9jtb9db9db9db80"],
            "there is no such request",
        ),
        (&["show", "nothing"], "there is no such request"),
        (&["approve", "nothing"], "there is no such request"),
        (&["list", "--status", "open"], "is not a status"),
        (&["list", "--from", "tuesday"], "is not an instant"),
        (&["list", "--limit", "0"], "from 1 to 1000"),
        (&["pause"], "the right to operate"),
    ] {
        let message = town.says("ana", words).await.refused();
        assert!(message.contains(says), "{words:?}: {message}");
        assert_eq!(message.lines().count(), 1);
    }
    for words in [
        &["show", "../me"][..],
        &["end", ".."],
        &["history", ".."],
        &["request", ADMINS, "--reason", "x", "--param", "a=b"],
    ] {
        let told = town.says("ana", words).await;
        assert!(
            matches!(told.result, Err(CliError::BadInput(_))),
            "{words:?}"
        );
    }
    assert!(town.world.store.records().is_empty());
}

#[tokio::test]
async fn json_is_what_the_api_said() {
    let town = Town::new().await;
    let id = town.asked("ana", ADMINS).await;
    let whole = town.world.store.records()[0].id;
    let url = format!("{}/v1/requests/{whole}", town.server);
    let client = reqwest::Client::new();
    let direct = client
        .get(url)
        .bearer_auth(town.token("ana"))
        .send()
        .await
        .unwrap();
    let direct = direct.text().await.unwrap();
    let shown = town.says("ana", &["show", &id, "--json"]).await.done();
    assert_eq!(shown, format!("{direct}\n"));
    let commands: [&[&str]; 8] = [
        &["list", "--json"],
        &["--json", "list", "--entitlements"],
        &["history", &id, "--json"],
        &["status", "--json"],
        &["approve", &id, "--json"],
        &["end", &id, "--json"],
        &["request", CORE, "--reason", "x", "--json"],
        &["revoke", "--all", "--json"],
    ];
    for words in commands {
        let who = if words[0] == "approve" { "bob" } else { "ana" };
        let text = town.says(who, words).await.text;
        let one = serde_json::from_str::<Value>(&text);
        assert!(one.is_ok(), "{words:?} is one value: {text}");
    }
}

#[tokio::test]
async fn an_approval_is_of_what_was_printed() {
    let town = Town::new().await;
    let id = town.asked("ana", ADMINS).await;
    let text = town
        .says("bob", &["approve", &id, "--for", "10m"])
        .await
        .done();
    let lines: Vec<&str> = text.lines().collect();
    let approving = "approving groupfile/admins for ana@example.com for 10m (asked for: 30m)";
    assert_eq!(lines[..2], [approving, "because: disk full"]);
    let record = &town.world.store.records()[0];
    assert_eq!(record.approvals[0].ttl.unwrap().to_string(), "10m");
    let longer = town.asked("ana", CORE).await;
    let refused = town
        .says("bob", &["approve", &longer, "--for", "31m"])
        .await
        .refused();
    assert!(refused.contains("may only shorten"));
}

#[tokio::test]
async fn an_approval_can_be_retracted_and_a_request_withdrawn() {
    let town = Town::new().await;
    let id = town.asked("ana", CORE).await;
    town.says("bob", &["approve", &id]).await.done();
    let text = town.says("bob", &["retract", &id]).await.done();
    assert!(text.contains("waiting for 2 approvals"), "{text}");
    let text = town.says("ana", &["withdraw", &id]).await.done();
    assert!(text.contains("withdrawn by ana@example.com"), "{text}");
}

#[tokio::test]
async fn a_mass_revoke_lists_first_and_asks() {
    let town = Town::new().await;
    for (who, what) in [
        ("ana", ADMINS),
        ("ana", CORE),
        ("dora", ADMINS),
        ("dora", QUICK),
    ] {
        town.asked(who, what).await;
    }
    town.world.tend().await;
    let pending = |town: &Town| {
        let records = town.world.store.records();
        records.iter().filter(|it| !it.status().is_over()).count()
    };
    let of_ana = [
        "revoke",
        "--principal",
        "ana@example.com",
        "--reason",
        "leaving",
    ];
    let told = town.says("rita", &of_ana).await;
    assert_eq!(told.result.unwrap(), Exit::NotDone);
    assert_eq!(
        told.text.matches("ana@example.com").count(),
        2,
        "{}",
        told.text
    );
    assert!(
        told.text
            .ends_with("nothing was done; add --yes to revoke these 2\n")
    );
    assert_eq!(pending(&town), 4);

    let told = town
        .says("rita", &[&of_ana[..], &["--yes"]].concat())
        .await
        .done();
    assert!(told.ends_with("2 revoked\n"), "{told}");
    assert_eq!(pending(&town), 2);
    town.says("rita", &["revoke", "--all", "--yes"])
        .await
        .done();
    town.world.tend().await;
    assert!(!town.world.groups.has("quick", "dora@example.com"));
    // A slip of the pen in an incident must not look like success.
    let none = town.says("rita", &["revoke", "--all", "--yes"]).await;
    assert_eq!(none.result.unwrap(), Exit::NotDone);
    assert_eq!(none.text, "nothing fits, so nothing was revoked\n");
}

#[tokio::test]
async fn a_mass_revoke_goes_on_past_one_that_is_refused() {
    let town = Town::new().await;
    town.asked("ana", ADMINS).await;
    town.asked("ana", CORE).await;
    for (form, says) in [
        (Form::Plain, "not revoked: you do not"),
        (Form::Json, "not_revoked"),
    ] {
        let told = town
            .says_at("bob", form, &["revoke", "--all", "--yes"])
            .await;
        let error = told.result.unwrap_err();
        assert!(
            matches!(error, CliError::Partly { done: 0, failed: 2 }),
            "{error:?}"
        );
        assert_eq!(told.text.matches(says).count(), 2, "{}", told.text);
    }
}

#[tokio::test]
async fn an_operator_pauses_and_resumes() {
    let town = Town::new().await;
    assert!(
        town.says("otto", &["pause"])
            .await
            .done()
            .starts_with("new access is paused")
    );
    let refused = town
        .says("ana", &["request", ADMINS, "--reason", "x"])
        .await
        .refused();
    assert!(refused.contains("paused by an operator"), "{refused}");
    assert_eq!(
        town.says("otto", &["resume"]).await.done(),
        "new access is given\n"
    );
}

#[tokio::test]
async fn pages_are_offered_where_there_are_more() {
    let town = Town::new().await;
    town.asked("dora", ADMINS).await;
    town.asked("dora", CORE).await;
    let first = town.says("dora", &["list", "--limit", "1"]).await.done();
    let (_, after) = first.rsplit_once("more: --after ").unwrap();
    let second = town
        .says("dora", &["list", "--after", after.trim()])
        .await
        .done();
    assert_eq!(second.lines().count(), 2, "{second}");
    assert!(!second.contains("more:"));
    let none = town.says("eve", &["list"]).await.done();
    assert_eq!(none, "there are none\n");
}

/// A pipe whose reader has gone.
struct Unread;

impl std::io::Write for Unread {
    fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
        Err(std::io::ErrorKind::BrokenPipe.into())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_mass_revoke_goes_on_where_nobody_reads_what_was_revoked() {
    let town = Town::new().await;
    for who in ["ana", "dora"] {
        town.asked(who, ADMINS).await;
    }
    let command = typed(&["revoke", "--all", "--yes"]).unwrap().command;
    let session = Session::new(&town.server, &town.token("rita").into()).unwrap();
    let exit = run(&command, &session, Form::Plain, &mut Unread).await;
    assert_eq!(exit.unwrap(), Exit::Unread);
    for request in town.world.store.records() {
        assert_eq!(request.status(), Status::Invalidated);
    }
}

#[tokio::test]
async fn a_denial_says_why() {
    assert!(typed(&["deny", "9db80"]).is_err());
    let town = Town::new().await;
    let id = town.asked("ana", ADMINS).await;
    let refused = town.says("bob", &["deny", &id, "--reason", " "]).await;
    assert!(refused.refused().contains("reason"));
    let denied = town.says("bob", &["deny", &id, "--reason", "no"]).await;
    assert!(denied.done().contains("denied"));
}

#[test]
fn what_contradicts_itself_is_refused_before_anything_is_sent() {
    for words in [
        &["revoke"][..],
        &["revoke", "9db80", "--all"],
        &["revoke", "9db80", "--principal", "ana@example.com"],
        &["revoke", "--all", "--entitlement", ADMINS],
        &["list", "--entitlements", "--status", "pending"],
        &["request", ADMINS],
        &["approve"],
        &["show", "a", "--token", "jit_x_y"],
    ] {
        assert!(typed(words).is_err(), "{words:?}");
    }
    let both = [
        "revoke",
        "--principal",
        "ana@example.com",
        "--entitlement",
        ADMINS,
    ];
    assert!(typed(&both).is_ok());
}
