//! What stands where the demonstration is, in a build without it.

use std::io::Write;

use anyhow::bail;
use jit_core::Ttl;

/// Says that there is none.
pub async fn serve(
    _: Option<Ttl>,
    _: &mut (dyn Write + Send),
    _: impl Future<Output = ()>,
) -> anyhow::Result<()> {
    bail!("this build has no demo; build jitd with its default features")
}

/// The same.
pub async fn play(
    ttl: Option<Ttl>,
    out: &mut (dyn Write + Send),
    stop: impl Future<Output = ()>,
) -> anyhow::Result<()> {
    serve(ttl, out, stop).await
}
