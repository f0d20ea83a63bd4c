//! Runs a simulated Bot API for other processes: prints where it is.

#![allow(clippy::print_stdout, reason = "it says where it listens")]

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use clap::Parser;
use telegram_sim::Sim;

/// Telegram's Bot API on loopback, for one bot. `/sim/` says and does what people do.
#[derive(Debug, Parser)]
#[command(name = "telegram-sim", version)]
struct Args {
    /// The port to listen on; 0 takes any free one.
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// The address to listen on.
    #[arg(long, default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    listen: IpAddr,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> std::io::Result<()> {
    let args = Args::parse();
    let sim = Sim::start_at(SocketAddr::from((args.listen, args.port)))?;
    println!("{}", sim.url());
    tokio::signal::ctrl_c().await
}
