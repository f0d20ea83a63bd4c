//! `jit doctor` on a whole installation: well, and with one thing wrong at a time.

use std::io::{Read, Write};
use std::net::TcpListener;

use jit_core::ports::Clock;
use jit_runtime::clock::SystemClock;
use jit_runtime::operate::{Form, Operation, Outcome};
use rusqlite::Connection;
use serde_json::Value;

use crate::house::House;
use crate::pagerduty::OnCallHouse;

async fn doctor(house: &House) -> (Outcome, Vec<Value>) {
    let (outcome, said) = house.operate(Operation::Doctor).await;
    assert_eq!(said["well"], outcome == Outcome::Well, "{said}");
    (outcome, said["checks"].as_array().unwrap().clone())
}

/// The one line that holds these words, and that nothing else failed.
async fn fails(house: &House, area: &str, words: &str, fix: &str) {
    let (outcome, checks) = doctor(house).await;
    assert_eq!(outcome, Outcome::Wrong, "{words}: {checks:#?}");
    let failed = checks.iter().filter(|it| it["verdict"] == "fail");
    let failed: Vec<&Value> = failed.collect();
    assert_eq!(failed.len(), 1, "{words}: {failed:#?}");
    said(failed[0], area, words, fix);
}

fn said(line: &Value, area: &str, words: &str, fix: &str) {
    assert_eq!(line["area"], area, "{line}");
    assert!(line["found"].as_str().unwrap().contains(words), "{line}");
    let told = line["fix"].as_str().unwrap_or_default();
    assert!(told.contains(fix), "{line}");
}

/// A line that warns with these words.
async fn warns(house: &House, area: &str, words: &str, fix: &str) {
    let (outcome, checks) = doctor(house).await;
    assert_eq!(outcome, Outcome::Well, "{checks:#?}");
    let mut warned = checks.iter().filter(|it| it["verdict"] == "warn");
    let line = warned.find(|it| it["found"].as_str().unwrap().contains(words));
    said(
        line.unwrap_or_else(|| panic!("{checks:#?}")),
        area,
        words,
        fix,
    );
}

/// A house whose daemon ran, and has nothing to be ashamed of.
async fn lived_in() -> House {
    let house = House::new();
    let daemon = house.daemon().await;
    let (ana, _) = house.callers(&daemon).await;
    ana.asked("1h").await;
    daemon.stop().await;
    house
}

fn raw(house: &House) -> Connection {
    Connection::open(house.file("jit.db")).unwrap()
}

#[tokio::test]
async fn a_sound_house_is_well_beside_a_running_daemon_and_nothing_is_changed() {
    let house = House::new();
    // Else Bob would be needed for what he asks for himself.
    let ana = [("principals = [\"*\"]", "principals = [\"ana@example.com\"]")];
    house.rewrite("jit.toml", &ana);
    let daemon = house.daemon().await;
    let (ana, _) = house.callers(&daemon).await;
    ana.asked("1h").await;
    let groups = house.groups();
    let (outcome, checks) = doctor(&house).await;
    assert_eq!(outcome, Outcome::Well, "{checks:#?}");
    for (area, words) in [
        ("config", "is sound: 1 provider, 1 entitlement"),
        ("store", "can be read and written"),
        ("store", "SQLite finds nothing wrong"),
        ("store", "MiB are free"),
        ("clock", "this host is not behind what was written last"),
        ("audit", "it can be read"),
        ("policy", "somebody decides on everything"),
        ("groupfile", "1 entitlement looked at"),
        ("secrets", "where the configuration wants them"),
    ] {
        let is_it =
            |it: &&Value| it["area"] == area && it["found"].as_str().unwrap().contains(words);
        let line = checks.iter().find(is_it);
        let line = line.unwrap_or_else(|| panic!("{words}: {checks:#?}"));
        assert_eq!(line["verdict"], "ok", "{line}");
    }
    assert_eq!(house.groups(), groups);
    daemon.stop().await;
    let text = house.operate_in(Form::Text, Operation::Doctor).await;
    let (_, text) = text.unwrap();
    assert!(text.starts_with("ok    config "), "{text}");
    assert!(text.lines().all(|it| !it.starts_with("fail")), "{text}");
}

