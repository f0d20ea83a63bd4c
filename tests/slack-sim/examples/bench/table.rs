//! The table: what was measured, beside what is aimed at.

use std::fmt::Write as _;

use crate::app::Kind;
use crate::load::Durations;

/// What one app took.
#[derive(Debug, Default)]
pub(crate) struct Run {
    pub(crate) connections: usize,
    /// Acknowledgements, eight people waiting on one connection.
    pub(crate) waiting: Durations,
    /// Acknowledgements at fifty a second.
    pub(crate) steady: Durations,
    /// Click to changed card, eight people waiting.
    pub(crate) changed: Durations,
    pub(crate) asks: f64,
    pub(crate) clicks: f64,
    pub(crate) bursts: Vec<Burst>,
    /// In ms.
    pub(crate) cpu_per_ask: f64,
    /// In MiB.
    pub(crate) resident: f64,
    /// In ms.
    pub(crate) connected: f64,
    /// What was not acknowledged or not shown, outside of the bursts.
    pub(crate) lost: usize,
}

/// Many people in one moment.
#[derive(Debug)]
pub(crate) struct Burst {
    pub(crate) people: u32,
    /// The slowest acknowledgement, in ms.
    pub(crate) slowest: f64,
    /// Acknowledgements after Slack's three seconds, or never.
    pub(crate) late: usize,
    /// Cards that were never posted.
    pub(crate) unshown: usize,
}

#[derive(Debug)]
pub(crate) struct Column {
    pub(crate) kind: Kind,
    pub(crate) run: Run,
}

/// What is aimed at.
enum Aim {
    AtMost(f64),
    AtLeast(f64),
    /// At most so many times what the floor takes.
    Floors(f64),
    /// Shown for what it says of the others.
    None,
}

struct Row {
    what: String,
    digits: usize,
    of: Box<dyn Fn(&Run) -> f64>,
    aim: Aim,
}

fn row(what: &str, digits: usize, aim: Aim, of: impl Fn(&Run) -> f64 + 'static) -> Row {
    Row {
        what: what.to_owned(),
        digits,
        of: Box::new(of),
        aim,
    }
}

fn burst(run: &Run, people: u32) -> Option<&Burst> {
    run.bursts.iter().find(|burst| burst.people == people)
}

fn rows() -> Vec<Row> {
    use Aim::{AtLeast, AtMost, Floors, None};
    let count = |count: usize| f64::from(u32::try_from(count).unwrap_or(u32::MAX));
    let mut rows = vec![
        row("ack p50, 8 waiting, one connection, ms", 2, None, |run| {
            run.waiting.at(50)
        }),
        row(
            "ack p99, 8 waiting, one connection, ms",
            2,
            AtMost(3.0),
            |run| run.waiting.at(99),
        ),
        row("the same, beside the floor", 2, Floors(2.0), |run| {
            run.waiting.at(99)
        }),
        row("ack p50 at 50/s, ms", 2, AtMost(1.5), |run| {
            run.steady.at(50)
        }),
        row("ack p99 at 50/s, ms", 2, AtMost(2.4), |run| {
            run.steady.at(99)
        }),
        row("click to changed card p50, 8 waiting, ms", 2, None, |run| {
            run.changed.at(50)
        }),
        row(
            "click to changed card p99, 8 waiting, ms",
            2,
            AtMost(3.0),
            |run| run.changed.at(99),
        ),
        row("asks/s, 8 waiting", 0, AtLeast(4_000.0), |run| run.asks),
        row("clicks/s, 8 waiting", 0, AtLeast(4_000.0), |run| run.clicks),
    ];
    for people in crate::BURSTS {
        let slowest = match people {
            500 => AtMost(150.0),
            _ => None,
        };
        rows.extend([
            row(
                &format!("{people} in one moment, acks past 3 s"),
                0,
                AtMost(0.0),
                move |run| burst(run, people).map_or(f64::NAN, |burst| count(burst.late)),
            ),
            row(
                &format!("{people} in one moment, slowest ack, ms"),
                0,
                slowest,
                move |run| burst(run, people).map_or(f64::NAN, |burst| burst.slowest),
            ),
            row(
                &format!("{people} in one moment, cards never posted"),
                0,
                None,
                move |run| burst(run, people).map_or(f64::NAN, |burst| count(burst.unshown)),
            ),
        ]);
    }
    rows.extend([
        row("CPU per ask, ms", 3, AtMost(0.25), |run| run.cpu_per_ask),
        row("resident after 2,400 flows, MiB", 1, AtMost(24.0), |run| {
            run.resident
        }),
        row("exec to connected, ms", 0, AtMost(40.0), |run| {
            run.connected
        }),
        row("lost outside of the bursts", 0, AtMost(0.0), move |run| {
            count(run.lost)
        }),
        row("connections", 0, None, move |run| count(run.connections)),
    ]);
    rows
}

