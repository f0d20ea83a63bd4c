//! What the CSV files promise.

use std::os::unix::fs::PermissionsExt;

use jit_core::Timestamp;
use jit_core::audit::{ChainHead, Fact, Link, RequestEvent, SystemFact};
use jit_core::digest::Digest;
use jit_core::ports::{Delivery, DeliveryKey};
use jit_core::principal::{Door, Principal};
use jit_core::provider::{Description, Kind, NativeExpiry, Target};
use jit_core::request::{Part, Parts, Stage, Status, Terms};
use jit_testkit::notifier::{Breakage, NotifierFixture, notifier_contract};
use tempfile::TempDir;

use super::*;

fn at(second: i64) -> Timestamp {
    Timestamp::from_unix_micros((1_800_000_000 + second) * 1_000_000)
}

fn request() -> AccessRequest {
    let zero = std::time::Duration::ZERO;
    let part = |entitlement: &str| Part {
        entitlement: entitlement.parse().unwrap(),
        parameters: Default::default(),
        label: None,
        target: Target {
            realm: "r".to_owned(),
            subject: "ana".parse().unwrap(),
            resource: "admins".to_owned(),
        },
        provider: Description {
            kind: Kind::Standing,
            native_expiry: NativeExpiry::None,
            revocable: true,
            pending_visible: true,
            listable: true,
            accepted_within: zero,
            applied_within: zero,
            residual: zero,
        },
        fallback: None,
    };
    let id = jit_core::request::RequestId::new(at(0), [7; 10]);
    AccessRequest {
        shape: 1,
        id,
        version: 1,
        chain: ChainHead::start("x"),
        requester: "ana@example.com".parse().unwrap(),
        beneficiary: "zoe@example.com".parse().unwrap(),
        parts: Parts::try_from(vec![part("groupfile/admins"), part("groupfile/dba")]).unwrap(),
        ttl: "30m".parse().unwrap(),
        reason: "why".parse().unwrap(),
        terms: Terms {
            tier: "low".parse().unwrap(),
            ttl_max: "1h".parse().unwrap(),
            approvals: 1,
            residual_max_secs: 0,
            policy: Digest::of(b"policy"),
        },
        opened_at: at(0),
        decide_by: at(60),
        ladder: vec![],
        updated_at: at(0),
        approvals: Vec::new(),
        stage: Stage::Pending,
    }
}

fn bob() -> Actor {
    Actor::Principal {
        id: "bob@example.com".parse().unwrap(),
        via: Principal {
            id: "bob".parse().unwrap(),
            door: Door::Http,
        },
    }
}

fn event(seq: u64, what: Fact) -> AuditEvent {
    Link {
        shape: 1,
        chain: request().id.to_string(),
        seq,
        at: at(i64::try_from(seq).unwrap()),
        actor: bob(),
        event: RequestEvent {
            what,
            status: Status::Denied,
            expires_at: Some(at(100)),
        },
        prev: Digest::of(b"before"),
    }
}

fn denied(seq: u64, reason: &str) -> AuditEvent {
    let reason = reason.parse().unwrap();
    event(seq, Fact::Denied { reason })
}

#[test]
fn every_cell_stands_in_its_column() {
    let provision_by = at(50);
    let granted = Fact::Granted {
        expires_at: at(100),
        provision_by,
    };
    let events = [denied(1, "not today, \"Ana\""), event(2, granted)];
    let mut text = header();
    text.extend(lines(&rows(&request(), &events)));
    let before = Digest::of(b"before");
    let common = "ana@example.com,zoe@example.com,groupfile/admins groupfile/dba,denied,30m,\
                  2027-01-15T08:01:40Z";
    let id = request().id;
    let expected = format!(
        "time,request,seq,event,actor,via,requester,beneficiary,entitlement,status,ttl,expires_at,\
         reason,detail,previous_hash\n\
         2027-01-15T08:00:01Z,{id},1,denied,bob@example.com,http as bob,{common},\
         \"not today, \"\"Ana\"\"\",,{before}\n\
         2027-01-15T08:00:02Z,{id},2,granted,bob@example.com,http as bob,{common},\
         ,\"{{\"\"provision_by\"\":\"\"2027-01-15T08:00:50Z\"\"}}\",{before}\n"
    );
    assert_eq!(String::from_utf8(text).unwrap(), expected);
}

