//! Runs a simulated Okta organization for other processes: prints where it is.

#![allow(clippy::print_stdout, reason = "it says where it listens")]

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use clap::Parser;
use okta_sim::{Setup, Sim};

/// A simulated Okta organization on loopback, with a simulated PagerDuty under /pagerduty.
#[derive(Debug, Parser)]
#[command(name = "okta-sim", version)]
struct Args {
    /// The port to listen on; 0 takes any free one.
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// The address to listen on.
    #[arg(long, default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    listen: IpAddr,
    /// Every id follows from it.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Fill a group named `filled` with so many members, such as 5000.
    #[arg(long, value_name = "MEMBERS")]
    fill: Option<u32>,
    /// How long every answer takes.
    #[arg(long, default_value_t = 0)]
    latency_ms: u64,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> std::io::Result<()> {
    let args = Args::parse();
    let setup = Setup {
        seed: args.seed,
        latency: Duration::from_millis(args.latency_ms),
        ..Setup::default()
    };
    let sim = Sim::start_at(SocketAddr::from((args.listen, args.port)), setup)?;
    if let Some(members) = args.fill {
        sim.world().fill("filled", members);
    }
    println!("{}", sim.url());
    tokio::signal::ctrl_c().await
}
