//! The simulated workspace of the demonstration: who is in it, how the configuration reaches it, and
//! what Ana and Bob do there in the played story.

use std::fs::OpenOptions;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, anyhow, ensure};
use slack_sim::{Channel, SlackSim, Submitted, User, Workspace};

use super::ENTITLEMENT;

const ANA: &str = "U0ANA";
const BOB: &str = "U0BOB";
/// The channel of the requests, as the configuration of the demonstration has it.
const CHANNEL: &str = "C0ACCESS";

/// A workspace with Ana, Bob and one channel; dropping the last one ends it.
#[derive(Debug, Clone)]
pub(super) struct Chat(Arc<SlackSim>);

impl Chat {
    /// Opens it on a free port of this machine.
    pub(super) async fn open() -> anyhow::Result<Self> {
        let workspace = Workspace::new("T0DEMO")
            .user(User::member(ANA, "Ana", "ana@example.com"))
            .user(User::member(BOB, "Bob", "bob@example.com"))
            .channel(
                Channel::public(CHANNEL, "access-requests")
                    .with_bot()
                    .members(&[ANA, BOB]),
            );
        let any_port = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let opened = SlackSim::start_at(any_port, workspace).await;
        let opened = opened.context("the simulated workspace cannot listen on this machine")?;
        Ok(Self(Arc::new(opened)))
    }

    /// Where its Web API is.
    pub(super) fn api(&self) -> String {
        self.0.api_url()
    }

    /// The page on which somebody uses it.
    pub(super) fn page(&self) -> String {
        self.0.page_url()
    }

    /// Writes its tokens where the configuration's reader finds them.
    pub(super) fn write_tokens(&self, file: &Path) -> anyhow::Result<()> {
        let mut private = OpenOptions::new();
        let mut file = private
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(file)?;
        writeln!(file, "JIT_SLACK_BOT_TOKEN='{}'", self.0.bot_token())?;
        Ok(writeln!(
            file,
            "JIT_SLACK_APP_TOKEN='{}'",
            self.0.app_token()
        )?)
    }

    /// Ana types /jit, chooses, and sends the form.
    pub(super) async fn ana_asks(&self) -> anyhow::Result<()> {
        let Self(slack) = self.clone();
        acted("ask", async move {
            let connected = slack.wait_until(|slack| slack.connections() > 0).await;
            ensure!(connected, "the service never connected to the workspace");
            let ana = slack.user(ANA);
            let typed = ana.slash("/jit", "").in_channel(CHANNEL).await;
            ensure!(typed.acked(), "/jit is not answered");
            ana.modal().await.pick("target", ENTITLEMENT).await;
            let form = ana
                .modal_where(|view| view.to_string().contains(r#""policy""#))
                .await;
            form.fill("reason", "the front page is broken again");
            let sent = form.submit().await;
            ensure!(
                matches!(sent, Submitted::Updated(_)),
                "the form is not taken"
            );
            Ok(())
        })
        .await
    }

    /// Bob clicks Approve on the card.
    pub(super) async fn bob_approves(&self) -> anyhow::Result<()> {
        let Self(slack) = self.clone();
        acted("approve", async move {
            let bob = slack.user(BOB);
            let card = slack
                .wait_for(&bob, CHANNEL, |message| message.shows("jit_approve"))
                .await;
            let clicked = bob.click(&card, "jit_approve").await;
            ensure!(clicked.acked(), "Approve is not answered");
            Ok(())
        })
        .await
    }

    /// Ana clicks I'm done in her own messages.
    pub(super) async fn ana_is_done(&self) -> anyhow::Result<()> {
        let Self(slack) = self.clone();
        acted("end it", async move {
            let ana = slack.user(ANA);
            let given = slack
                .wait_for(&ana, "dm", |message| {
                    message.shows("jit_done") && message.words().contains("is yours until")
                })
                .await;
            let clicked = ana.click(&given, "jit_done").await;
            ensure!(clicked.acked(), "I'm done is not answered");
            Ok(())
        })
        .await
    }

    /// Everybody in the channel sees that it ended.
    pub(super) async fn everybody_sees_the_end(&self) -> anyhow::Result<()> {
        let Self(slack) = self.clone();
        acted("see the end", async move {
            let bob = slack.user(BOB);
            slack
                .wait_for(&bob, CHANNEL, |message| {
                    message.thread_ts.is_none() && message.words().contains("returned early")
                })
                .await;
            ensure!(
                slack.violations().is_empty(),
                "Slack would not have taken this: {:?}",
                slack.violations()
            );
            Ok(())
        })
        .await
    }
}

/// Lets people act in a task of its own: the simulator panics at what a window would not let them
/// do, and that is the failure of the demonstration and not its end.
async fn acted(
    what: &'static str,
    act: impl Future<Output = anyhow::Result<()>> + Send + 'static,
) -> anyhow::Result<()> {
    let done = tokio::spawn(act).await;
    done.map_err(|error| anyhow!("nobody could {what} in the workspace: {error}"))?
}