#[test]
fn facts_of_no_request_use_the_same_columns() {
    let of = |event| Link {
        shape: 1,
        chain: "system".to_owned(),
        seq: 4,
        at: at(0),
        actor: Actor::Operator,
        event,
        prev: Digest::of(b"before"),
    };
    let event = of(SystemFact::TokenMade {
        token: "t1".to_owned(),
        principal: "ana".parse().unwrap(),
        expires_at: at(9),
    });
    let cells = Row::of_system(&event).0;
    let cell = |name: &str| {
        let index = COLUMNS.iter().position(|column| *column == name).unwrap();
        cells[index].as_str()
    };
    assert_eq!((cell("request"), cell("seq")), ("", "4"));
    assert_eq!((cell("event"), cell("actor")), ("token_made", "operator"));
    assert_eq!(cell("expires_at"), "2027-01-15T08:00:09Z");
    assert_eq!(cell("detail"), r#"{"principal":"ana","token":"t1"}"#);
    assert_eq!(Row::of_system(&of(SystemFact::Paused)).0[3], "paused");
}

#[tokio::test]
async fn s13_nothing_in_the_file_acts_on_a_terminal() {
    let mean = "a\u{1b}[2J\u{7f}\u{9b}31m\u{202e}b\u{e0041}\u{2028}";
    let intended = Fact::GrantIntended {
        epoch: 1,
        send_before: at(9),
        target: Target {
            realm: "r".to_owned(),
            subject: "ana".parse().unwrap(),
            resource: mean.to_owned(),
        },
        took_over: None,
    };
    let folder = Folder::new();
    let news = [event(1, intended), denied(2, "=1+1")];
    tell(&folder.sink(), 0, &news).await.unwrap();
    let text = folder.text();
    assert!(!text.contains(|c: char| acts(c) && c != '\n'), "{text:?}");
    assert_eq!(text.lines().count(), 3, "a row each, under the header");
    // What was written is still what the provider called it.
    let mut file = ::csv::Reader::from_reader(text.as_bytes());
    let row = file.records().next().unwrap().unwrap();
    let detail: Value = serde_json::from_str(&row[13]).unwrap();
    assert_eq!(detail["target"]["resource"], mean);
}

#[test]
fn s13_no_cell_is_a_formula() {
    for first in ["=", "+", "-", "@"] {
        for before in ["", " "] {
            let mut cells = [const { String::new() }; COLUMNS.len()];
            cells[12] = format!("{before}{first}cmd|'/c calc'!A1");
            cells[0] = "plain = text".to_owned();
            let row = Row(cells.clone()).inert();
            assert_eq!(row.0[12], format!("'{}", cells[12]));
            assert_eq!(row.0[0], cells[0]);
        }
    }
    for first in ["\t", "\r", "\n"] {
        let mut cells = [const { String::new() }; COLUMNS.len()];
        cells[12] = format!("{first}=1+1");
        assert!(Row(cells).inert().0[12].starts_with('\''));
    }
    // Through the front door.
    let asked = Asked::of_record(&request());
    let row = Row::of_request(&asked, &denied(1, "=HYPERLINK(\"http://x\")"));
    assert_eq!(row.0[12], "'=HYPERLINK(\"http://x\")");
}

/// A folder with a sink in it.
struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn file(&self) -> PathBuf {
        self.0.path().join("audit_log.csv")
    }

    fn sink(&self) -> CsvSink {
        CsvSink::new(self.file())
    }

    fn text(&self) -> String {
        std::fs::read_to_string(self.file()).unwrap()
    }

    /// The numbers of the events in the file, through a reader of CSV.
    fn seqs(&self) -> Vec<u64> {
        let mut reader = ::csv::Reader::from_path(self.file()).unwrap();
        assert_eq!(reader.headers().unwrap(), COLUMNS.as_slice());
        let records = reader.records().map(|record| record.unwrap());
        records.map(|record| record[2].parse().unwrap()).collect()
    }
}

async fn tell(sink: &CsvSink, shown_seq: u64, news: &[AuditEvent]) -> Result<(), PortError> {
    let request = request();
    let delivery = Delivery {
        key: DeliveryKey {
            request: request.id,
            notifier: sink.name().to_owned(),
            target: sink.targets(&request).remove(0),
        },
        version: 1,
        message: None,
        shown_seq,
        attempts: 0,
        deliver_at: None,
        taken_until: None,
    };
    let announcement = Announcement {
        delivery: &delivery,
        request: &request,
        news,
        background: None,
    };
    sink.announce(announcement).await.map(|_| ())
}

#[tokio::test]
async fn each_event_becomes_one_row_under_one_header() {
    let folder = Folder::new();
    let sink = folder.sink();
    tell(&sink, 0, &[denied(1, "a"), denied(2, "b")])
        .await
        .unwrap();
    tell(&sink, 2, &[denied(3, "c")]).await.unwrap();
    tell(&sink, 3, &[]).await.unwrap();
    assert_eq!(folder.seqs(), [1, 2, 3]);
    assert_eq!(folder.text().matches("previous_hash").count(), 1);
}

#[tokio::test]
async fn what_was_written_before_is_not_written_again() {
    let folder = Folder::new();
    let sink = folder.sink();
    let news = [denied(1, "a"), denied(2, "b")];
    tell(&sink, 0, &news).await.unwrap();
    tell(&sink, 2, &news).await.unwrap();
    assert_eq!(folder.seqs(), [1, 2]);
}