/// The whole table, as Markdown.
pub(crate) fn drawn(columns: &[Column]) -> String {
    let mut cells = vec![vec!["what".to_owned()]];
    for column in columns {
        cells[0].push(column.kind.name().to_owned());
    }
    cells[0].extend(["aim".to_owned(), String::new()]);
    let of = |kind: Kind| columns.iter().find(|column| column.kind == kind);
    for row in rows() {
        let digits = row.digits;
        let show = |number: f64| match number.is_nan() {
            true => "-".to_owned(),
            false => format!("{number:.digits$}"),
        };
        let mut line = vec![row.what];
        for column in columns {
            let number = (row.of)(&column.run);
            line.push(match (&row.aim, of(Kind::Floor)) {
                (Aim::Floors(_), Some(floor)) => {
                    format!("{:.1}x", number / (row.of)(&floor.run))
                }
                (Aim::Floors(_), None) => "-".to_owned(),
                _ => show(number),
            });
        }
        let ours = of(Kind::Ours).map(|column| (row.of)(&column.run));
        let floor = of(Kind::Floor).map(|column| (row.of)(&column.run));
        let (aim, is_met) = match row.aim {
            Aim::AtMost(most) => (format!("<= {most}"), ours.map(|ours| ours <= most)),
            Aim::AtLeast(least) => (format!(">= {least}"), ours.map(|ours| ours >= least)),
            Aim::Floors(times) => (
                format!("<= {times}x the floor"),
                ours.zip(floor).map(|(ours, floor)| ours <= floor * times),
            ),
            Aim::None => (String::new(), None),
        };
        let verdict = match is_met {
            Some(true) => "met",
            Some(false) => "MISSED",
            None => "",
        };
        line.extend([aim, verdict.to_owned()]);
        cells.push(line);
    }
    aligned(&cells)
}

fn aligned(cells: &[Vec<String>]) -> String {
    let columns = cells.first().map_or(0, Vec::len);
    let width = |column: usize| {
        let widths = cells.iter().filter_map(|line| line.get(column));
        widths.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for (number, line) in cells.iter().enumerate() {
        for (cell, width) in line.iter().zip(&widths) {
            let _ = write!(text, "| {cell:<width$} ");
        }
        text.push_str("|\n");
        if number == 0 {
            for width in &widths {
                let _ = write!(text, "|{:-<1$}", "", width + 2);
            }
            text.push_str("|\n");
        }
    }
    text
}

/// On what it was measured.
pub(crate) fn machine(disk: &Durations) -> String {
    let processors = std::thread::available_parallelism().map_or(0, usize::from);
    let memory = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let memory = memory
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"));
    let kib: Option<f64> = memory.and_then(|line| line.split_whitespace().next()?.parse().ok());
    let gib = kib.map_or(0.0, |kib| kib / 1_048_576.0);
    format!(
        "Measured on {processors} processors, {gib:.0} GiB; the disk keeps 4 KiB (fdatasync) in \
         {:.2} ms p50, {:.2} ms p90, {:.2} ms p99.",
        disk.at(50),
        disk.at(90),
        disk.at(99),
    )
}
