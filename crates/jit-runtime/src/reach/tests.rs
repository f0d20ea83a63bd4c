//! What is found wrong with a policy, where a directory says so.

use super::*;
use crate::config::{Config, Environment};

/// Three entitlements, each the membership of a group.
const POLICY: &str = r#"[store]
sqlite = "jit.db"
[[provider]]
name = "groupfile"
kind = "groupfile"
file = "groups"
[[entitlement]]
id = "groupfile/a"
title = "A"
tier = "standard"
[[entitlement]]
id = "groupfile/b"
title = "B"
tier = "standard"
[[entitlement]]
id = "groupfile/c"
title = "C"
tier = "standard"
[[tier]]
name = "standard"
ttl_default = "1h"
ttl_max = "8h"
approvals = 1
[[rule]]
name = "ask"
rights = ["request", "revoke"]
entitlements = ["groupfile/*"]
principals = ["ana@example.com"]
[[rule]]
name = "look after"
rights = ["operate", "audit"]
entitlements = ["*"]
principals = ["ana@example.com"]
[[person]]
id = "ana@example.com"
groups = ["a", "b", "c", "owners"]
[[person]]
id = "bob@example.com"
groups = ["a", "b", "c", "owners"]
"#;

/// Each of these decides on that.
async fn lint_with(deciders: &[(&str, &str)]) -> Vec<Finding> {
    let config = config(&with(deciders));
    let leads_to = ["a", "b", "c"].map(|group| {
        let id = format!("groupfile/{group}").parse().unwrap();
        (id, group.parse().unwrap())
    });
    let people = &config.people;
    let everybody = Everybody::of(&config.policy, people, people, leads_to.into()).await;
    lint(&config.policy, &config.catalog, &everybody).findings
}

fn with(deciders: &[(&str, &str)]) -> String {
    let mut text = POLICY.to_owned();
    for (at, (group, on)) in deciders.iter().enumerate() {
        text.push_str(&format!(
            "[[rule]]\nname = \"{at}\"\nrights = [\"approve\"]\nentitlements = [\"{on}\"]\n\
             principals = [\"group:{group}\"]\n"
        ));
    }
    text
}

fn config(text: &str) -> Config {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("jit.toml");
    std::fs::write(&file, text).unwrap();
    Config::read(&file, &Environment::default()).unwrap()
}

async fn loops_of(deciders: &[(&str, &str)]) -> Vec<String> {
    let found = lint_with(deciders).await.into_iter();
    let loops = found.filter(|finding| finding.gravity == Gravity::Loop);
    loops.map(|finding| finding.what).collect()
}

#[tokio::test]
async fn f5_whoever_is_let_in_and_lets_in_others_is_a_loop() {
    let sound = [("owners", "groupfile/*")];
    assert_eq!(lint_with(&sound).await, []);
    assert_eq!(
        loops_of(&[("owners", "groupfile/*"), ("a", "groupfile/a")]).await,
        ["whoever gets groupfile/a may decide who else gets it"]
    );
    // A decides on B, which decides on C: nobody comes round.
    let ladder = [
        ("owners", "groupfile/*"),
        ("a", "groupfile/b"),
        ("b", "groupfile/c"),
    ];
    assert_eq!(loops_of(&ladder).await, [""; 0]);
    let round = [&ladder[..], &[("c", "groupfile/a")]].concat();
    assert_eq!(
        loops_of(&round).await,
        [
            "whoever gets groupfile/a may decide on groupfile/b, and then on groupfile/c, and so on \
          who else gets groupfile/a"
        ]
    );
}

/// What is wrong with it, as this directory has it.
async fn report(config: &Config, directory: &dyn Directory) -> Report {
    let people = &config.people;
    let everybody = Everybody::of(&config.policy, people, directory, BTreeMap::new()).await;
    lint(&config.policy, &config.catalog, &everybody)
}

#[tokio::test]
async fn f5_a_step_that_comes_when_a_request_has_lapsed_lets_nobody_decide() {
    // The rule is about A, which does not wait so long, and about B, which does.
    let late = with(&[("owners", "groupfile/*")]).replace(
        "principals = [\"group:owners\"]",
        "principals = [\"group:owners\"]\nafter = \"2h\"",
    );
    let tier = "name = \"standard\"\n";
    let quick = "[[tier]]\nname = \"quick\"\nttl_default = \"1h\"\nttl_max = \"8h\"\n\
                 approvals = 1\ndecision_window = \"WINDOW\"\n";
    let a = "title = \"A\"\ntier = \"standard\"";
    assert!(late.contains("after") && late.contains(tier) && late.contains(a));
    let late = format!(
        "{}{quick}",
        late.replace(a, "title = \"A\"\ntier = \"quick\"")
    );
    for (window, lock_outs) in [
        ("1h", &["groupfile/a needs 1 to approve it, and 0 may"][..]),
        // A request lapses at that very instant.
        ("2h", &["groupfile/a needs 1 to approve it, and 0 may"][..]),
        ("121m", &[]),
    ] {
        let config = config(&late.replace("WINDOW", window));
        let report = report(&config, &config.people).await;
        let found = report.findings.iter();
        let found = found.filter(|it| it.gravity == Gravity::LockOut);
        let found: Vec<&str> = found.map(|it| it.what.as_str()).collect();
        assert_eq!(found, lock_outs, "{window}");
    }
}