#[tokio::test]
async fn before_the_first_run_there_is_no_store_and_none_is_made() {
    let house = House::new();
    warns(
        &house,
        "store",
        "jit.db yet",
        "jitd makes it when it first runs",
    )
    .await;
    for made in ["jit.db", "groups.lock", "audit_log.csv"] {
        assert!(!house.file(made).exists(), "{made}");
    }
    let nowhere = [("sqlite = \"jit.db\"", "sqlite = \"no/jit.db\"")];
    house.rewrite("jit.toml", &nowhere);
    fails(&house, "store", "is no folder", "make it, for the user").await;
}

#[tokio::test]
async fn a_store_that_cannot_be_used_is_told_and_left_as_it_is() {
    let house = lived_in().await;
    let version = |number: i64| {
        let raw = raw(&house);
        raw.pragma_update(None, "user_version", number).unwrap();
    };
    version(99);
    fails(
        &house,
        "store",
        "schema 99 of a later release",
        "finish the upgrade",
    )
    .await;
    version(2);
    warns(&house, "store", "has schema 2", "jit backup FILE").await;
    let found = raw(&house).query_row("PRAGMA user_version", [], |row| row.get::<_, i64>(0));
    assert_eq!(found, Ok(2), "it is brought up to date by jitd");
    for beside in ["jit.db-wal", "jit.db-shm"] {
        let _absent = std::fs::remove_file(house.file(beside));
    }
    let garbage = "no database, and longer than the header of one is\n".repeat(9);
    std::fs::write(house.file("jit.db"), garbage).unwrap();
    fails(
        &house,
        "store",
        "damaged or no SQLite database",
        "restore a backup",
    )
    .await;
}

#[tokio::test]
async fn a_file_that_is_damaged_where_nobody_reads_is_told() {
    use std::os::unix::fs::FileExt;
    let house = lived_in().await;
    let whole = raw(&house);
    let done = whole.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0));
    assert_eq!(done, Ok(0), "nobody is busy with it");
    drop(whole);
    let mut open = std::fs::OpenOptions::new();
    let file = open.write(true).open(house.file("jit.db")).unwrap();
    // How many pages are free. Source: https://sqlite.org/fileformat2.html#the_database_header
    file.write_all_at(&7_u32.to_be_bytes(), 36).unwrap();
    fails(&house, "store", "jit.db is damaged", "restore a backup").await;
}

#[tokio::test]
async fn a_store_that_others_can_read_is_told() {
    use std::os::unix::fs::PermissionsExt;
    let house = lived_in().await;
    let open = std::fs::Permissions::from_mode(0o644);
    std::fs::set_permissions(house.file("jit.db"), open).unwrap();
    warns(&house, "store", "(mode 644)", "chmod 600").await;
}

#[tokio::test]
async fn a_clock_behind_the_store_and_an_audit_that_was_cut_are_told() {
    let house = lived_in().await;
    let ahead = "UPDATE request SET updated_at = updated_at + 3600000000";
    raw(&house).execute_batch(ahead).unwrap();
    fails(&house, "clock", "s behind what was written last", "chronyc").await;
    let house = lived_in().await;
    let cut = "DROP TRIGGER event_remains; DELETE FROM event WHERE chain = 'system' AND seq =
        (SELECT max(seq) FROM event WHERE chain = 'system')";
    raw(&house).execute_batch(cut).unwrap();
    let does_not_end = "does not end where its head says";
    fails(&house, "audit", does_not_end, "jit audit verify").await;
}

#[tokio::test]
async fn checkpoints_that_nobody_leaves_any_more_are_told() {
    let house = lived_in().await;
    let long_ago = "UPDATE small SET value = '2026-01-01T00:00:00Z' WHERE class = 'checkpoint'";
    assert_eq!(raw(&house).execute(long_ago, []).unwrap(), 1);
    warns(
        &house,
        "audit",
        "no checkpoint since 2026-01-01",
        "see that jitd runs",
    )
    .await;
}

#[tokio::test]
async fn a_configuration_with_mistakes_is_told_line_by_line_and_nothing_else() {
    let house = House::new();
    let wrong = [("tier = \"standard\"", "tier = \"standart\"")];
    house.rewrite("jit.toml", &wrong);
    fails(&house, "config", "jit.toml:17:", "write standard").await;
    let (_, checks) = doctor(&house).await;
    assert!(
        checks.iter().all(|it| it["area"] == "config"),
        "{checks:#?}"
    );
    std::fs::remove_file(house.file("jit.toml")).unwrap();
    fails(&house, "config", "cannot be read", "jitd init").await;
}

