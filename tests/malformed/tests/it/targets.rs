//! The targets under `fuzz/` are compiled here as well, so that they go on fitting the checks that they
//! call. To run, they need other compilers than the gate has.

#![allow(unused_attributes, reason = "each of them is a program there")]

#[path = "../../../../fuzz/fuzz_targets/agents.rs"]
mod agents;
#[path = "../../../../fuzz/fuzz_targets/api_body.rs"]
mod api_body;
#[path = "../../../../fuzz/fuzz_targets/api_query.rs"]
mod api_query;
#[path = "../../../../fuzz/fuzz_targets/audit_export.rs"]
mod audit_export;
#[path = "../../../../fuzz/fuzz_targets/audit_store.rs"]
mod audit_store;
#[path = "../../../../fuzz/fuzz_targets/configuration.rs"]
mod configuration;
#[path = "../../../../fuzz/fuzz_targets/groups.rs"]
mod groups;
#[path = "../../../../fuzz/fuzz_targets/stored.rs"]
mod stored;
#[path = "../../../../fuzz/fuzz_targets/text.rs"]
mod text;

#[test]
fn every_target_is_compiled_here_and_is_a_program_there() {
    let fuzz = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz");
    let manifest = std::fs::read_to_string(format!("{fuzz}/Cargo.toml")).unwrap();
    let here = include_str!("targets.rs");
    let files = std::fs::read_dir(format!("{fuzz}/fuzz_targets")).unwrap();
    let mut names: Vec<String> = files
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert!(names.len() >= 9, "{names:?}");
    for name in names {
        let path = format!("fuzz_targets/{name}\"");
        assert!(manifest.contains(&format!("path = \"{path}")), "{name}");
        assert!(here.contains(&path), "{name}");
    }
}

/// What libFuzzer makes a program of: something that takes what is drawn. It stands behind its uses, which
/// name it by the crate.
#[macro_export]
macro_rules! fuzz_target {
    (|$input:ident: $kind:ty| $body:block) => {
        const _: fn($kind) = |$input: $kind| $body;
    };
}
