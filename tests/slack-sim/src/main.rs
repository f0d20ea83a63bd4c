//! Runs the example workspace for people: prints where it is and what the app needs to connect.

#![allow(clippy::print_stdout, reason = "it says where it listens")]

use std::net::{Ipv4Addr, SocketAddr};

use clap::Parser;
use slack_sim::{Mode, SlackSim, Workspace};

/// A simulated Slack workspace on loopback, with a page to use it on.
#[derive(Debug, Parser)]
#[command(name = "slack-sim", version)]
struct Args {
    /// The port to listen on; 0 takes any free one.
    #[arg(long, default_value_t = 4803)]
    port: u16,
    /// Reach the app by signed POSTs below this address instead of WebSockets.
    #[arg(long, value_name = "URL")]
    http: Option<String>,
    /// Scale Slack's deadlines; none gets below 100 ms.
    #[arg(long, default_value_t = 1.0)]
    time_scale: f64,
}

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let args = Args::parse();
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, args.port));
    let slack = SlackSim::start_at(address, Workspace::example()).await?;
    slack.time_scale(args.time_scale);
    if let Some(base_url) = args.http {
        slack.mode(Mode::Http {
            base_url: base_url.trim_end_matches('/').to_owned(),
        });
    }
    println!("page            {}", slack.page_url());
    println!("api             {}", slack.api_url());
    println!("bot token       {}", slack.bot_token());
    println!("app token       {}", slack.app_token());
    println!("signing secret  {}", slack.signing_secret());
    tokio::signal::ctrl_c().await
}
