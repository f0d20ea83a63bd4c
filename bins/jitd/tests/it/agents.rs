//! The preset for agents, with processes: an agent over the Model Context Protocol, people in a
//! workspace, IAM on a simulated AWS; and what is true there is asked of its evaluator.

use std::process::{Command, Stdio};
use std::time::Duration;

use aws_sim::{AccessKey, Deed, Role, Setup, Sim};
use jit_core::Timestamp;
use serde_json::{Value, json};
use slack_sim::{Channel, Message, SlackSim, User, Workspace};
use tempfile::TempDir;

use crate::process::{Process, fetch_as, jitd, program, ran, text, until};
use crate::secrets::workspace_was_told;

const PRESET: &str = include_str!("../../../../docs/examples/agents.toml");
const ANA: &str = "U012AB3CD";
const BOB: &str = "U012AB3CE";
const CAROL: &str = "U012AB3CF";
const CHANNEL: &str = "C012AB3CD";
const ACCOUNT: &str = "111122223333";
const BOT: &str = "agent:bot";

/// The preset, at work on servers of this machine.
pub(crate) struct House {
    folder: TempDir,
    aws: Sim,
    slack: SlackSim,
    role: String,
}

impl House {
    pub(crate) async fn new() -> Self {
        Self::with("").await
    }

    /// The preset, and more tables.
    async fn with(more: &str) -> Self {
        let aws = Sim::start(Setup {
            management_account: ACCOUNT.to_owned(),
            ..Setup::default()
        })
        .unwrap();
        let role = aws
            .world()
            .add_role(&Role::new("Developers").naming("${aws:username}"));
        let workspace = Workspace::new("T0AGENTS")
            .user(User::member(ANA, "Ana", "ana@example.com"))
            .user(User::member(BOB, "Bob", "bob@example.com"))
            .user(User::member(CAROL, "Carol", "carol@example.com"))
            .channel(
                Channel::public(CHANNEL, "agents")
                    .with_bot()
                    .members(&[ANA, BOB, CAROL]),
            );
        let slack = SlackSim::start(workspace).await;
        let folder = tempfile::tempdir().unwrap();
        let config = PRESET
            .replace(
                "kind = \"iam_policy\"",
                &format!("kind = \"iam_policy\"\nendpoint = \"{}\"", aws.url()),
            )
            .replace("127.0.0.1:8080", "127.0.0.1:0")
            .replace("127.0.0.1:9090", "127.0.0.1:0")
            .replace(
                "[slack]\n",
                &format!("[slack]\napi = \"{}\"\n", slack.api_url()),
            );
        let more = more.replace("ENDPOINT", &aws.url());
        std::fs::write(folder.path().join("agents.toml"), config + &more).unwrap();
        std::fs::write(
            folder.path().join("groups"),
            "read_logs:\nrestart_service:\n",
        )
        .unwrap();
        Self {
            folder,
            aws,
            slack,
            role,
        }
    }

    /// A command with this configuration and the credentials of its machine.
    pub(crate) fn command(&self, mut command: Command) -> Command {
        let key = AccessKey::default();
        command
            .current_dir(self.folder.path())
            .env("JIT_CONFIG", self.folder.path().join("agents.toml"))
            .env("JIT_LOG_FORMAT", "json")
            .env("JIT_SLACK_BOT_TOKEN", self.slack.bot_token())
            .env("JIT_SLACK_APP_TOKEN", self.slack.app_token())
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .env("AWS_ACCESS_KEY_ID", key.id)
            .env("AWS_SECRET_ACCESS_KEY", key.secret);
        command
    }

    async fn daemon(&self) -> (Process, Api<'_>) {
        let mut process = Process::start(self.command(jitd(&["run"])));
        let line: Value = serde_json::from_str(&process.hears("serving")).unwrap();
        let api = line["fields"]["api"].as_str().unwrap();
        until("the workspace is connected to", async || {
            self.slack.connections() >= 1
        })
        .await;
        let url = format!("http://{api}");
        (process, Api { house: self, url })
    }

    fn token_file(&self, principal: &str) -> String {
        let file = self.folder.path().join(principal.replace(':', "-"));
        let name = file.display().to_string();
        if !file.exists() {
            let new = ["token", "new", "--principal", principal, "--out", &name];
            let made = ran(self.command(program("jit", &new)));
            assert!(made.status.success(), "{}", text(&made.stderr));
        }
        name
    }

