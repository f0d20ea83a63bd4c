//! A world with a server on loopback, and people who type.

use std::collections::BTreeMap;
use std::time::Duration;

use clap::Parser;
use jit_cli::{CliError, Command, Exit, Form, Options, Session, run};
use jit_http::serve;

use crate::world::World;

/// A command line as the binary reads it.
#[derive(Debug, Parser)]
pub(crate) struct Typed {
    #[command(flatten)]
    pub(crate) options: Options,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Reads words as the shell would hand them over.
pub(crate) fn typed(words: &[&str]) -> Result<Typed, clap::Error> {
    Typed::try_parse_from(["jit"].iter().chain(words))
}

/// The world, its server, and a token for everybody.
pub(crate) struct Town {
    pub(crate) world: World,
    pub(crate) server: String,
    tokens: BTreeMap<String, String>,
}

/// What came of a command.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) result: Result<Exit, CliError>,
    pub(crate) text: String,
}

impl Told {
    /// The text of a command that did what it was asked.
    pub(crate) fn done(self) -> String {
        assert_eq!(self.result.unwrap(), Exit::Done, "{}", self.text);
        self.text
    }

    /// The sentence of a refusal.
    pub(crate) fn refused(self) -> String {
        match self.result {
            Err(CliError::Refused { message, .. }) => message,
            other => panic!("{other:?} is not a refusal: {}", self.text),
        }
    }
}

impl Town {
    pub(crate) async fn new() -> Self {
        let world = World::new();
        let mut tokens = BTreeMap::new();
        for who in ["ana", "bob", "carl", "dora", "rita", "olga", "otto", "eve"] {
            let token = world.token(&format!("{who}@example.com")).await;
            tokens.insert(who.to_owned(), token);
        }
        let state = world.state.clone().polling_every(Duration::from_millis(5));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(serve(
            listener,
            jit_http::api(state),
            std::future::pending(),
        ));
        Self {
            world,
            server,
            tokens,
        }
    }

    pub(crate) fn token(&self, who: &str) -> &str {
        &self.tokens[who]
    }

    /// Somebody types this, into a pipe.
    pub(crate) async fn says(&self, who: &str, words: &[&str]) -> Told {
        self.says_at(who, Form::Plain, words).await
    }

    /// Somebody types this.
    pub(crate) async fn says_at(&self, who: &str, screen: Form, words: &[&str]) -> Told {
        let typed = typed(words).unwrap();
        let session = Session::new(&self.server, &self.token(who).into()).unwrap();
        let mut out = vec![];
        let form = typed.options.form(screen);
        let result = run(&typed.command, &session, form, &mut out).await;
        let text = String::from_utf8(out).unwrap();
        Told { result, text }
    }

    /// Ana asks, and the end of the id that she is told.
    pub(crate) async fn asked(&self, who: &str, entitlement: &str) -> String {
        let words = [
            "request",
            entitlement,
            "--reason",
            "disk full",
            "--ttl",
            "30m",
        ];
        let text = self.says(who, &words).await.done();
        let (id, _) = text.split_once(':').unwrap();
        id[id.len() - 8..].to_owned()
    }

    /// Waits for the first request to be there. No clock is involved.
    pub(crate) async fn somebody_asks(&self) {
        while self.world.store.records().is_empty() {
            tokio::task::yield_now().await;
        }
    }
}
