//! The rules of who may know whom, held against the manifests and the sources.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// Which of our crates each of our crates may depend on, outside its tests. A new edge is a
/// decision: it gets a line in `docs/adr/`.
const EDGES: [(&str, &[&str]); 31] = [
    ("jit-core", &[]),
    ("jit-testkit", &["jit-core"]),
    ("jit-sqlite", &["jit-core"]),
    ("jit-dynamodb", &["jit-core"]),
    ("jit-groupfile", &["jit-core"]),
    // How what is asked of AWS goes out; it knows none of its services.
    ("jit-aws", &["jit-core"]),
    ("jit-iam", &["jit-aws", "jit-core"]),
    ("jit-identity-center", &["jit-aws", "jit-core"]),
    ("jit-pagerduty", &["jit-core"]),
    ("jit-http", &["jit-core"]),
    ("jit-mcp", &["jit-core"]),
    // How bytes go to services whose calls carry no time; it knows none of them.
    ("jit-wire", &["jit-core"]),
    ("jit-okta", &["jit-core", "jit-wire"]),
    ("jit-tokens", &["jit-core", "jit-wire"]),
    ("jit-slack", &["jit-core"]),
    ("jit-vault", &["jit-core", "jit-wire"]),
    ("jit-telegram", &["jit-core", "jit-wire"]),
    ("jit-cli", &[]),
    (
        "jit-runtime",
        &[
            "jit-core",
            "jit-dynamodb",
            "jit-groupfile",
            "jit-http",
            "jit-iam",
            "jit-identity-center",
            "jit-mcp",
            "jit-okta",
            "jit-pagerduty",
            "jit-slack",
            "jit-sqlite",
            "jit-tokens",
            "jit-vault",
            "jit-wire",
            "jit-telegram",
        ],
    ),
    // The simulated workspace is for the demonstration alone, behind a feature.
    ("jitd", &["jit-cli", "jit-core", "jit-runtime", "slack-sim"]),
    ("jit-sweeper", &["jit-core", "jit-runtime"]),
    // The relay of agents is the protocol's own, not a verb over the API.
    ("jit", &["jit-cli", "jit-core", "jit-mcp", "jit-runtime"]),
    ("jit-model", &["jit-core"]),
    // Checks of what comes in, which the gate and the targets under `fuzz/` call alike.
    (
        "jit-malformed",
        &[
            "jit-core",
            "jit-groupfile",
            "jit-http",
            "jit-mcp",
            "jit-runtime",
            "jit-sqlite",
            "jit-testkit",
        ],
    ),
    ("jit-tests", &[]),
    ("aws-sim", &[]),
    ("okta-sim", &[]),
    ("services-sim", &[]),
    ("slack-sim", &[]),
    ("vault-sim", &[]),
    ("telegram-sim", &[]),
];

/// What the domain may use of others. Everything here is small and does no I/O.
const CORE_MAY_USE: [&str; 14] = [
    "async-trait",
    "const-hex",
    "futures-channel",
    "futures-util",
    "serde",
    "serde_json",
    "sha2",
    "thiserror",
    "time",
    "tracing",
    "tz-rs",
    "tzdb_data",
    "uuid",
    "zeroize",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("tests lie in the workspace")
        .to_owned()
}

fn packages() -> Vec<Value> {
    let output = Command::new(env!("CARGO"))
        .args([
            "metadata",
            "--format-version",
            "1",
            "--no-deps",
            "--offline",
        ])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    metadata["packages"].as_array().unwrap().clone()
}

/// The names of a package's dependencies of this kind (`None` is the ordinary one).
fn dependencies(package: &Value, kind: Option<&str>) -> BTreeSet<String> {
    let all = package["dependencies"].as_array().unwrap();
    let of_kind = all.iter().filter(|it| it["kind"].as_str() == kind);
    of_kind
        .map(|it| it["name"].as_str().unwrap().to_owned())
        .collect()
}

fn sources(under: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(under).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() && name != "target" && name != "node_modules" && !name.starts_with('.') {
            sources(&path, found);
        } else if name.ends_with(".rs") {
            found.push(path);
        }
    }
}

