//! Runs a simulated Vault for other processes: prints where it is.

#![allow(clippy::print_stdout, reason = "it says where it listens")]

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use clap::Parser;
use vault_sim::{Setup, Sim};

/// A simulated Vault on loopback.
#[derive(Debug, Parser)]
#[command(name = "vault-sim", version)]
struct Args {
    /// The port to listen on; 0 takes any free one.
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// The address to listen on.
    #[arg(long, default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    listen: IpAddr,
    /// Every token and accessor follows from it.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> std::io::Result<()> {
    let args = Args::parse();
    let setup = Setup {
        seed: args.seed,
        ..Setup::default()
    };
    let sim = Sim::start_at(SocketAddr::from((args.listen, args.port)), setup)?;
    println!("{}", sim.url());
    tokio::signal::ctrl_c().await
}