    /// Whether Ana, in her session of the role that all have, may do this in that region then.
    fn may(&self, session: &str, action: &str, region: &str, at: Timestamp) -> bool {
        let deed = Deed {
            context: &[("aws:RequestedRegion", region)],
            ..Deed::new(action, "arn:aws:ec2:eu-west-1:111122223333:instance/i-1")
        };
        let world = self.aws.world();
        world.is_allowed("role/Developers", Some(session), deed, at.unix_micros())
    }

    async fn card(&self, words: &str) -> Message {
        let bob = self.slack.user(BOB);
        let wanted =
            |it: &Message| it.thread_ts.is_none() && !it.ephemeral && it.words().contains(words);
        self.slack.wait_for(&bob, CHANNEL, wanted).await
    }
}

impl Drop for House {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            workspace_was_told(&self.slack, &[ANA, BOB, CAROL], &[CHANNEL]);
        }
    }
}

/// A daemon that serves.
struct Api<'h> {
    house: &'h House,
    url: String,
}

impl Api<'_> {
    /// A tool, called over HTTP by this principal; what it answers, and whether that is an error.
    fn tool(&self, principal: &str, tool: &str, arguments: &Value) -> (Value, bool) {
        let token = std::fs::read_to_string(self.house.token_file(principal)).unwrap();
        let call = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call",
                          "params": {"name": tool, "arguments": arguments}});
        let (status, body) = self.post(token.trim(), &call);
        assert_eq!(status, 200, "{body}");
        let result = &serde_json::from_str::<Value>(&body).unwrap()["result"];
        (
            result["structuredContent"].clone(),
            result["isError"] == true,
        )
    }

    fn post(&self, token: &str, call: &Value) -> (u16, String) {
        let bearer = format!("Bearer {token}");
        let headers = [
            ("Authorization", bearer.as_str()),
            ("Accept", "application/json, text/event-stream"),
            ("MCP-Protocol-Version", "2025-11-25"),
        ];
        fetch_as(
            "POST",
            &format!("{}/mcp", self.url),
            &headers,
            &call.to_string(),
        )
    }

    fn done(&self, principal: &str, tool: &str, arguments: &Value) -> Value {
        let (answer, is_error) = self.tool(principal, tool, arguments);
        assert!(!is_error, "{answer}");
        answer
    }

    fn described(&self, request: &Value) -> Value {
        let look = json!({"request_id": request["request_id"]});
        self.done(BOT, "describe_access_request", &look)
    }
}

fn ec2(region: &str, ttl: &str) -> Value {
    json!({"tool_name": "create_ec2", "user_email": "ana@example.com",
           "tool_params": {"region": region}, "ttl": ttl, "reason": "the queue grows"})
}