#[tokio::test]
async fn secrets_that_are_missing_are_told_and_nobody_is_called_without_them() {
    let house = lived_in().await;
    let file = house.file("jit.toml");
    let config = std::fs::read_to_string(&file).unwrap();
    let slack = "\n[slack]\ntransport = \"socket\"\napi = \"http://127.0.0.1:9/api\"\n\
                 [[slack.route]]\nentitlements = \"*\"\nchannel = \"C0ACCESS\"\n";
    std::fs::write(&file, config + slack).unwrap();
    let (outcome, checks) = doctor(&house).await;
    assert_eq!(outcome, Outcome::Wrong);
    let failed: Vec<&Value> = checks.iter().filter(|it| it["verdict"] == "fail").collect();
    assert!(!failed.is_empty());
    for line in failed {
        said(line, "secrets", "JIT_SLACK_", "");
    }
    assert!(checks.iter().all(|it| it["area"] != "slack"), "{checks:#?}");
}

#[tokio::test]
async fn pagerduty_is_not_asked_who_is_on_call_without_its_token() {
    let on_call = OnCallHouse::new();
    let house = &on_call.house;
    house.daemon().await.stop().await;
    doctor(house).await;
    let with_it = on_call.calls();
    assert!(with_it > 0);
    std::fs::remove_file(house.file(".env")).unwrap();
    let (outcome, checks) = doctor(house).await;
    assert_eq!(outcome, Outcome::Wrong);
    // What time it is there is asked without credentials.
    assert_eq!(
        on_call.calls(),
        with_it + 1,
        "it was called with what stands in"
    );
    let policy = checks.iter().find(|it| it["area"] == "policy").unwrap();
    said(policy, "policy", "not looked at", "set it");
}

/// Every row of the store.
fn rows(house: &House) -> Vec<String> {
    let file = Connection::open(house.file("jit.db")).unwrap();
    let read = |sql: &str| -> Vec<String> {
        let mut statement = file.prepare(sql).unwrap();
        let columns = statement.column_count();
        let row = |row: &rusqlite::Row<'_>| {
            let values = (0..columns).map(|at| Ok(format!("{:?}", row.get_ref(at)?)));
            values.collect::<rusqlite::Result<Vec<_>>>()
        };
        let rows = statement.query_map([], row).unwrap();
        rows.map(|row| row.unwrap().join("|")).collect()
    };
    let tables = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'";
    let mut statement = file.prepare(tables).unwrap();
    let tables = statement
        .query_map([], |row| row.get::<_, String>(0))
        .unwrap();
    let all = tables.flat_map(|table| read(&format!("SELECT * FROM \"{}\"", table.unwrap())));
    all.collect()
}

#[tokio::test]
async fn nothing_is_written_into_the_store() {
    let house = lived_in().await;
    let before = rows(&house);
    assert!(before.len() > 5, "{before:#?}");
    doctor(&house).await;
    assert_eq!(rows(&house), before);
}

#[tokio::test]
async fn a_group_that_is_not_there_and_a_file_that_is_not_are_told() {
    let house = lived_in().await;
    house.set_groups("readers: dora\n");
    fails(
        &house,
        "groupfile",
        "groupfile/admins: there is no \"admins\" there",
        "make it there",
    )
    .await;
    std::fs::remove_file(house.file("groups")).unwrap();
    fails(
        &house,
        "groupfile",
        "groupfile could not look up: misconfigured",
        "mend what that says",
    )
    .await;
}

#[tokio::test]
async fn what_nobody_can_approve_and_who_has_left_are_told() {
    let house = lived_in().await;
    let alone = [("approvals = 1", "approvals = 3")];
    house.rewrite("jit.toml", &alone);
    let (outcome, checks) = doctor(&house).await;
    assert_eq!(outcome, Outcome::Wrong);
    let mut failed = checks.iter().filter(|it| it["verdict"] == "fail");
    let needs = "groupfile/admins needs 3 to approve it, and 1 may";
    said(
        failed.next().unwrap(),
        "policy",
        needs,
        "let more people approve",
    );
    let all = "everybody is locked out";
    said(failed.next().unwrap(), "policy", all, "let somebody ask");
    let left = [
        (
            "\"group:operations\"",
            "\"group:operations\", \"carol@example.com\"",
        ),
        (
            "[audit]",
            "[[person]]\nid = \"carol@example.com\"\nactive = false\n\n[audit]",
        ),
    ];
    house.rewrite("jit.toml", &left);
    let is_gone = "rules name carol@example.com, who is not active";
    warns(&house, "policy", is_gone, "name somebody else").await;
}

