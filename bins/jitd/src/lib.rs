//! What `jitd` can do beside serving: the demonstration, and the first configuration. The service
//! itself is in `jit-runtime`.

#![warn(missing_docs)]

#[cfg(feature = "demo")]
pub mod demo;
#[cfg(not(feature = "demo"))]
#[path = "no_demo.rs"]
pub mod demo;

use std::fs::File;
use std::io::Write;
use std::path::Path;

use anyhow::Context;
use jit_runtime::config::TEMPLATE;

/// Writes a commented configuration to begin with; overwrites nothing.
pub fn init(file: &Path) -> anyhow::Result<()> {
    let shown = file.display();
    let refused = || format!("{shown} cannot be written; init overwrites nothing");
    let mut made = File::create_new(file).with_context(refused)?;
    made.write_all(TEMPLATE.as_bytes()).with_context(refused)?;
    eprintln!("{shown} is written; change it, then: jit --config {shown} config check");
    Ok(())
}