#[tokio::test(flavor = "multi_thread")]
async fn c1_c2_c3_c7_c8_c9_f10_what_an_agent_asks_for_is_exactly_what_aws_gives_and_the_clock_ends_it()
 {
    let house = House::new().await;
    let (mut daemon, api) = house.daemon().await;
    let asked = api.done(BOT, "request_tool_access", &ec2("eu-west-1", "40s"));
    assert_eq!(asked["status"], "pending");
    let card = house.card("Pending").await;
    let words = card.words();
    for says in [
        "agent:bot",
        "EC2 in eu-west-1",
        "Start, stop, change",
        "Had it never before",
    ] {
        assert!(words.contains(says), "{says}: {words}");
    }
    let policies = || house.aws.world().policies("role/Developers");
    assert!(policies().is_empty(), "nothing before the decision");

    // A person approves half of the time, in Slack.
    let bob = house.slack.user(BOB);
    assert!(bob.click(&card, "jit_approve_edit").await.acked());
    let form = bob.modal().await;
    form.pick("duration", "20").await;
    form.submit().await;
    house.card("active until").await;
    let active = api.described(&asked);
    assert_eq!(active["status"], "active");
    let expires_at: Timestamp = active["expires_at"].as_str().unwrap().parse().unwrap();
    let approved = active["message"].as_str().unwrap();
    assert!(approved.contains("active until"), "{approved}");

    // One policy, of this slot and request, with these parameters, for this session, until then.
    let kept = policies();
    assert_eq!(kept.len(), 1, "{kept:?}");
    let (name, document) = kept.first_key_value().unwrap();
    assert!(name.starts_with("jit-"), "{name}");
    let document: Value = serde_json::from_str(document).unwrap();
    let statement = &document["Statement"][0];
    let id = asked["request_id"].as_str().unwrap();
    let sid = statement["Sid"].as_str().unwrap();
    assert!(sid.contains(id.trim_start_matches("req-")), "{sid}");
    assert_eq!(statement["Action"], "ec2:*");
    let condition = &statement["Condition"];
    assert_eq!(
        condition["StringEquals"]["aws:RequestedRegion"],
        "eu-west-1"
    );
    let session = format!("{}:ana@example.com", house.role);
    assert_eq!(condition["StringEquals"]["aws:userid"], session);
    let until_then = condition["DateLessThan"]["aws:CurrentTime"]
        .as_str()
        .unwrap();
    let until_then: Timestamp = until_then.parse().unwrap();
    assert!(until_then <= expires_at && expires_at.since(until_then) < Duration::from_secs(1));

    // What is true at AWS: Ana, in that region, before the end; nobody else, nowhere else, not after.
    let ana = "ana@example.com";
    let now = Timestamp::from_unix_micros(house.aws.world().now());
    assert!(house.may(ana, "ec2:RunInstances", "eu-west-1", now));
    assert!(!house.may(ana, "ec2:RunInstances", "eu-central-1", now));
    assert!(!house.may(ana, "iam:CreateUser", "eu-west-1", now));
    assert!(!house.may("bob@example.com", "ec2:RunInstances", "eu-west-1", now));
    assert!(!house.may(ana, "ec2:RunInstances", "eu-west-1", until_then));

    // The daemon is killed; the sweeper takes it away all the same.
    daemon.kill();
    let _sweeper = Process::start(house.command(program("jit-sweeper", &[])));
    until("the policy is gone", async || policies().is_empty()).await;
    let gone = house.aws.world().policy_history("role/Developers", name);
    let (taken_at, what) = gone.last().unwrap();
    assert_eq!(*what, None);
    let late = taken_at - expires_at.unix_micros();
    assert!((0..30_000_000).contains(&late), "L1: {late} µs late");

    // The agent is told, by whichever daemon it asks.
    let (_again, api) = house.daemon().await;
    until("the agent is told", async || {
        api.described(&asked)["status"] == "ended"
    })
    .await;
    // What the killed one was saying when it was killed is left to it for half a minute.
    until("people are told", async || {
        let shown = bob.messages(CHANNEL).await;
        shown
            .iter()
            .any(|it| it.words().contains("Ended: its time is up"))
    })
    .await;
    let verified = ran(house.command(program("jit", &["audit", "verify"])));
    assert!(verified.status.success(), "{}", text(&verified.stdout));
}

#[tokio::test(flavor = "multi_thread")]
async fn c5_c8_f10_an_agent_gets_neither_more_nor_anything_for_anybody_else() {
    let house = House::new().await;
    let (_daemon, api) = house.daemon().await;
    let refused = |who: &str, tool: &str, arguments: &Value| {
        let (answer, is_error) = api.tool(who, tool, arguments);
        assert!(is_error, "{answer}");
        (
            answer["error"].as_str().unwrap().to_owned(),
            answer["message"].to_string(),
        )
    };
    for region in [
        "*",
        "eu-west-1\"",
        "${aws:username}",
        "us-east-1",
        "",
        "eu-*",
    ] {
        let (code, says) = refused(BOT, "request_tool_access", &ec2(region, "30m"));
        assert_eq!(code, "parameters_do_not_fit", "{says}");
        assert!(says.contains("region"), "{says}");
    }
    let mut extra = ec2("eu-west-1", "30m");
    extra["tool_params"]["account"] = json!("999999999999");
    let (code, says) = refused(BOT, "request_tool_access", &extra);
    assert_eq!(code, "parameters_do_not_fit");
    assert!(says.contains("account"), "{says}");
    let mut another = ec2("eu-west-1", "30m");
    another["user_email"] = json!("carol@example.com");
    assert_eq!(
        refused(BOT, "request_tool_access", &another).0,
        "agent_for_another"
    );
    let (code, says) = refused(BOT, "request_tool_access", &ec2("eu-west-1", "2h"));
    assert_eq!(code, "ttl_above_ceiling", "the agent's own is 1 h: {says}");
    let asked = api.done(BOT, "request_tool_access", &ec2("eu-west-1", "30m"));
    let say = |ttl: &str| {
        json!({"request_id": asked["request_id"], "approval_action": "approve",
                                 "ttl": ttl})
    };
    assert_eq!(
        refused(BOT, "approve_tool_access_request", &say("5m")).0,
        "own_request"
    );
    let (code, _) = refused("ana@example.com", "approve_tool_access_request", &say("5m"));
    assert_eq!(code, "own_request", "by the token of its human");
    let (code, _) = refused(
        "bob@example.com",
        "approve_tool_access_request",
        &say("31m"),
    );
    assert_eq!(code, "ttl_above_asked");
    assert!(house.aws.world().policies("role/Developers").is_empty());

    // Without a token, or with one that is none, nothing is answered at all.
    let list = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}});
    for token in ["", "jit_0000000000000000_00"] {
        let (status, body) = api.post(token, &list);
        assert_eq!(status, 401, "{body}");
        assert!(!body.contains("create_ec2"), "{body}");
    }
    // Another session's id changes nobody into anybody.
    let bob = std::fs::read_to_string(house.token_file("bob@example.com")).unwrap();
    let (_, body) = api.post(bob.trim(), &list);
    assert!(body.contains("create_ec2"), "he decides it: {body}");
}

