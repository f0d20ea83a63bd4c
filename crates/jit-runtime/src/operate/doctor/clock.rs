//! What time others think it is: those whose `Date` comes with every answer, asked as a daemon asks
//! them. The store's word is asked for where the store is.

use std::time::Duration;

use futures_util::future::join_all;
use jit_core::engine::{CLOCK_OFF, ClockOffset};
use jit_core::ports::{Clock, ErrorKind};
use jit_wire::Wire;
use reqwest::Url;

use super::{Finding, remedy};
use crate::config::Config;
use crate::dates;

pub(super) const AREA: &str = "clock";
/// Above this somebody should look, long before a daemon gives no more access.
const DOUBTFUL: Duration = Duration::from_secs(2);

pub(super) const FIX: &str = "see which of the two is right, and mend its time service: chronyc \
                              tracking, or timedatectl timesync-status";

/// This clock beside those of the services that are called.
pub(super) async fn beside_others(config: &Config, clock: &dyn Clock) -> Vec<Finding> {
    let sources = dates::sources(config).into_iter();
    let asked = sources.map(|(name, origin)| async move {
        let asked_at = clock.now();
        // Who does not answer is told of where that is looked at.
        let wire = Wire::new(&origin).ok()?;
        let said = dates::ask(&origin, &wire).await.ok()??;
        let offset = ClockOffset::heard(said, asked_at, clock.now());
        Some(judged(&name, offset))
    });
    join_all(asked).await.into_iter().flatten().collect()
}

/// Whether anybody answers there, whatever it is.
pub(super) async fn answers(area: &str, url: &Url) -> Result<(), Finding> {
    let mut origin = url.clone();
    origin.set_path("/");
    let wire = Wire::new(&origin).map_err(|error| {
        let fix = "install the certificates of the usual authorities (ca-certificates)";
        Finding::fail(area, error.to_string(), fix)
    })?;
    dates::ask(&origin, &wire).await.map(drop).map_err(|error| {
        let why = match error.is_timeout() {
            true => "it does not answer",
            false => "it cannot be reached",
        };
        Finding::fail(area, why, remedy(ErrorKind::Unavailable))
    })
}

pub(super) fn judged(beside: &str, offset: ClockOffset) -> Finding {
    let by = offset.by();
    let way = match offset {
        ClockOffset::Ahead(_) => "ahead of",
        ClockOffset::None | ClockOffset::Behind(_) => "behind",
    };
    let what = format!("this host is {} s {way} {beside}", by.as_secs());
    if by > CLOCK_OFF {
        Finding::fail(AREA, what, FIX)
    } else if by > DOUBTFUL {
        Finding::warn(AREA, what, FIX)
    } else {
        Finding::ok(AREA, format!("this host agrees with {beside}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operate::doctor::Verdict;

    #[test]
    fn a_clock_that_is_off_is_told_before_it_stops_a_daemon() {
        use ClockOffset::{Ahead, Behind};
        let secs = Duration::from_secs;
        for (offset, verdict, words) in [
            (ClockOffset::None, Verdict::Ok, "agrees with okta"),
            (Behind(secs(2)), Verdict::Ok, "agrees with okta"),
            (Behind(secs(3)), Verdict::Warn, "3 s behind okta"),
            (Ahead(secs(5)), Verdict::Warn, "5 s ahead of okta"),
            (Ahead(secs(6)), Verdict::Fail, "6 s ahead of okta"),
            (Behind(secs(6)), Verdict::Fail, "6 s behind okta"),
        ] {
            let found = judged("okta", offset);
            assert_eq!(found.verdict, verdict, "{found:?}");
            assert!(found.found.contains(words), "{found:?}");
            assert_eq!(found.fix.is_some(), verdict != Verdict::Ok);
        }
    }
}
