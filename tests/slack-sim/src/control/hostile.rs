//! What goes wrong on demand, as JSON.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State as Shared;
use axum::extract::rejection::JsonRejection;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{App, Unserved};
use crate::faults::{Fault, Switch, Times};
use crate::gesture::CannotDo;
use crate::sim;
use crate::socket::{Disconnect, Link, Order};
use crate::state::{Inner, Mode};

/// One thing to change, tagged by `do`.
#[derive(Debug, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub(super) enum Hostile {
    Fail {
        method: String,
        fault: Wrong,
        #[serde(default)]
        times: Option<u32>,
    },
    ClearFaults,
    LatencyMs {
        ms: u64,
    },
    TimeScale {
        scale: f64,
    },
    Disconnect {
        reason: Reason,
    },
    EnableLink,
    CutSockets,
    TearSockets,
    RefuseSockets {
        times: Option<u32>,
    },
    AcceptThenDrop {
        times: Option<u32>,
    },
    PaceChannels {
        times: Option<u32>,
    },
    DeliverTwice {
        envelopes: u32,
    },
    SocketMode,
    HttpMode {
        base_url: String,
    },
    EditGroup {
        group: String,
        users: Vec<String>,
    },
    Deactivate {
        user: String,
    },
}

/// A fault by name.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Wrong {
    RateLimited { retry_after_s: u64 },
    ServerError,
    Hang,
    SlowMs(u64),
    InvalidJson,
    NotJson,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Reason {
    Warning,
    RefreshRequested,
    LinkDisabled,
    TooManyWebsockets,
}

/// No number is always, 0 is never again.
fn switch(times: Option<u32>) -> Switch {
    match times {
        None => Switch::On,
        Some(0) => Switch::Off,
        Some(times) => Switch::Next(times),
    }
}

/// Serves `/control/hostile`.
pub(super) async fn set(
    Shared(inner): App,
    what: Result<Json<Hostile>, JsonRejection>,
) -> Result<Json<Value>, Unserved> {
    let Json(what) = what.map_err(|it| Unserved::Malformed(it.body_text()))?;
    match what {
        Hostile::EditGroup { group, users } => {
            let told = sim::edit_group(&inner, &group, users).await;
            told.ok_or(Unserved::NoSuch("group"))?;
        }
        Hostile::Deactivate { user } => {
            sim::deactivate(&inner, &user)
                .await
                .ok_or(Unserved::NoSuch("user"))?;
        }
        other => change(&inner, other)?,
    }
    Ok(Json(json!({"ok": true})))
}

fn change(inner: &Arc<Inner>, what: Hostile) -> Result<(), CannotDo> {
    inner.with(|state| {
        match what {
            Hostile::Fail {
                method,
                fault,
                times,
            } => {
                let fault = match fault {
                    Wrong::RateLimited { retry_after_s } => Fault::RateLimited { retry_after_s },
                    Wrong::ServerError => Fault::ServerError,
                    Wrong::Hang => Fault::Hang,
                    Wrong::SlowMs(ms) => Fault::SlowMs(ms),
                    Wrong::InvalidJson => Fault::InvalidJson,
                    Wrong::NotJson => Fault::NotJson,
                };
                state
                    .faults
                    .add(&method, fault, times.map_or(Times::Always, Times::N));
            }
            Hostile::ClearFaults => state.faults.clear(),
            Hostile::LatencyMs { ms } => state.latency = Duration::from_millis(ms),
            Hostile::TimeScale { scale } if scale.is_finite() => {
                state.scale = scale.clamp(0.0, 1000.0);
            }
            Hostile::TimeScale { .. } => return Err(CannotDo("a scale is a number".to_owned())),
            Hostile::Disconnect { reason } => {
                let why = match reason {
                    Reason::Warning => Disconnect::Warning,
                    Reason::RefreshRequested => Disconnect::RefreshRequested,
                    Reason::LinkDisabled => Disconnect::LinkDisabled,
                    Reason::TooManyWebsockets => Disconnect::TooManyWebsockets,
                };
                for id in state.sockets.live.keys().copied().collect::<Vec<_>>() {
                    state.sockets.goodbye(id, why);
                }
            }
            Hostile::EnableLink => state.sockets.link = Link::Enabled,
            Hostile::CutSockets => state.sockets.tell_all(|| Order::Cut),
            Hostile::TearSockets => state.sockets.tell_all(|| Order::Tear),
            Hostile::RefuseSockets { times } => state.sockets.refuse = switch(times),
            Hostile::AcceptThenDrop { times } => state.sockets.drop = switch(times),
            Hostile::PaceChannels { times } => state.pace = switch(times),
            Hostile::DeliverTwice { envelopes } => state.twice = envelopes,
            Hostile::SocketMode => state.mode = Mode::Socket,
            Hostile::HttpMode { base_url } => state.mode = Mode::Http { base_url },
            Hostile::EditGroup { .. } | Hostile::Deactivate { .. } => {}
        }
        Ok(())
    })
}
