//! Runs the simulated services for other processes: prints where they are, as one object.

#![allow(clippy::print_stdout, reason = "it says where it listens")]

use std::sync::Arc;

use serde_json::json;
use services_sim::{Grafana, HomeAssistant, InfluxDb, Now};
use time::OffsetDateTime;

/// What opens their doors.
const GRAFANA_ADMIN: &str = "glsa_simulated-admin";
const INFLUXDB_ADMIN: &str = "simulated-admin";
const ORGANIZATION: &str = "0123456789abcdef";
const REFRESH_TOKEN: &str = "simulated-refresh-token";
const CLIENT: &str = "https://jit.example.com";

#[allow(
    clippy::disallowed_methods,
    reason = "simulated services keep their own time"
)]
fn now() -> i64 {
    let micros = OffsetDateTime::now_utc().unix_timestamp_nanos() / 1_000;
    i64::try_from(micros).unwrap_or(i64::MAX)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> std::io::Result<()> {
    let wall: Now = Arc::new(now);
    let grafana = Grafana::start(5, GRAFANA_ADMIN, Arc::clone(&wall)).await;
    let influxdb = InfluxDb::start(ORGANIZATION, INFLUXDB_ADMIN).await;
    let home_assistant = HomeAssistant::start(REFRESH_TOKEN, CLIENT, wall).await;
    let there = json!({
        "grafana": {
            "url": grafana.url(),
            "secret": {"jit_admin_token": GRAFANA_ADMIN, "service_account_id": "5"},
        },
        "influxdb": {
            "url": influxdb.url(),
            "secret": {"admin_token": INFLUXDB_ADMIN, "org_id": ORGANIZATION},
        },
        "homeassistant": {
            "url": home_assistant.url(),
            "secret": {"refresh_token": REFRESH_TOKEN, "client_id": CLIENT},
        },
    });
    println!("{there}");
    tokio::signal::ctrl_c().await
}
