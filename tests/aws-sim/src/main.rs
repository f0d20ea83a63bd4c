//! Runs a simulated AWS organization for other processes: prints where it is.

#![allow(clippy::print_stdout, reason = "it says where it listens")]

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use aws_sim::{Setup, Sim};
use clap::Parser;

/// A simulated AWS organization on loopback: sso-admin, identitystore, organizations, iam and sts.
#[derive(Debug, Parser)]
#[command(name = "aws-sim", version)]
struct Args {
    /// The port to listen on; 0 takes any free one.
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// The address to listen on.
    #[arg(long, default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    listen: IpAddr,
    /// Every id and every drawn time follows from it.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Fill a big organization with so many accounts and permission sets, such as `500x40`.
    #[arg(long, value_name = "ACCOUNTSxSETS", value_parser = size)]
    fill: Option<(u32, u32)>,
}

fn size(text: &str) -> Result<(u32, u32), String> {
    let wrong = || format!("{text} is not like 500x40");
    let (accounts, sets) = text.split_once('x').ok_or_else(wrong)?;
    let number = |it: &str| it.parse::<u32>().map_err(|_| wrong());
    Ok((number(accounts)?, number(sets)?))
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> std::io::Result<()> {
    let args = Args::parse();
    let setup = Setup {
        seed: args.seed,
        ..Setup::default()
    };
    let sim = Sim::start_at(SocketAddr::from((args.listen, args.port)), setup)?;
    if let Some((accounts, sets)) = args.fill {
        sim.world().fill(accounts, sets);
    }
    println!("{}", sim.url());
    tokio::signal::ctrl_c().await
}
