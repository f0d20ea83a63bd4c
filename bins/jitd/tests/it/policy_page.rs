//! `docs/POLICY.md`: its configuration is read, what it types is typed, and what it shows is what is
//! said.

use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use crate::process::{Process, jitd, program, ran, text};

const PAGE: &str = include_str!("../../../../docs/POLICY.md");

/// A block of the page: what stands behind its fence, and its lines.
fn blocks() -> Vec<(&'static str, Vec<&'static str>)> {
    let mut blocks = vec![];
    let mut open: Option<(&str, Vec<&str>)> = None;
    for line in PAGE.lines() {
        match (line.strip_prefix("```"), &mut open) {
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (Some(kind), None) => open = Some((kind, vec![])),
            (None, Some((_, lines))) => lines.push(line),
            (None, None) => {}
        }
    }
    assert_eq!(open, None, "a block has no end");
    blocks
}

/// Whether this was shown, where … stands for anything.
fn is_shown(shown: &str, said: &str) -> bool {
    let mut rest = said;
    for (at, part) in shown.split('…').enumerate() {
        match rest.find(part) {
            Some(0) => rest = &rest[part.len()..],
            Some(place) if at > 0 => rest = &rest[place + part.len()..],
            Some(_) | None => return false,
        }
    }
    rest.is_empty() || shown.ends_with('…')
}

struct Desk {
    folder: TempDir,
    daemon: Option<(Process, String)>,
}

impl Desk {
    fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Types a line as a person would; what it says, whatever becomes of it.
    fn typed(&mut self, line: &str) -> String {
        if line == "jitd run &" {
            let mut command = jitd(&["run"]);
            command.current_dir(self.path());
            command.env("JIT_LISTEN", "127.0.0.1:0");
            command.env("JIT_OBSERVE", "127.0.0.1:0");
            command.env("JIT_LOG_FORMAT", "json");
            let mut daemon = Process::start(command);
            let serving: serde_json::Value =
                serde_json::from_str(&daemon.hears("serving")).unwrap();
            let address = format!("http://{}", serving["fields"]["api"].as_str().unwrap());
            daemon.hears("all that a provider has was looked at");
            self.daemon = Some((daemon, address));
            return String::new();
        }
        let programs = program("jit", &[]).get_program().to_owned();
        let programs = Path::new(&programs).parent().unwrap().to_owned();
        let mut command = Command::new("/bin/sh");
        command.env_clear().current_dir(self.path());
        command.env("PATH", format!("{}:/usr/bin:/bin", programs.display()));
        if let Some((_, address)) = &self.daemon {
            command.env("JIT_SERVER", address);
        }
        let said = ran({
            command.args(["-c", line]);
            command
        });
        text(&said.stdout) + &text(&said.stderr)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_page_on_policy_shows_is_so() {
    let mut desk = Desk {
        folder: tempfile::tempdir().unwrap(),
        daemon: None,
    };
    let blocks = blocks();
    let mut config = String::new();
    for (kind, lines) in &blocks {
        let all = lines.join("\n") + "\n";
        match kind.split_once(' ') {
            None if *kind == "toml" => config.push_str(&all),
            Some(("toml", file)) => std::fs::write(desk.path().join(file), all).unwrap(),
            _ => {}
        }
    }
    std::fs::write(desk.path().join("jit.toml"), config).unwrap();
    let mut typed = 0;
    for (_, lines) in blocks.iter().filter(|(kind, _)| *kind == "console") {
        let mut said = vec![];
        let mut shown = vec![];
        for line in lines {
            if let Some(line) = line.strip_prefix("$ ") {
                typed += 1;
                shown.push(format!("$ {line}"));
                said.push(format!("$ {line}"));
                said.extend(desk.typed(line).lines().map(str::to_owned));
            } else {
                shown.push((*line).to_owned());
            }
        }
        let all_shown = shown.len() == said.len()
            && shown
                .iter()
                .zip(&said)
                .all(|(shown, said)| is_shown(shown, said));
        assert!(
            all_shown,
            "shown:\n{}\n\nsaid:\n{}",
            shown.join("\n"),
            said.join("\n")
        );
    }
    assert!(typed >= 10, "{typed}");
}
