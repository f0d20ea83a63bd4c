//! `audit verify` and `audit export`. Both read the store chain by chain, so that an audit of any
//! length fits into memory.

use std::io;

use clap::{Subcommand, ValueEnum};
use jit_core::Timestamp;
use jit_core::audit::Sealed;
use jit_core::engine::verify_audit;
use jit_core::ports::{PortError, RequestStore};
use jit_core::request::RequestId;
use serde_json::json;

use super::{Desk, Form, OperateError, Outcome, counted};
use crate::csv::{self, Asked, Row};

/// How many chains, or events of the system chain, are read at once.
const PAGE: usize = 500;

/// About the audit.
#[derive(Debug, Subcommand)]
pub enum AuditVerb {
    /// Read every chain back and prove that no event was edited, removed, reordered or cut off
    Verify,
    /// Write every event, chain by chain: the requests, then what belongs to none
    Export {
        /// csv for spreadsheets; jsonl with the exact text that each hash is over
        #[arg(long, value_enum)]
        format: Format,
        /// Only events at or after this instant, such as 2026-01-31T09:30:00Z
        #[arg(long, value_name = "INSTANT")]
        from: Option<Timestamp>,
        /// Only events before this instant
        #[arg(long, value_name = "INSTANT")]
        until: Option<Timestamp>,
    },
}

/// The form of an export.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Rows with a header.
    Csv,
    /// One JSON object per line: `chain`, `seq`, `at`, `hash`, `event`.
    Jsonl,
}

/// From when until when.
#[derive(Debug, Clone, Copy)]
struct Span {
    from: Timestamp,
    until: Timestamp,
}

impl Span {
    fn holds(&self, at: Timestamp) -> bool {
        self.from <= at && at < self.until
    }
}

