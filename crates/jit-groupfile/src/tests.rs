//! The adapter against real files: the contract suite, and what only a file can do.

use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Mutex;

use jit_core::catalog::ParameterRule;
use jit_core::ports::Effect;
use jit_core::principal::PrincipalKind;
use jit_core::request::RequestId;
use jit_testkit::provisioner::{
    Ask, Breakage, Counterpart, ProvisionerFixture, Sight, provisioner_contract,
};
use tempfile::TempDir;

use super::*;

const TEXT: &str = "# who may do what\n\nadmins: bob\r\nops: ana cy\nadmins: dee";

struct ManualClock(Mutex<Timestamp>);

impl ManualClock {
    fn new() -> Arc<Self> {
        let noon = Timestamp::from_unix_micros(1_800_000_000_000_000);
        Arc::new(Self(Mutex::new(noon)))
    }

    fn pass(&self, time: Duration) {
        let mut now = self.0.lock().unwrap();
        *now = *now + time;
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        *self.0.lock().unwrap()
    }
}

/// A folder with a group file in it, and an adapter on that file.
struct Scene {
    folder: TempDir,
    path: PathBuf,
    clock: Arc<ManualClock>,
    adapter: Arc<GroupFile>,
}

impl Scene {
    fn new() -> Self {
        Self::with(TEXT.as_bytes())
    }

    fn with(text: &[u8]) -> Self {
        let folder = TempDir::new().unwrap();
        let path = folder.path().canonicalize().unwrap().join("groups");
        fs::write(&path, text).unwrap();
        let clock = ManualClock::new();
        Self {
            adapter: adapter(&path, &clock),
            folder,
            path,
            clock,
        }
    }

    fn text(&self) -> String {
        fs::read_to_string(&self.path).unwrap()
    }

    fn target(&self, person: &str) -> Target {
        Target {
            realm: REALM.to_owned(),
            subject: person.parse().unwrap(),
            resource: format!("{}#admins", self.path.display()),
        }
    }

    async fn grant(&self, person: &str) -> Result<Answer, PortError> {
        let limit = self.clock.now() + Duration::from_secs(30);
        grant(&self.adapter, &self.target(person), limit).await
    }

    async fn revoke(&self, person: &str) -> Result<Answer, PortError> {
        let limit = self.clock.now() + Duration::from_secs(30);
        revoke(&self.adapter, &self.target(person), limit).await
    }

    async fn inspect(&self, person: &str) -> Result<Presence, PortError> {
        let target = self.target(person);
        let call = InspectCall {
            purpose: jit_core::ports::Purpose::TakeAway,
            request: id(),
            target: &target,
            parameters: &Parameters::new(),
            handle: None,
            expires_at: Timestamp::MAX,
            send_before: None,
        };
        self.adapter.inspect(call).await
    }
}

fn adapter(path: &Path, clock: &Arc<ManualClock>) -> Arc<GroupFile> {
    let name = "groupfile".parse().unwrap();
    Arc::new(GroupFile::new(name, path, clock.clone()))
}

fn id() -> RequestId {
    RequestId::new(Timestamp::MIN, [1; 10])
}

async fn grant(
    adapter: &GroupFile,
    target: &Target,
    send_before: Timestamp,
) -> Result<Answer, PortError> {
    let call = GrantCall {
        request: id(),
        target,
        parameters: &Parameters::new(),
        template: None,
        expires_at: Timestamp::MAX,
        send_before,
    };
    adapter.grant(call).await
}

async fn revoke(
    adapter: &GroupFile,
    target: &Target,
    send_before: Timestamp,
) -> Result<Answer, PortError> {
    let call = RevokeCall {
        request: id(),
        target,
        parameters: &Parameters::new(),
        handle: None,
        send_before,
    };
    adapter.revoke(call).await
}