#[tokio::test]
async fn who_is_on_call_is_told_and_a_rota_that_cannot_be_asked() {
    let on_call = OnCallHouse::new();
    let house = &on_call.house;
    let (_, checks) = doctor(house).await;
    let line = |area: &str| checks.iter().find(|it| it["area"] == area).unwrap();
    said(
        line("oncall:primary"),
        "oncall:primary",
        "1 name on call now",
        "",
    );
    said(line("pager"), "pager", "PagerDuty is configured", "");
    assert!(
        checks.iter().all(|it| it["verdict"] != "fail"),
        "{checks:#?}"
    );
    let wrong = std::fs::read_to_string(house.file(".env")).unwrap();
    let wrong = wrong.replace("JIT_PAGERDUTY_TOKEN=", "JIT_PAGERDUTY_TOKEN=wrong-canary");
    std::fs::write(house.file(".env"), wrong).unwrap();
    let (outcome, checks) = doctor(house).await;
    assert_eq!(outcome, Outcome::Wrong);
    let failed = checks.iter().find(|it| it["verdict"] == "fail").unwrap();
    said(
        failed,
        "oncall:primary",
        "pagerduty could not",
        "credentials",
    );
    assert!(!format!("{checks:?}").contains("canary"));
}

#[tokio::test]
async fn a_rota_with_nobody_on_call_is_told() {
    let house = lived_in().await;
    let now = SystemClock.now().unix_micros() / 3_600_000_000 % 24;
    let (from, until) = ((now + 2) % 24, (now + 3) % 24);
    let rota = format!(
        "[[rota]]\nname = \"primary\"\n[[rota.shift]]\npeople = [\"bob@example.com\"]\n\
         hours = \"mon-sun {from:02}:00-{until:02}:00 UTC\"\n\n[audit]"
    );
    let rule = (
        "\"group:operations\"",
        "\"group:operations\", \"oncall:primary\"",
    );
    house.rewrite("jit.toml", &[rule, ("[audit]", &rota)]);
    let nobody = "nobody is on call now";
    warns(&house, "oncall:primary", nobody, "put somebody on call").await;
}

/// Whatever is asked of it, it says that it is New Year.
fn new_year() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let _asked = stream.read(&mut [0; 4_096]);
            let _answered = stream.write_all(
                b"HTTP/1.1 404 Not Found\r\nDate: Thu, 01 Jan 2026 00:00:00 GMT\r\n\
                  Content-Length: 0\r\nConnection: close\r\n\r\n",
            );
        }
    });
    format!("http://{address}")
}

#[tokio::test]
async fn a_clock_that_differs_from_a_services_is_told() {
    let house = House::new();
    let vault = format!(
        "[[provider]]\nname = \"vault\"\nkind = \"vault\"\naddress = \"{}\"\n\
         plain_http = true\n\n[[entitlement]]",
        new_year()
    );
    house.rewrite("jit.toml", &[("[[entitlement]]", &vault)]);
    let secrets = "JIT_VAULT_ROLE_ID=role-canary\nJIT_VAULT_SECRET_ID=secret-canary\n";
    std::fs::write(house.file(".env"), secrets).unwrap();
    let (_, checks) = doctor(&house).await;
    let failed = |it: &&Value| it["verdict"] == "fail" && it["area"] == "clock";
    let failed = checks.iter().find(failed);
    let line = failed.unwrap_or_else(|| panic!("{checks:#?}"));
    said(
        line,
        "clock",
        "s ahead of vault",
        "which of the two is right",
    );
    assert!(!format!("{checks:?}").contains("canary"));
}

#[tokio::test]
async fn rows_that_cannot_be_written_are_told() {
    let house = lived_in().await;
    house.rewrite("jit.toml", &[("audit_log.csv", "no/rows.csv")]);
    fails(&house, "audit", "rows.csv cannot be written", "[audit] csv").await;
}
