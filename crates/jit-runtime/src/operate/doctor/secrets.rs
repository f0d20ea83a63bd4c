//! The files that secrets are in: nobody else of this host may read them. Whether each secret is there
//! and has its form is told by the configuration's reader, and what it opens by whoever is asked.

use std::io::ErrorKind;
use std::path::Path;

use super::{Finding, counted, disk, on_disk};
use crate::config::{Config, Environment};

pub(super) const AREA: &str = "secrets";

/// How private the files are.
pub(super) async fn files(config: &Config, environment: &Environment) -> Vec<Finding> {
    let folder = config.file.parent().unwrap_or(Path::new("/")).to_owned();
    let environment = environment.clone();
    let (count, found) = on_disk(move || {
        let named = environment.secret_files(&folder);
        let all = named.iter().cloned().chain([folder.join(".env")]);
        let found: Vec<Finding> = all.filter_map(|file| private(&file)).collect();
        (named.len(), found)
    })
    .await;
    match (found.is_empty(), count) {
        (false, _) => found,
        (true, 0) => vec![Finding::ok(
            AREA,
            "they are where the configuration wants them",
        )],
        (true, count) => {
            let files = counted(count, "file");
            let what = format!("{files} of them, closed to the others of this host");
            vec![Finding::ok(AREA, what)]
        }
    }
}

/// What is wrong with a file of secrets, where something is.
fn private(file: &Path) -> Option<Finding> {
    match disk::open_to_others(AREA, file) {
        Ok(found) => found,
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        Err(error) => {
            let what = format!("{} cannot be looked at: {error}", file.display());
            let fix = "let the user that runs jitd read it";
            Some(Finding::fail(AREA, what, fix))
        }
    }
}
