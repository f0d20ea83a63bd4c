//! `audit verify` and `audit export`. Both read the store chain by chain, and an export line by line, so
//! that an audit of any length fits into memory.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand, ValueEnum};
use jit_core::Timestamp;
use jit_core::audit::{SYSTEM_CHAIN, Sealed};
use jit_core::digest::Digest;
use jit_core::engine::{AuditReport, ExportedAudit, verify_audit};
use jit_core::ports::{PortError, RequestStore};
use jit_core::request::RequestId;
use serde::Deserialize;
use serde_json::json;

use super::{Desk, Form, OperateError, Outcome, counted};
use crate::csv::{self, Asked, Row};

/// How many chains, or events of the system chain, are read at once.
const PAGE: usize = 500;

/// About the audit.
#[derive(Debug, Subcommand)]
pub enum AuditVerb {
    /// Read every chain back and prove that no event was edited, removed, reordered or cut off
    Verify(VerifyArgs),
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

/// What is verified; the store where nothing is named.
#[derive(Debug, Default, Args)]
pub struct VerifyArgs {
    /// Not the store, but what `audit export --format jsonl` wrote of all of it
    #[arg(long, value_name = "FILE")]
    pub export: Option<PathBuf>,
    /// An earlier such file: whatever is in it must still be there
    #[arg(long, value_name = "FILE", requires = "export")]
    pub against: Option<PathBuf>,
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
            AuditVerb::Verify(VerifyArgs {
                export: Some(file),
                against,
            }) => self.verify_export(&file, against.as_deref()),
            AuditVerb::Verify(_) => {
                let store = self.store_to_read().await?;
                let report = verify_audit(store.as_ref()).await?;
                self.verified(&report, &[])
            }
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

    /// A file proves less than the store: it has no records, and no head of its own.
    fn verify_export(
        &mut self,
        file: &Path,
        against: Option<&Path>,
    ) -> Result<Outcome, OperateError> {
        let earlier = against.map(read_export).transpose()?;
        let audit = read_export(file)?;
        let mut remarks = vec![];
        if earlier.is_none() {
            remarks.push(match audit.checkpoint_at() {
                Some(at) => format!(
                    "what was written after its last checkpoint, at {at}, may have been cut off \
                     unseen; --against an earlier export says more"
                ),
                None => "no checkpoint is in it: whole requests, and what came last of any, may \
                         have been cut off unseen; --against an earlier export says more"
                    .to_owned(),
            });
        }
        self.verified(&audit.report(earlier.as_ref()), &remarks)
    }

    fn verified(
        &mut self,
        report: &AuditReport,
        remarks: &[String],
    ) -> Result<Outcome, OperateError> {
        let verified = report.problems.is_empty();
        if self.form == Form::Json {
            let problems: Vec<String> = report.problems.iter().map(ToString::to_string).collect();
            self.json(&json!({
                "verified": verified, "events": report.events, "requests": report.requests,
                "problems": problems, "remarks": remarks,
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
            for remark in remarks {
                writeln!(self.remarks, "{remark}")?;
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

/// Everything that is in an export.
fn read_export(file: &Path) -> Result<ExportedAudit, OperateError> {
    let unreadable = |what| OperateError::Unreadable {
        path: file.to_owned(),
        what,
    };
    let opened = File::open(file).map_err(|error| unreadable(error.to_string()))?;
    let mut audit = ExportedAudit::default();
    for (number, line) in (1..).zip(BufReader::new(opened).lines()) {
        let line = line.map_err(|error| unreadable(format!("line {number}: {error}")))?;
        let sealed = sealed_in(&line).ok_or_else(|| {
            unreadable(format!(
                "line {number} is none of what audit export --format jsonl writes"
            ))
        })?;
        audit.add(&sealed);
    }
    match audit.is_empty() {
        true => Err(unreadable("there is no event in it".to_owned())),
        false => Ok(audit),
    }
}

/// The event that a line of an export holds.
fn sealed_in(line: &str) -> Option<Sealed> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Front {
        chain: String,
        seq: u64,
        at: Timestamp,
        hash: Digest,
    }
    // The event is taken as it is: its hash is over these very bytes.
    let (front, event) = line.split_once(",\"event\":")?;
    let front: Front = serde_json::from_str(&format!("{front}}}")).ok()?;
    let is_chain = front.chain == SYSTEM_CHAIN || front.chain.parse::<RequestId>().is_ok();
    is_chain.then_some(Sealed {
        chain: front.chain,
        seq: front.seq,
        at: front.at,
        body: event.strip_suffix('}')?.to_owned(),
        hash: front.hash,
    })
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
