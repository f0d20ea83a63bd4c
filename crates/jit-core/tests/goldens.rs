//! Every stored shape ever released still loads. A golden file is never edited; a release that
//! writes a new shape adds files.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, its helpers too"
)]

use std::collections::BTreeSet;
use std::path::Path;

use jit_core::request::{AccessRequest, REQUEST_SHAPE, ShapeError, Status};

fn goldens() -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens");
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    files
        .into_iter()
        .map(|path| {
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            (name, std::fs::read_to_string(path).unwrap())
        })
        .collect()
}

#[test]
fn every_stored_shape_loads_and_is_written_again_as_it_was() {
    let mut seen = BTreeSet::new();
    for (name, text) in goldens() {
        let request = AccessRequest::from_stored(&text)
            .unwrap_or_else(|error| panic!("{name} no longer loads: {error}: {error:?}"));
        assert_eq!(request.to_stored(), text.trim_end(), "{name}");
        let wanted = format!("request-v{}-{}", request.shape, request.status());
        assert!(name.starts_with(&wanted), "{name} holds {wanted}");
        if request.shape == REQUEST_SHAPE {
            seen.insert(request.status());
        }
    }
    assert_eq!(
        seen,
        BTreeSet::from(Status::ALL),
        "a golden for every status"
    );
}

#[test]
fn a_later_shape_is_refused_with_both_numbers() {
    let (_, text) = goldens().swap_remove(0);
    let newer = text.replace(
        &format!("\"shape\":{REQUEST_SHAPE}"),
        &format!("\"shape\":{}", REQUEST_SHAPE + 1),
    );
    let error = AccessRequest::from_stored(&newer).unwrap_err();
    assert!(matches!(error, ShapeError::Newer { found } if found == REQUEST_SHAPE + 1));
    assert!(error.to_string().contains("finish the upgrade"));
    let damaged = AccessRequest::from_stored(text.get(..40).unwrap()).unwrap_err();
    assert!(matches!(damaged, ShapeError::Damaged(_)));
}
