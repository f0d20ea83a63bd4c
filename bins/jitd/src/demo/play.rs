//! The story played by itself: the verbs of `jit` over the real API, in this process, and the group
//! file watched from outside. It succeeds only if the access really came and really went.

use std::fmt::Display;
use std::io::Write;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use jit_cli::{ApproveArgs, Command, Exit, IdArgs, RequestArgs, Session};
use jit_core::ports::Clock;
use jit_core::{Timestamp, Ttl};
use jit_runtime::build::Adapters;
use jit_runtime::clock::SystemClock;
use jit_runtime::operate::{AuditVerb, Operation, VerifyArgs};
use serde_json::Value;

use super::{ENTITLEMENT, Person, Sight, Sightings, Stage, well};

/// How long access lasts where nothing is said.
const PLAYED_TTL_SECS: u64 = 5;
/// How long the record may take to say what the file shows already.
const TOLD_WITHIN: Duration = Duration::from_secs(15);
/// How often the record is asked.
const ASK_EVERY: Duration = Duration::from_millis(100);
const GROUP: &str = "admins";

/// What the story is played by.
#[derive(Debug, Clone, Copy)]
pub struct Script {
    /// How long access lasts.
    pub ttl: Ttl,
    /// How long after its end access may still be there.
    pub gone_within: Duration,
}

impl Script {
    /// Access of this length, or of five seconds, that is gone as L1 in `jit-core` promises.
    pub fn new(ttl: Option<Ttl>) -> anyhow::Result<Self> {
        Ok(Self {
            ttl: ttl.map_or_else(|| Ttl::from_secs(PLAYED_TTL_SECS), Ok)?,
            gone_within: Duration::from_secs(30),
        })
    }
}

/// Plays the story on an installation of its own, unless `stop` is ready before its end.
pub async fn play(
    ttl: Option<Ttl>,
    out: &mut (dyn Write + Send),
    stop: impl Future<Output = ()>,
) -> anyhow::Result<()> {
    let script = Script::new(ttl)?;
    let stage = Stage::set().await?;
    let adapters = stage.adapters().await?;
    tokio::select! {
        played = play_on(stage, adapters, script, out) => played,
        () = stop => bail!("interrupted before the end of the story"),
    }
}

/// Plays the story on this installation with these adapters, and removes the folder, whatever
/// comes of it.
pub async fn play_on(
    stage: Stage,
    adapters: Adapters,
    script: Script,
    out: &mut (dyn Write + Send),
) -> anyhow::Result<()> {
    let daemon = stage.daemon(adapters).await?;
    let api = daemon.api_address()?;
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let served = tokio::spawn(daemon.run(async {
        // Whether it is told or nobody is left to tell it: it stops.
        let _ = stopped.await;
    }));
    let mut story = Story {
        stage: &stage,
        api,
        script,
        out,
    };
    let told = story.tell().await;
    // It may have ended by itself, which the story has noticed then.
    let _ = stop.send(());
    let served = served.await.context("the daemon panicked")?;
    let proved = match told {
        Ok(late) => prove(&stage, late, story.out).await,
        Err(error) => Err(error),
    };
    stage.strike()?;
    let last_line = proved?;
    served.context("the daemon did not stop well")?;
    writeln!(out, "{last_line}")?;
    Ok(out.flush()?)
}

/// Verifies the audit with the store to itself, and makes the last line of it.
async fn prove(
    stage: &Stage,
    late: Duration,
    out: &mut (dyn Write + Send),
) -> anyhow::Result<String> {
    let verify = Operation::Audit(AuditVerb::Verify(VerifyArgs::default()));
    let report = well(stage.operate(verify).await?, "the audit is not verified")?;
    let events = report.get("events").and_then(Value::as_u64);
    let events = events.context("the audit has no count")?;
    writeln!(
        out,
        "\nThe audit is read back from the store: every event follows the one before."
    )?;
    Ok(format!(
        "demo: access granted, revoked {} ms after expiry, audit verified ({events} events)",
        late.as_millis()
    ))
}

struct Story<'s> {
    stage: &'s Stage,
    api: SocketAddr,
    script: Script,
    out: &'s mut (dyn Write + Send),
}