#[tokio::test(flavor = "multi_thread")]
async fn c8_a_longer_request_takes_the_policy_over_in_place_and_an_early_end_removes_it() {
    let house = House::new().await;
    let (_daemon, api) = house.daemon().await;
    let approve = |asked: &Value| {
        let say = json!({"request_id": asked["request_id"], "approval_action": "approve"});
        api.done("bob@example.com", "approve_tool_access_request", &say);
    };
    let active = async |asked: &Value| {
        until("it is active", async || {
            api.described(asked)["status"] == "active"
        })
        .await;
    };
    let first = api.done(BOT, "request_tool_access", &ec2("eu-west-1", "10m"));
    approve(&first);
    active(&first).await;
    let policies = || house.aws.world().policies("role/Developers");
    let before = policies();
    // The same again, for longer: one slot, one policy, put over the earlier one.
    let second = api.done(BOT, "request_tool_access", &ec2("eu-west-1", "20m"));
    approve(&second);
    active(&second).await;
    let after = policies();
    assert_eq!(
        before.keys().collect::<Vec<_>>(),
        after.keys().collect::<Vec<_>>()
    );
    assert_ne!(before, after);
    assert!(
        api.described(&first)["message"]
            .as_str()
            .unwrap()
            .contains("took this over")
    );
    // Another region is another slot.
    let other = api.done(BOT, "request_tool_access", &ec2("eu-central-1", "10m"));
    approve(&other);
    active(&other).await;
    assert_eq!(policies().len(), 2);
    let token = house.token_file("ana@example.com");
    for asked in [&second, &other] {
        let id = asked["request_id"].as_str().unwrap();
        let end = ["--server", &api.url, "--token-file", &token, "end", id];
        let ended = ran(house.command(program("jit", &end)));
        assert!(ended.status.success(), "{}", text(&ended.stderr));
    }
    until("both are gone", async || policies().is_empty()).await;
}

/// Credentials of a role, narrowed by a session policy.
const SESSIONS: &str = r#"
[[provider]]
name = "sts"
kind = "iam_session"
account = "111122223333"
endpoint = "ENDPOINT"

[[rule]]
name = "sessions"
rights = ["request"]
entitlements = ["sts/*"]
principals = ["group:engineers", "agent:*"]

[[rule]]
name = "sessions are decided"
rights = ["approve", "revoke"]
entitlements = ["sts/*"]
principals = ["group:operations"]

[[entitlement]]
id = "sts/read_bucket"
resource = "Reader"
title = "Read a bucket"
tier = "tool"
parameters = '''{"type": "object", "properties": {"bucket": {"type": "string", "pattern": "^[a-z-]+$"}},
  "required": ["bucket"], "additionalProperties": false}'''
template = '''{"Statement": {"Effect": "Allow", "Action": "s3:GetObject",
  "Resource": "arn:aws:s3:::{bucket}/*"}}'''
"#;

