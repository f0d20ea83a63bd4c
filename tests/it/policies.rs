//! The IAM policies in `docs/deploy/iam/` are made of the lists in the code, and of nothing else.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

/// Set to write the files anew: `JIT_WRITE_POLICIES=1 cargo nextest run -p jit-tests -E 'test(policies)'`.
const WRITE: &str = "JIT_WRITE_POLICIES";
/// What whoever deploys puts in. It is no ARN as it stands, so that IAM refuses it until somebody
/// did.
const TABLE: &str = "arn:aws:dynamodb:<region>:<account>:table/<table>";

fn folder() -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = tests.parent().expect("tests lie in the workspace");
    root.join("docs/deploy/iam")
}

fn on_the_table(sid: &str, actions: &[&str]) -> String {
    let document = json!({
        "Version": "2012-10-17",
        "Statement": [{
            "Sid": sid,
            "Effect": "Allow",
            "Action": actions,
            "Resource": TABLE,
        }],
    });
    format!("{document:#}\n")
}

/// Every policy, by the name of its file.
fn policies() -> Vec<(String, String)> {
    let aws = jit_identity_center::policies().into_iter();
    let mut policies: Vec<(String, String)> = aws
        .map(|policy| (policy.name.to_owned(), policy.document))
        .collect();
    let store = on_the_table("Store", &jit_dynamodb::ACTIONS);
    policies.push(("store".to_owned(), store));
    // `create-table` reads what it made.
    let mut admin = jit_dynamodb::ADMIN_ACTIONS.to_vec();
    admin.extend(jit_dynamodb::ACTIONS);
    admin.sort_unstable();
    let admin = on_the_table("StoreAdmin", &admin);
    policies.push(("store-admin".to_owned(), admin));
    policies
}

fn allowed(document: &str) -> BTreeSet<String> {
    let document: Value = serde_json::from_str(document).unwrap();
    let statements = document["Statement"].as_array().unwrap().iter();
    let actions = statements.flat_map(|it| it["Action"].as_array().unwrap());
    actions
        .map(|action| action.as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn the_policies_that_are_deployed_are_those_of_the_code() {
    let folder = folder();
    for (name, document) in policies() {
        let file = folder.join(format!("{name}.json"));
        if std::env::var_os(WRITE).is_some() {
            fs::write(&file, &document).unwrap();
        }
        let written = fs::read_to_string(&file).unwrap_or_default();
        assert!(
            written == document,
            "{} is not what the code needs; write it anew with {WRITE}=1 and look at the difference",
            file.display(),
        );
    }
    let files = fs::read_dir(&folder).unwrap().map(|file| file.unwrap());
    let names = files.map(|file| file.file_name().into_string().unwrap());
    let written: BTreeSet<String> = names.filter(|name| name.ends_with(".json")).collect();
    let wanted = policies().into_iter().map(|(name, _)| name + ".json");
    assert_eq!(written, wanted.collect(), "and there are no others");
}

/// The page that says who gets which names all of them, and what each may do that matters most.
#[test]
fn whoever_only_revokes_can_give_nothing_and_needs_only_revoke_and_store() {
    let policies = policies();
    let of = |wanted: &str| {
        let found = policies.iter().find(|(name, _)| name == wanted);
        allowed(&found.unwrap().1)
    };
    let sweeper: BTreeSet<String> = of("revoke").union(&of("store")).cloned().collect();
    assert!(sweeper.contains("sso:DeleteAccountAssignment"));
    for forbidden in ["Create", "Put", "Provision", "Attach", "Update"] {
        let action = |action: &&String| {
            let (service, name) = action.split_once(':').unwrap();
            service != "dynamodb" && name.starts_with(forbidden)
        };
        assert_eq!(sweeper.iter().find(action), None);
    }
    assert!(of("store-admin").is_superset(&of("store")));
    let drops = |action: &String| action.ends_with(":DeleteTable");
    assert!(
        !of("store-admin").iter().any(drops),
        "nobody drops the table"
    );

    let page = fs::read_to_string(folder().join("README.md")).unwrap();
    for (name, _) in &policies {
        assert!(page.contains(&format!("`{name}.json`")), "{name}");
    }
    assert!(page.contains(WRITE));
}