#[test]
fn a_crate_depends_on_none_of_ours_but_those_in_the_table() {
    let allowed: BTreeMap<&str, BTreeSet<String>> = EDGES
        .iter()
        .map(|(name, may)| (*name, may.iter().map(|it| (*it).to_owned()).collect()))
        .collect();
    let packages = packages();
    let names: BTreeSet<&str> = packages
        .iter()
        .map(|it| it["name"].as_str().unwrap())
        .collect();
    assert_eq!(
        names,
        allowed.keys().copied().collect(),
        "the crates are not those of the table"
    );
    for package in &packages {
        let name = package["name"].as_str().unwrap();
        let used: BTreeSet<String> = dependencies(package, None)
            .into_iter()
            .filter(|it| names.contains(it.as_str()))
            .collect();
        let forbidden: Vec<_> = used.difference(&allowed[name]).collect();
        assert!(forbidden.is_empty(), "{name} may not know {forbidden:?}");
        assert!(
            name == "jit-malformed" || !used.contains("jit-testkit"),
            "{name} links the testkit outside its tests"
        );
    }
}

/// What a program does when it is told to kill itself is for tests alone.
#[test]
fn no_program_that_is_shipped_has_places_at_which_it_kills_itself() {
    const FEATURE: &str = "failpoints";
    for package in packages() {
        let name = package["name"].as_str().unwrap();
        let default = &package["features"]["default"];
        assert!(!default.to_string().contains(FEATURE), "{name}: {default}");
        for dependency in package["dependencies"].as_array().unwrap() {
            let features = dependency["features"].to_string();
            let is_for_tests = dependency["kind"].as_str() == Some("dev");
            assert!(
                is_for_tests || !features.contains(FEATURE),
                "{name} turns it on in {dependency}"
            );
        }
    }
    let image = std::fs::read_to_string(root().join("docs/deploy/Dockerfile")).unwrap();
    let builds: Vec<&str> = image
        .lines()
        .filter(|it| it.contains("cargo build"))
        .collect();
    assert!(!builds.is_empty());
    for build in builds {
        assert!(build.contains("--no-default-features"), "{build}");
    }
    assert!(!image.contains(FEATURE));
}

#[test]
fn the_domain_uses_nothing_that_does_io() {
    let packages = packages();
    let core = packages.iter().find(|it| it["name"] == "jit-core").unwrap();
    let used = dependencies(core, None);
    let may: BTreeSet<String> = CORE_MAY_USE.iter().map(|it| (*it).to_owned()).collect();
    let more: Vec<_> = used.difference(&may).collect();
    assert!(more.is_empty(), "jit-core may not use {more:?}");
}

#[test]
fn the_lifecycle_is_pure() {
    let core = root().join("crates/jit-core/src");
    let mut files = vec![];
    sources(&core.join("lifecycle"), &mut files);
    let below = [
        "audit.rs",
        "catalog.rs",
        "change.rs",
        "digest.rs",
        "policy.rs",
        "principal.rs",
        "provider.rs",
        "request.rs",
        "text.rs",
        "time.rs",
    ];
    files.extend(below.map(|name| core.join(name)));
    sources(&core.join("request"), &mut files);
    let forbidden = [
        "async fn",
        ".await",
        "dyn Clock",
        "dyn RequestStore",
        "dyn Provisioner",
        "dyn Directory",
        "crate::engine",
        "use crate::ports",
        "now_utc",
        "SystemTime",
        "std::fs",
        "std::net",
        "std::env",
        "tracing::",
    ];
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        for word in forbidden {
            assert!(!text.contains(word), "{} uses {word}", file.display());
        }
    }
}

#[test]
fn every_file_says_first_what_lives_in_it() {
    let mut files = vec![];
    sources(&root(), &mut files);
    assert!(files.len() > 30);
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(
            text.starts_with("//! "),
            "{} does not begin with //!",
            file.display()
        );
    }
}

/// The wildcard arms of the lifecycle: an error that names no pause, a refusal that misses no right.
const JUDGES_NOTHING: [&str; 2] = ["_ => Duration::ZERO,", "_ => None,"];

#[test]
fn the_lifecycle_judges_by_no_wildcard() {
    let mut files = vec![];
    sources(&root().join("crates/jit-core/src/lifecycle"), &mut files);
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        for line in text.lines().map(str::trim) {
            assert!(
                !line.starts_with("_ =>") || JUDGES_NOTHING.contains(&line),
                "{} judges by a wildcard: {line}",
                file.display()
            );
        }
    }
}