#[tokio::test]
async fn only_the_owner_may_read_it() {
    let folder = Folder::new();
    tell(&folder.sink(), 0, &[denied(1, "a")]).await.unwrap();
    let mode = folder.file().metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[tokio::test]
async fn a_file_that_was_rotated_away_is_begun_anew() {
    let folder = Folder::new();
    let sink = folder.sink();
    tell(&sink, 0, &[denied(1, "a")]).await.unwrap();
    let old = folder.file().with_extension("1");
    std::fs::rename(folder.file(), &old).unwrap();
    tell(&sink, 1, &[denied(2, "b")]).await.unwrap();
    assert_eq!(folder.seqs(), [2]);
    assert!(std::fs::read_to_string(old).unwrap().contains(",1,denied,"));
}

#[tokio::test]
async fn a_line_that_a_crash_cut_spoils_no_other() {
    let folder = Folder::new();
    let sink = folder.sink();
    tell(&sink, 0, &[denied(1, "a")]).await.unwrap();
    let cut = format!("{}2027-01-15T08", folder.text());
    std::fs::write(folder.file(), cut).unwrap();
    tell(&sink, 1, &[denied(2, "b")]).await.unwrap();
    let text = folder.text();
    let last = text.lines().last().unwrap();
    let whole = format!("2027-01-15T08:00:02Z,{},2,denied,", request().id);
    assert!(last.starts_with(&whole), "{text}");
}

#[tokio::test]
async fn a_file_that_cannot_be_written_is_an_error_that_is_tried_again() {
    let folder = Folder::new();
    let sink = CsvSink::new(folder.0.path().join("missing/audit_log.csv"));
    let error = tell(&sink, 0, &[denied(1, "a")]).await.unwrap_err();
    assert!(error.kind.is_retryable());
    std::fs::create_dir(folder.0.path().join("missing")).unwrap();
    tell(&sink, 0, &[denied(1, "a")]).await.unwrap();
}

#[tokio::test]
async fn another_process_that_appends_is_waited_for_by_trying_again() {
    let folder = Folder::new();
    let sink = folder.sink();
    tell(&sink, 0, &[denied(1, "a")]).await.unwrap();
    let other = File::open(folder.file()).unwrap();
    other.lock().unwrap();
    let error = tell(&sink, 1, &[denied(2, "b")]).await.unwrap_err();
    assert!(error.kind.is_retryable());
    other.unlock().unwrap();
    tell(&sink, 1, &[denied(2, "b")]).await.unwrap();
    assert_eq!(folder.seqs(), [1, 2]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn announcements_at_once_do_not_mix() {
    let folder = Folder::new();
    let sink = folder.sink();
    let tell_one = |seq: u64| {
        let sink = sink.clone();
        tokio::spawn(async move { tell(&sink, seq - 1, &[denied(seq, "a")]).await })
    };
    let tasks: Vec<_> = (1..=20).map(tell_one).collect();
    for task in tasks {
        task.await.unwrap().unwrap();
    }
    let mut seqs = folder.seqs();
    seqs.sort_unstable();
    assert_eq!(seqs, (1..=20).collect::<Vec<_>>());
}

/// A file in a folder that can be taken away.
struct Ledger {
    house: TempDir,
}

impl Ledger {
    fn folder(&self) -> PathBuf {
        self.house.path().join("log")
    }

    fn away(&self) -> PathBuf {
        self.house.path().join("away")
    }
}

#[async_trait]
impl NotifierFixture for Ledger {
    fn counterpart(&self) -> &'static str {
        "a real file"
    }
    fn notifier(&self) -> Arc<dyn Notifier> {
        Arc::new(CsvSink::new(self.folder().join("audit_log.csv")))
    }
    async fn seen(&self, _: &str) -> Vec<String> {
        let text = std::fs::read_to_string(self.folder().join("audit_log.csv"));
        let text = text.unwrap_or_default();
        text.lines().skip(1).map(str::to_owned).collect()
    }
    fn breakages(&self) -> &'static [Breakage] {
        &[Breakage::Outage]
    }
    async fn break_calls(&mut self, _: Breakage) {
        std::fs::rename(self.folder(), self.away()).unwrap();
    }
    async fn mend(&mut self) {
        std::fs::rename(self.away(), self.folder()).unwrap();
    }
    async fn pass(&mut self, _: std::time::Duration) {}
}

#[tokio::test]
async fn the_sink_keeps_the_contract_of_notifiers() {
    let mut ledger = Ledger {
        house: tempfile::tempdir().unwrap(),
    };
    std::fs::create_dir(ledger.folder()).unwrap();
    notifier_contract(&mut ledger).await;
}
