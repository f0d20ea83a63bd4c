//! What agents may use up by asking: counted in the commit that opens a request, so that neither
//! requests at the same time nor several processes get past it.

use super::{Engine, EngineError};
use crate::lifecycle::{Refusal, opened_limit};
use crate::ports::{PortError, Query, Row, RowChange};
use crate::principal::{PrincipalKind, Profile};
use crate::request::Status;
use crate::time::Timestamp;

/// The small rows that agents take turns by.
const TURNS: &str = "turn";
/// The requests that an agent has at once.
const OPEN: [Status; 5] = [
    Status::Pending,
    Status::Approved,
    Status::Provisioning,
    Status::Active,
    Status::Revoking,
];

/// How often an agent has asked in which hour since the epoch.
struct Turn {
    hour: u64,
    number: u32,
}

impl Turn {
    fn hour_of(now: Timestamp) -> u64 {
        now.unix_micros().unsigned_abs() / 1_000_000 / 3_600
    }

    fn read(text: &str) -> Option<Self> {
        let (hour, number) = text.split_once('/')?;
        let (hour, number) = (hour.parse().ok()?, number.parse().ok()?);
        Some(Self { hour, number })
    }

    fn written(&self) -> String {
        format!("{}/{}", self.hour, self.number)
    }
}

impl Engine {
    /// The turn of an agent to ask. Requests that it opens at the same time take the same turn, and
    /// one of them comes first, so that none of them is counted too late. People take no turns.
    pub(super) async fn turn_of(
        &self,
        requester: &Profile,
    ) -> Result<Option<RowChange>, EngineError> {
        if !matches!(requester.kind, PrincipalKind::Agent { .. }) {
            return Ok(None);
        }
        let key = requester.id.to_string();
        let taken = self.parts.store.row(TURNS, &key).await?;
        let taken = taken.map(|row| row.value);
        let before = taken.as_deref().and_then(Turn::read);
        let now = Turn::hour_of(self.now());
        let turn = match before {
            Some(turn) if turn.hour == now => turn,
            Some(_) | None => Turn {
                hour: now,
                number: 0,
            },
        };
        // Whoever has used up the hour causes no more questions to providers and people.
        let ceiling = opened_limit(requester);
        if turn.number >= ceiling {
            return Err(Refusal::TooManyRequests { ceiling }.into());
        }
        let next = Turn {
            number: turn.number + 1,
            ..turn
        };
        let row = Row {
            table: TURNS,
            key,
            value: next.written(),
        };
        Ok(Some(RowChange {
            row,
            expected: taken,
        }))
    }

    /// How many requests of an agent are open or granted, as far as it may have any more.
    pub(super) async fn open_now(&self, requester: &Profile) -> Result<usize, PortError> {
        let PrincipalKind::Agent { caps, .. } = &requester.kind else {
            return Ok(0);
        };
        let open = Query {
            principal: Some(requester.id.clone()),
            statuses: OPEN.to_vec(),
            limit: usize::try_from(caps.open)
                .unwrap_or(usize::MAX)
                .clamp(1, 1_000),
            ..Query::default()
        };
        Ok(self.parts.store.query(&open).await?.len())
    }
}