#[tokio::test(flavor = "multi_thread")]
async fn b3_c8_s15_credentials_of_a_role_are_collected_once_by_whoever_asked_and_written_nowhere() {
    let house = House::with(SESSIONS).await;
    let world = house.aws.world();
    let hour = Duration::from_secs(3_600);
    world.add_role(&Role::new("Reader").lasting(12 * hour));
    let all = json!({"Version": "2012-10-17",
                     "Statement": {"Effect": "Allow", "Action": "s3:*", "Resource": "*"}});
    world.put_policy("role/Reader", "base", &all.to_string());
    let (mut daemon, api) = house.daemon().await;
    let ask = json!({"tool_name": "read_bucket", "user_email": "ana@example.com",
                     "tool_params": {"bucket": "logs"}, "ttl": "5m"});
    let asked = api.done(BOT, "request_tool_access", &ask);
    let say = json!({"request_id": asked["request_id"], "approval_action": "approve"});
    let approved = api.done("bob@example.com", "approve_tool_access_request", &say);
    let id = asked["request_id"].as_str().unwrap();
    // The answer says how, and has nothing of it.
    let told = api.described(&asked);
    let message = told["message"].as_str().unwrap();
    assert!(message.contains(&format!("jit collect {id}")), "{message}");
    let collect = |who: &str| {
        let token = house.token_file(who);
        let arguments = [
            "--json",
            "--server",
            &api.url,
            "--token-file",
            &token,
            "collect",
            id,
        ];
        ran(house.command(program("jit", &arguments)))
    };
    for other in ["ana@example.com", "bob@example.com"] {
        assert!(!collect(other).status.success(), "{other} did not ask");
    }
    let collected = collect(BOT);
    assert!(collected.status.success(), "{}", text(&collected.stderr));
    let collected: Value = serde_json::from_slice(&collected.stdout).unwrap();
    let credential = collected["credential"].as_str().unwrap();
    let key: Value = serde_json::from_str(credential).unwrap();
    assert_eq!(key["Version"], 1);
    let may = |resource: &str, at: Timestamp| {
        let key = key["AccessKeyId"].as_str().unwrap();
        world.session_allows(key, Deed::new("s3:GetObject", resource), at.unix_micros())
    };
    let expires_at: Timestamp = approved["expires_at"].as_str().unwrap().parse().unwrap();
    let now = Timestamp::from_unix_micros(world.now());
    assert!(may("arn:aws:s3:::logs/x", now));
    assert!(!may("arn:aws:s3:::secrets/x", now));
    // AWS gives no session of less than 15 minutes; its policy ends this one.
    assert!(!may("arn:aws:s3:::logs/x", expires_at));
    let again = collect(BOT);
    assert!(!again.status.success() && text(&again.stderr).contains("already_collected"));
    assert_eq!(api.described(&asked)["status"], "active");
    daemon.listens();
    let mut everywhere = daemon.heard.join("\n");
    for file in ["jit.db", "jit.db-wal", "audit_log.csv"] {
        let kept = std::fs::read(house.folder.path().join(file)).unwrap_or_default();
        everywhere.push_str(&String::from_utf8_lossy(&kept));
    }
    let bob = house.slack.user(BOB);
    for message in bob.messages(CHANNEL).await {
        everywhere.push_str(&message.words());
    }
    assert!(
        everywhere.contains(id),
        "what is looked through is what there is"
    );
    for secret in ["SecretAccessKey", "SessionToken"] {
        let secret = key[secret].as_str().unwrap();
        assert!(
            secret.len() > 20 && !everywhere.contains(secret),
            "{secret}"
        );
    }
}

/// `jit mcp`, as a client starts it.
#[tokio::test(flavor = "multi_thread")]
async fn c1_the_same_tools_over_standard_input_and_output() {
    use std::io::{BufRead, BufReader, Write};

    let house = House::new().await;
    let (mut daemon, api) = house.daemon().await;
    let mut command = house.command(program("jit", &["mcp"]));
    command
        .env("JIT_SERVER", &api.url)
        .env("JIT_TOKEN_FILE", house.token_file(BOT))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let mut relay = command.spawn().unwrap();
    let mut input = relay.stdin.take().unwrap();
    let mut output = BufReader::new(relay.stdout.take().unwrap());
    let mut call = |message: Value| {
        writeln!(input, "{message}").unwrap();
        if message.get("id").is_none() {
            return Value::Null;
        }
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        serde_json::from_str::<Value>(&line).unwrap()
    };
    let hello = call(
        json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
        "protocolVersion": "2025-11-25", "capabilities": {},
        "clientInfo": {"name": "test", "version": "1"}}}),
    );
    assert_eq!(hello["result"]["serverInfo"]["name"], "jit");
    call(json!({"jsonrpc": "2.0", "method": "notifications/initialized"}));
    let listed = call(json!({"jsonrpc": "2.0", "id": 2, "method": "tools/list"}));
    assert_eq!(listed["result"]["tools"].as_array().unwrap().len(), 4);
    let ask = |id: u8| {
        json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": {
        "name": "request_tool_access", "arguments": ec2("eu-west-1", "10m")}})
    };
    let asked = call(ask(3));
    assert_eq!(asked["result"]["structuredContent"]["status"], "pending");
    // Where nobody serves the agent is told so, and the relay goes on.
    daemon.kill();
    let away = call(ask(4));
    assert_eq!(away["result"]["isError"], true);
    let says = away["result"]["structuredContent"]["message"]
        .as_str()
        .unwrap();
    assert!(says.contains("cannot be reached"), "{says}");
    drop(input);
    assert!(relay.wait().unwrap().success());
}