fn ask(person: &str, group: &str) -> Ask {
    Ask {
        beneficiary: Profile {
            id: person.parse().unwrap(),
            kind: PrincipalKind::Person,
            active: true,
            groups: [].into(),
            groups_unknown: Default::default(),
            manager: None,
            subjects: [].into(),
        },
        entitlement: Entitlement {
            id: "groupfile/admins".parse().unwrap(),
            resource: group.to_owned(),
            title: String::new(),
            how_to_use: String::new(),
            tier: "low".parse().unwrap(),
            parameters: ParameterRule::Refused,
            display: None,
            template: None,
            allows: String::new(),
            fallback: None,
        },
        parameters: Parameters::new(),
    }
}

async fn resolve(adapter: &GroupFile, ask: &Ask) -> Result<Target, PortError> {
    let resolved = adapter.resolve(&ask.beneficiary, &ask.entitlement, &ask.parameters);
    resolved.await.map(|resolved| resolved.target)
}

/// The whole chain of causes as one text.
fn told(error: &PortError) -> String {
    let mut text = error.to_string();
    let mut cause: Option<&dyn std::error::Error> = std::error::Error::source(error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

// ------------------------------------------------------------------------------ the contract

struct RealFile(Scene);

#[async_trait]
impl ProvisionerFixture for RealFile {
    fn counterpart(&self) -> Counterpart {
        Counterpart {
            name: "a real file",
            cannot_show: vec![
                (Sight::Breakage(Breakage::Throttling), "no disk says so"),
                (Sight::Breakage(Breakage::Outage), "there is no network"),
                (
                    Sight::Breakage(Breakage::LostReply),
                    "a rename answers or the machine is down",
                ),
            ],
        }
    }

    fn provisioner(&self) -> Arc<dyn Provisioner> {
        self.0.adapter.clone()
    }

    fn now(&self) -> Timestamp {
        self.0.clock.now()
    }

    async fn pass(&mut self, time: Duration) {
        self.0.clock.pass(time);
    }

    fn known(&self) -> Ask {
        ask("ana@example.com", "admins")
    }

    fn unknown(&self) -> Ask {
        ask("ana@example.com", "nobody")
    }

    fn alias(&self) -> Option<(Arc<dyn Provisioner>, Ask)> {
        let link = self.0.folder.path().join("link");
        symlink(&self.0.path, &link).unwrap();
        Some((adapter(&link, &self.0.clock), self.known()))
    }

    async fn crowd(&mut self) {
        let crowd: String = (0..250).map(|n| format!(" person-{n}")).collect();
        let text = self.0.text() + &crowd;
        fs::write(&self.0.path, text).unwrap();
    }

    async fn is_effective(&mut self, _: RequestId, target: &Target, _: &Parameters) -> bool {
        let text = self.0.text();
        let lines = text.lines().filter_map(|line| line.strip_prefix("admins:"));
        lines
            .flat_map(str::split_whitespace)
            .any(|word| word == target.subject.as_str())
    }

    async fn break_calls(&mut self, _: Breakage) {
        let aside = self.0.path.with_extension("aside");
        fs::rename(&self.0.path, aside).unwrap();
        fs::create_dir(&self.0.path).unwrap();
    }

    async fn mend(&mut self) {
        fs::remove_dir(&self.0.path).unwrap();
        let aside = self.0.path.with_extension("aside");
        fs::rename(aside, &self.0.path).unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn the_group_file_passes_the_contract() {
    let mut fixture = RealFile(Scene::new());
    provisioner_contract(&mut fixture).await;
}

// ------------------------------------------------------------------------------- what resolves

#[tokio::test]
async fn a_person_is_named_by_their_subject_and_else_by_their_canonical_id() {
    let scene = Scene::new();
    let mut ask = ask("ana@example.com", "admins");
    let target = resolve(&scene.adapter, &ask).await.unwrap();
    assert_eq!(target, scene.target("ana@example.com"));
    let subjects = [("groupfile", "ana"), ("other", "eve")];
    ask.beneficiary.subjects = subjects
        .map(|(provider, subject)| (provider.parse().unwrap(), subject.parse().unwrap()))
        .into();
    let target = resolve(&scene.adapter, &ask).await.unwrap();
    assert_eq!(target, scene.target("ana"));
}

#[tokio::test]
async fn what_cannot_stand_in_a_group_file_is_refused() {
    let scene = Scene::new();
    let refused = async |ask: Ask| {
        let error = resolve(&scene.adapter, &ask).await.unwrap_err();
        (error.kind, error.effect)
    };
    let never = (ErrorKind::Misconfigured, Effect::None);
    for subject in ["a b", "a:b", "#ana", "a\u{a0}b", "\"ana", "'ana", "ana\\"] {
        let mut ask = ask("ana", "admins");
        let name = "groupfile".parse().unwrap();
        let subject = subject.parse().unwrap();
        ask.beneficiary.subjects = [(name, subject)].into();
        assert_eq!(refused(ask).await, never);
        let target = Target {
            subject: "a b".parse().unwrap(),
            ..scene.target("ana")
        };
        let error = grant(&scene.adapter, &target, Timestamp::MAX).await;
        assert_eq!(error.unwrap_err().kind, ErrorKind::Misconfigured);
    }
    let mut parameters = Parameters::new();
    parameters.insert("n".into(), 1.into());
    let call = GrantCall {
        request: id(),
        target: &scene.target("ana"),
        parameters: &parameters,
        template: None,
        expires_at: Timestamp::MAX,
        send_before: Timestamp::MAX,
    };
    let error = scene.adapter.grant(call).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Misconfigured);
    for group in ["", " admins", "admins:", "a#b", "a\nb"] {
        assert_eq!(refused(ask("ana", group)).await, never, "{group:?}");
    }
    assert_eq!(refused(ask("agent:bot", "admins")).await, never);
    let mut with_parameters = ask("ana", "admins");
    with_parameters.parameters = parameters;
    assert_eq!(refused(with_parameters).await, never);
    assert_eq!(
        refused(ask("ana", "nobody")).await,
        (ErrorKind::NotFound, Effect::None)
    );
    assert_eq!(scene.text(), TEXT);
}

// ------------------------------------------------------------------------------ what is written

#[tokio::test]
async fn foreign_bytes_survive_a_grant_and_a_revoke() {
    let scene = Scene::new();
    scene.grant("ana").await.unwrap();
    let expected = TEXT.replace("admins: bob\r", "admins: bob ana\r");
    assert_eq!(scene.text(), expected);
    let inode = fs::metadata(&scene.path).unwrap().ino();
    scene.grant("ana").await.unwrap();
    scene.grant("dee").await.unwrap();
    assert_eq!(scene.text(), expected, "both are there already");
    let untouched = fs::metadata(&scene.path).unwrap().ino();
    assert_eq!(untouched, inode, "nothing to change, nothing written");
    scene.revoke("ana").await.unwrap();
    assert_eq!(scene.text(), TEXT);
    let left: Vec<_> = fs::read_dir(scene.folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(left.len(), 2, "the file and its lock, not {left:?}");
}

#[tokio::test]
async fn mode_and_owner_are_kept() {
    let scene = Scene::new();
    fs::set_permissions(&scene.path, fs::Permissions::from_mode(0o640)).unwrap();
    // Only root may give a file away; for others the owner stays their own.
    let is_given_away = chown(&scene.path, Some(4_242), Some(2_424)).is_ok();
    let before = fs::metadata(&scene.path).unwrap();
    scene.grant("ana").await.unwrap();
    let after = fs::metadata(&scene.path).unwrap();
    assert_ne!(after.ino(), before.ino(), "the file was replaced");
    assert_eq!(after.mode(), before.mode());
    assert_eq!((after.uid(), after.gid()), (before.uid(), before.gid()));
    assert!(!is_given_away || after.uid() == 4_242);
}

#[tokio::test]
async fn a_link_stays_a_link_and_its_file_is_changed() {
    let scene = Scene::new();
    let link = scene.folder.path().join("link");
    symlink(&scene.path, &link).unwrap();
    let linked = adapter(&link, &scene.clock);
    let target = resolve(&linked, &ask("ana", "admins")).await.unwrap();
    assert_eq!(target, scene.target("ana"), "one file, one slot");

    // A record may also name what has become a link since.
    let moved = scene.path.with_extension("moved");
    fs::rename(&scene.path, &moved).unwrap();
    symlink(&moved, &scene.path).unwrap();
    scene.grant("ana").await.unwrap();
    assert!(fs::symlink_metadata(&scene.path).unwrap().is_symlink());
    assert!(fs::read_to_string(&moved).unwrap().contains("bob ana"));
}

#[tokio::test]
async fn what_a_crash_left_behind_is_no_obstacle() {
    let scene = Scene::new();
    fs::write(scene.folder.path().join("groups.new"), "half a fi").unwrap();
    scene.grant("ana").await.unwrap();
    assert!(scene.text().contains("bob ana"));
}

#[tokio::test]
async fn a_revoke_needs_only_the_record() {
    let scene = Scene::new();
    scene.grant("ana").await.unwrap();
    let stranger = GroupFile::new(
        "renamed".parse().unwrap(),
        "/nowhere/at/all",
        scene.clock.clone(),
    );
    revoke(&stranger, &scene.target("ana"), Timestamp::MAX)
        .await
        .unwrap();
    assert_eq!(scene.text(), TEXT);
}

// ---------------------------------------------------------------------------- what goes wrong

#[tokio::test]
async fn a_file_that_is_gone_is_an_error_and_never_absence() {
    let scene = Scene::new();
    fs::remove_file(&scene.path).unwrap();
    let errors = [
        scene.grant("ana").await.unwrap_err(),
        scene.revoke("ana").await.unwrap_err(),
        scene.inspect("ana").await.unwrap_err(),
        resolve(&scene.adapter, &ask("ana", "admins"))
            .await
            .unwrap_err(),
    ];
    for error in errors {
        assert_eq!(error.kind, ErrorKind::Misconfigured, "{}", told(&error));
        assert_eq!(error.effect, Effect::None);
    }
    assert!(!scene.path.exists(), "nobody made a new one");
}

#[tokio::test]
async fn a_group_that_is_gone_has_no_members() {
    let scene = Scene::with(b"ops: ana\n");
    assert_eq!(scene.inspect("ana").await.unwrap(), Presence::Absent);
    assert_eq!(scene.revoke("ana").await.unwrap(), Answer::Applied);
    let error = scene.grant("ana").await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::NotFound);
    assert_eq!(scene.text(), "ops: ana\n");
}

#[tokio::test]
async fn a_malformed_file_is_refused_with_its_line_and_never_rewritten() {
    let large = [b"admins: bob\n#".as_slice(), &[b'x'; 1024 * 1024]].concat();
    let cases: [(&[u8], &str); 4] = [
        (b"admins: ana\n\nops bob\n", "line 3"),
        (b"admins: ana\nops: \xff\xfe\n", "line 2"),
        (b"admins: ana \\\nbob\n", "line 1"),
        (&large, "1 MiB"),
    ];
    for (bytes, named) in cases {
        let scene = Scene::with(bytes);
        let errors = [
            scene.grant("ana").await.unwrap_err(),
            scene.revoke("ana").await.unwrap_err(),
            scene.inspect("ana").await.unwrap_err(),
            resolve(&scene.adapter, &ask("ana", "admins"))
                .await
                .unwrap_err(),
        ];
        for error in errors {
            assert_eq!(error.kind, ErrorKind::Misconfigured);
            assert_eq!(error.effect, Effect::None);
            let told = told(&error);
            assert!(told.contains(named), "{told:?} does not name {named}");
        }
        assert_eq!(fs::read(&scene.path).unwrap(), bytes);
    }
}

#[tokio::test]
async fn a_record_of_another_realm_is_refused_and_the_file_is_not_even_locked() {
    let scene = Scene::new();
    let foreign = Target {
        realm: "https://example.okta.com".to_owned(),
        ..scene.target("bob")
    };
    let look = InspectCall {
        purpose: jit_core::ports::Purpose::TakeAway,
        request: id(),
        target: &foreign,
        parameters: &Parameters::new(),
        handle: None,
        expires_at: Timestamp::MAX,
        send_before: None,
    };
    for error in [
        grant(&scene.adapter, &foreign, Timestamp::MAX)
            .await
            .unwrap_err(),
        revoke(&scene.adapter, &foreign, Timestamp::MAX)
            .await
            .unwrap_err(),
        scene.adapter.inspect(look).await.unwrap_err(),
    ] {
        assert_eq!(error.kind, ErrorKind::Misconfigured);
        assert_eq!(error.effect, Effect::None);
        let told = told(&error);
        assert!(told.contains("of another realm"), "{told}");
    }
    assert_eq!(scene.text(), TEXT);
    assert!(!scene.folder.path().join("groups.lock").exists());
}

#[tokio::test]
async fn what_is_no_regular_file_is_refused() {
    let scene = Scene::new();
    for path in [Path::new("/dev/null"), scene.folder.path()] {
        let adapter = adapter(path, &scene.clock);
        let error = resolve(&adapter, &ask("ana", "admins")).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Misconfigured, "{}", told(&error));
    }
}

#[tokio::test]
async fn a_file_does_not_grow_past_its_ceiling() {
    let scene = Scene::with(&[b"admins: bob\n#".as_slice(), &[b'x'; 1024 * 1024 - 13]].concat());
    let error = scene.grant("ana").await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Misconfigured);
    scene.revoke("bob").await.unwrap();
    assert!(scene.text().starts_with("admins:\n#"));
}

/// Permission bits do not stop root, under whom tests often run, so the folder is made unwritable
/// by what stops everybody: something that is in the way.
#[tokio::test]
async fn a_file_that_cannot_be_written_stays_as_it_is() {
    let scene = Scene::new();
    fs::create_dir_all(scene.folder.path().join("groups.new/in the way")).unwrap();
    let error = scene.grant("ana").await.unwrap_err();
    assert_eq!(error.effect, Effect::None, "{}", told(&error));
    assert_eq!(scene.text(), TEXT);
    assert_eq!(scene.inspect("ana").await.unwrap(), Presence::Absent);

    let scene = Scene::new();
    fs::create_dir(scene.folder.path().join("groups.lock")).unwrap();
    let answer = scene.grant("ana").await;
    assert!(answer.is_ok(), "a folder locks as well as a file");
}

#[tokio::test]
async fn nobody_else_can_read_the_lock_and_so_hold_it() {
    let scene = Scene::new();
    let far = scene.clock.now() + Duration::from_secs(60);
    grant(&scene.adapter, &scene.target("ana"), far)
        .await
        .unwrap();
    let lock = fs::metadata(scene.folder.path().join("groups.lock")).unwrap();
    assert_eq!(lock.mode() & 0o777, 0o600);
}

#[tokio::test]
async fn the_limit_is_judged_under_the_lock() {
    let scene = Scene::new();
    let now = scene.clock.now();
    let target = scene.target("ana");
    let late = grant(&scene.adapter, &target, now).await.unwrap_err();
    assert_eq!(late.effect, Effect::None);
    assert_eq!(scene.text(), TEXT);
    let tick = Duration::from_micros(1);
    grant(&scene.adapter, &target, now + tick).await.unwrap();
    assert_ne!(scene.text(), TEXT);
    let late = revoke(&scene.adapter, &target, now).await.unwrap_err();
    assert_eq!(late.effect, Effect::None);
    assert_ne!(scene.text(), TEXT);
    revoke(&scene.adapter, &target, now + tick).await.unwrap();
    assert_eq!(scene.text(), TEXT);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_waited_for_the_lock_past_its_limit_writes_nothing() {
    let scene = Scene::new();
    let lock = File::create(scene.folder.path().join("groups.lock")).unwrap();
    lock.lock().unwrap();
    let clock = scene.clock.clone();
    let others = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        clock.pass(Duration::from_secs(30));
        lock.unlock().unwrap();
    };
    let (granted, ()) = tokio::join!(scene.grant("ana"), others);
    assert_eq!(granted.unwrap_err().effect, Effect::None);
    assert_eq!(scene.text(), TEXT);
}

#[tokio::test(start_paused = true)]
async fn a_lock_that_stays_taken_is_in_flight_for_inspect_and_retryable_for_the_others() {
    let scene = Scene::new();
    let lock = File::create(scene.folder.path().join("groups.lock")).unwrap();
    lock.lock().unwrap();
    let start = tokio::time::Instant::now();
    assert_eq!(scene.inspect("ana").await.unwrap(), Presence::InFlight);
    let waited = start.elapsed();
    assert!(waited >= Duration::from_secs(2) && waited < Duration::from_secs(3));
    for refused in [scene.grant("ana").await, scene.revoke("bob").await] {
        let error = refused.unwrap_err();
        assert_eq!(
            (error.kind, error.effect),
            (ErrorKind::Conflict, Effect::None)
        );
        assert!(error.kind.is_retryable());
    }
    let resource = scene.target("ana").resource;
    let listed = scene.adapter.standing(&resource, None).await.unwrap();
    assert_eq!(listed.items.len(), 2, "a listing needs no lock");
    assert_eq!(scene.text(), TEXT);
    lock.unlock().unwrap();
    scene.grant("ana").await.unwrap();
    assert!(scene.folder.path().join("groups.lock").exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_call_that_was_dropped_is_over_before_the_next_one() {
    let scene = Scene::new();
    for round in 0..100 {
        let call = tokio::time::timeout(Duration::from_micros(round * 10), scene.grant("ana"));
        drop(call.await);
        scene.revoke("ana").await.unwrap();
        assert_eq!(scene.text(), TEXT, "nothing lands behind a revoke");
    }
}

// ------------------------------------------------------------------------------ many at once

#[test]
fn no_change_of_many_threads_is_lost() {
    let scene = Scene::new();
    std::thread::scope(|threads| {
        for who in 0..4 {
            let path = &scene.path;
            threads.spawn(move || come_and_go(path, &format!("thread-{who}")));
        }
    });
    nothing_is_lost(&scene.text(), "thread");
}

#[test]
fn no_change_of_many_processes_is_lost() {
    let scene = Scene::new();
    let children: Vec<_> = (0..4)
        .map(|who| {
            let order = format!("{CHILD}{who}={}", scene.path.display());
            Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "tests::a_child_comes_and_goes", &order])
                .stdout(Stdio::null())
                .spawn()
                .unwrap()
        })
        .collect();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    nothing_is_lost(&scene.text(), "child");
}

const CHILD: &str = "as-child-";

/// Does nothing unless the test above starts it in a process of its own.
#[test]
fn a_child_comes_and_goes() {
    let order = std::env::args().find_map(|argument| {
        let (who, path) = argument.strip_prefix(CHILD)?.split_once('=')?;
        Some((format!("child-{who}"), PathBuf::from(path)))
    });
    if let Some((who, path)) = order {
        come_and_go(&path, &who);
    }
}

const COMINGS: usize = 6;

/// Adds some members, and takes every second one away again.
#[tokio::main(flavor = "current_thread")]
async fn come_and_go(path: &Path, who: &str) {
    let adapter = adapter(path, &ManualClock::new());
    let target = |number: usize| Target {
        realm: REALM.to_owned(),
        subject: format!("{who}-{number}").parse().unwrap(),
        resource: format!("{}#admins", path.display()),
    };
    for number in 0..COMINGS {
        while let Err(error) = grant(&adapter, &target(number), Timestamp::MAX).await {
            assert!(error.kind.is_retryable(), "{}", told(&error));
        }
    }
    for number in (0..COMINGS).step_by(2) {
        while let Err(error) = revoke(&adapter, &target(number), Timestamp::MAX).await {
            assert!(error.kind.is_retryable(), "{}", told(&error));
        }
    }
}

/// Everybody is there who should be, in whichever order they came, and every other byte.
fn nothing_is_lost(text: &str, kind: &str) {
    let came = (0..4).flat_map(|who| {
        let stay = (1..COMINGS).step_by(2);
        stay.map(move |number| format!("{kind}-{who}-{number}"))
    });
    let mut expected: Vec<String> = came.chain(["bob".to_owned(), "dee".to_owned()]).collect();
    expected.sort();
    let members = text::members(text, "admins").unwrap().unwrap();
    assert_eq!(members.into_iter().collect::<Vec<_>>(), expected);
    let (before, line) = text.split_once("admins: bob").unwrap();
    let (_, behind) = line.split_once('\r').unwrap();
    assert_eq!(format!("{before}admins: bob\r{behind}"), TEXT);
}