impl Story<'_> {
    /// Tells the story; how long after its end the access was seen gone.
    async fn tell(&mut self) -> anyhow::Result<Duration> {
        let late = self.tell_by_the_command_line().await?;
        self.tell_in_the_workspace().await?;
        Ok(late)
    }

    /// What is asked and approved by the verbs of `jit` ends by the clock.
    async fn tell_by_the_command_line(&mut self) -> anyhow::Result<Duration> {
        let before = self.groups()?;
        self.say("The group file before:")?;
        self.show_file(&before)?;
        let mut seen = Sightings::of(self.stage.groups(), GROUP, Person::Ana.name());

        let Script { ttl, .. } = self.script;
        self.say(format_args!("Ana asks for {ENTITLEMENT} for {ttl}."))?;
        let asked = self.jit(Person::Ana, ask(ttl)).await?;
        let id = text(&asked, "id")?.to_owned();
        self.say(format_args!("Bob approves {id}."))?;
        let approve = Command::Approve(ApproveArgs {
            id: id.clone(),
            ttl: None,
        });
        let approved = self.jit(Person::Bob, approve).await?;
        let expires_at: Timestamp = text(&approved, "expires_at")?.parse()?;

        let there_since = self.wait_until_there(&mut seen, expires_at).await?;
        let during = self.groups()?;
        self.say(format_args!(
            "The access is there, {} before its end. The group file now:",
            seconds(expires_at.since(there_since))
        ))?;
        self.show_file(&during)?;
        self.say(format_args!(
            "Nobody does anything; the clock does. The end is {expires_at}."
        ))?;
        let gone_at = self.wait_until_gone(&mut seen, expires_at).await?;
        ensure!(
            gone_at >= expires_at,
            "the access went {} before its end",
            seconds(expires_at.since(gone_at))
        );
        self.wait_until_told(&id).await?;
        ensure!(
            !matches!(seen.now(), Sight::There { .. }),
            "the access came back"
        );
        let after = self.groups()?;
        self.say("The access is gone. The group file after:")?;
        self.show_file(&after)?;
        ensure!(after == before, "the group file is not as it was before");
        Ok(gone_at.since(expires_at))
    }

    /// What is asked and approved in Slack is given back there.
    async fn tell_in_the_workspace(&mut self) -> anyhow::Result<()> {
        let before = self.groups()?;
        let mut seen = Sightings::of(self.stage.groups(), GROUP, Person::Ana.name());
        let chat = &self.stage.chat;
        self.say(format_args!(
            "Again, in a simulated Slack workspace. Ana types /jit, chooses {ENTITLEMENT} and sends \
             the form."
        ))?;
        chat.ana_asks().await?;
        self.say("Bob clicks Approve on the card in #access-requests.")?;
        chat.bob_approves().await?;
        ensure!(
            matches!(seen.next(TOLD_WITHIN).await, Sight::There { .. }),
            "what Bob approved in Slack never appeared in the group file"
        );
        self.say("The group file has ana among its admins. Ana clicks I'm done.")?;
        chat.ana_is_done().await?;
        ensure!(
            matches!(seen.next(TOLD_WITHIN).await, Sight::Gone { .. }),
            "what Ana gave back is still in the group file"
        );
        chat.everybody_sees_the_end().await?;
        let after = self.groups()?;
        ensure!(after == before, "the group file is not as it was before");
        self.say("It is gone at once, and the card in the channel says so.")
    }

    async fn wait_until_there(
        &mut self,
        seen: &mut Sightings,
        expires_at: Timestamp,
    ) -> anyhow::Result<Timestamp> {
        match seen.next(expires_at.since(SystemClock.now())).await {
            Sight::There { since } => Ok(since),
            Sight::Gone { .. } => bail!("the access went as soon as it came"),
            Sight::NeverThere => bail!("the access never appeared in the group file"),
        }
    }

    async fn wait_until_gone(
        &mut self,
        seen: &mut Sightings,
        expires_at: Timestamp,
    ) -> anyhow::Result<Timestamp> {
        match seen
            .next((expires_at + self.script.gone_within).since(SystemClock.now()))
            .await
        {
            Sight::Gone { at } => Ok(at),
            Sight::NeverThere | Sight::There { .. } => bail!(
                "the access is still in the group file {} after its end",
                seconds(self.script.gone_within)
            ),
        }
    }

    /// The record says it too, once it was read back.
    async fn wait_until_told(&mut self, id: &str) -> anyhow::Result<()> {
        let told = async {
            loop {
                let show = Command::Show(IdArgs { id: id.to_owned() });
                let request = self.jit(Person::Ana, show).await?;
                let settled = request.get("detail").is_none();
                if text(&request, "status")? == "ended" && settled {
                    return anyhow::Ok(request);
                }
                tokio::time::sleep(ASK_EVERY).await;
            }
        };
        let told = tokio::time::timeout(TOLD_WITHIN, told).await;
        let request = told.context("the record does not say that the access ended")??;
        let end = text(&request, "end")?;
        ensure!(
            end == "expired",
            "the access ended as {end}, and not because its time was up"
        );
        Ok(())
    }

    /// A verb of `jit` as one of the people types it; the answer as `--json` prints it.
    async fn jit(&self, person: Person, command: Command) -> anyhow::Result<Value> {
        let token = Session::token_from(&self.stage.token_of(person))?;
        let session = Session::new(&format!("http://{}", self.api), &token)?;
        let mut answer = Vec::new();
        let form = jit_cli::Form::Json;
        let exit = jit_cli::run(&command, &session, form, &mut answer).await;
        let exit = exit.with_context(|| format!("{person} was refused"))?;
        ensure!(
            exit == Exit::Done,
            "{person} did not get what was asked for"
        );
        Ok(serde_json::from_slice(&answer)?)
    }

    fn groups(&self) -> anyhow::Result<String> {
        let file = self.stage.groups();
        std::fs::read_to_string(&file).with_context(|| format!("{} cannot be read", file.display()))
    }

    fn say(&mut self, what: impl Display) -> anyhow::Result<()> {
        writeln!(self.out, "\n{what}")?;
        Ok(self.out.flush()?)
    }

    fn show_file(&mut self, text: &str) -> anyhow::Result<()> {
        for line in text.lines() {
            writeln!(self.out, "    {line}")?;
        }
        Ok(self.out.flush()?)
    }
}

fn ask(ttl: Ttl) -> Command {
    Command::Request(RequestArgs {
        entitlement: ENTITLEMENT.to_owned(),
        reason: "the front page is broken".to_owned(),
        ttl: Some(ttl.to_string()),
        beneficiary: None,
        parameters: vec![],
        wait: false,
    })
}

fn text<'v>(answer: &'v Value, key: &str) -> anyhow::Result<&'v str> {
    let text = answer.get(key).and_then(Value::as_str);
    text.with_context(|| format!("an answer of the API has no {key}"))
}

fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}