impl Desk<'_> {
    pub(super) async fn audit(&mut self, verb: AuditVerb) -> Result<Outcome, OperateError> {
        match verb {
            AuditVerb::Verify => self.verify().await,
            AuditVerb::Export {
                format,
                from,
                until,
            } => {
                let span = Span {
                    from: from.unwrap_or(Timestamp::MIN),
                    until: until.unwrap_or(Timestamp::MAX),
                };
                self.export(format, span).await
            }
        }
    }

    async fn verify(&mut self) -> Result<Outcome, OperateError> {
        let store = self.store_to_read().await?;
        let report = verify_audit(store.as_ref()).await?;
        let verified = report.problems.is_empty();
        if self.form == Form::Json {
            let problems: Vec<String> = report.problems.iter().map(ToString::to_string).collect();
            self.json(&json!({
                "verified": verified, "events": report.events, "requests": report.requests,
                "problems": problems,
            }))?;
        } else {
            for problem in &report.problems {
                writeln!(self.out, "{problem}")?;
            }
            let read = format!(
                "{} of {} and of the system",
                counted(report.events, "event"),
                counted(report.requests, "request")
            );
            match verified {
                true => writeln!(self.out, "audit verified: {read}")?,
                false => writeln!(
                    self.out,
                    "audit NOT verified: {} in {read}",
                    counted(report.problems.len(), "problem")
                )?,
            }
        }
        Ok(match verified {
            true => Outcome::Well,
            false => Outcome::Wrong,
        })
    }

    async fn export(&mut self, format: Format, span: Span) -> Result<Outcome, OperateError> {
        let store = self.store_to_read().await?;
        if format == Format::Csv {
            self.out.write_all(&csv::header())?;
        }
        let mut outcome = Outcome::Well;
        let mut after = None;
        loop {
            let ids = store.chains(after, PAGE).await?;
            let Some(last) = ids.last().copied() else {
                break;
            };
            for id in ids {
                let Some(events) = readable(store.events(id).await)? else {
                    self.unreadable(&id.to_string(), "the events")?;
                    outcome = Outcome::Wrong;
                    continue;
                };
                let written = match format {
                    Format::Jsonl => {
                        self.export_lines(events.into_iter().filter(|it| span.holds(it.at)))?
                    }
                    Format::Csv => self.export_rows(store.as_ref(), id, span, &events).await?,
                };
                if written == Outcome::Wrong {
                    outcome = Outcome::Wrong;
                }
            }
            after = Some(last);
        }
        let (mut seen, mut leads_on) = (0, true);
        while leads_on {
            let events = store.system_events(seen, PAGE).await?;
            let Some(last) = events.last() else {
                break;
            };
            // An event with a number that none has does not lead on.
            leads_on = last.seq > seen;
            if events.iter().any(|sealed| sealed.seq <= seen) {
                outcome = Outcome::Wrong;
            }
            seen = last.seq;
            let wanted = events.into_iter().filter(|sealed| span.holds(sealed.at));
            if format == Format::Jsonl {
                self.export_lines(wanted)?;
                continue;
            }
            let wanted: Vec<Sealed> = wanted.collect();
            let events = wanted.iter().map(Sealed::system_event);
            let (rows, unreadable) = split(events.map(|event| Some(Row::of_system(&event.ok()?))));
            self.out.write_all(&csv::lines(&rows))?;
            if unreadable > 0 {
                self.left_out("system", unreadable)?;
                outcome = Outcome::Wrong;
            }
        }
        self.out.flush()?;
        Ok(outcome)
    }

    fn export_lines(
        &mut self,
        events: impl Iterator<Item = Sealed>,
    ) -> Result<Outcome, OperateError> {
        for sealed in events {
            let Sealed {
                chain,
                seq,
                at,
                body,
                hash,
            } = sealed;
            let head = json!({ "chain": chain, "seq": seq, "at": at, "hash": hash }).to_string();
            // The event is put in as it is: its hash is over these very bytes.
            let head = head.trim_end_matches('}');
            writeln!(self.out, "{head},\"event\":{body}}}")?;
        }
        Ok(Outcome::Well)
    }

    async fn export_rows(
        &mut self,
        store: &dyn RequestStore,
        id: RequestId,
        span: Span,
        events: &[Sealed],
    ) -> Result<Outcome, OperateError> {
        let wanted: Vec<&Sealed> = events.iter().filter(|it| span.holds(it.at)).collect();
        if wanted.is_empty() {
            return Ok(Outcome::Well);
        }
        let first = events.first().and_then(|first| first.event().ok());
        let asked = first.and_then(|first| Asked::of_first(id, &first));
        let asked = match asked {
            Some(asked) => Some(asked),
            None => {
                let record = readable(store.load(id).await)?.flatten();
                record.as_ref().map(Asked::of_record)
            }
        };
        let Some(asked) = asked else {
            self.left_out(&id.to_string(), wanted.len())?;
            return Ok(Outcome::Wrong);
        };
        let events = wanted.iter().map(|sealed| sealed.event());
        let row = |event: Result<_, _>| Some(Row::of_request(&asked, &event.ok()?));
        let (rows, unreadable) = split(events.map(row));
        self.out.write_all(&csv::lines(&rows))?;
        if unreadable == 0 {
            return Ok(Outcome::Well);
        }
        self.left_out(&id.to_string(), unreadable)?;
        Ok(Outcome::Wrong)
    }

    fn left_out(&mut self, chain: &str, events: usize) -> io::Result<()> {
        self.unreadable(chain, &counted(events, "event"))
    }

    fn unreadable(&mut self, chain: &str, what: &str) -> io::Result<()> {
        writeln!(
            self.remarks,
            "{what} of {chain} cannot be read and were left out; see jit audit verify"
        )
    }
}

/// What was read; none where it can never be.
fn readable<T>(read: Result<T, PortError>) -> Result<Option<T>, PortError> {
    match read {
        Ok(read) => Ok(Some(read)),
        Err(error) if error.kind.is_retryable() => Err(error),
        Err(_) => Ok(None),
    }
}

/// Those that there are, and how many there are not.
fn split<T>(all: impl Iterator<Item = Option<T>>) -> (Vec<T>, usize) {
    let mut missing = 0;
    let there = all.filter_map(|one| {
        missing += usize::from(one.is_none());
        one
    });
    (there.collect(), missing)
}
