//! A process of `jitd`: started, listened to, told to stop, killed.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use crate::secrets::{Secrets, answered, called_with};

/// Far beyond what anything here takes.
const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(20);
/// The headers in which somebody says who they are.
const HOLDS_SECRET: [&str; 3] = ["Authorization", "X-JIT-API-Key", "X-Vault-Token"];
/// How long a process that is about to be dropped may take for an answer.
const GLIMPSE: Duration = Duration::from_secs(1);

/// The command, with nothing of the environment of whoever runs the tests.
pub(crate) fn jitd(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_jitd"));
    command.env_clear().args(arguments);
    command.stdin(Stdio::null());
    command
}

/// Another binary of the workspace, beside the one under test.
pub(crate) fn program(name: &str, arguments: &[&str]) -> Command {
    let file = PathBuf::from(env!("CARGO_BIN_EXE_jitd")).with_file_name(name);
    assert!(
        file.exists(),
        "run cargo build -p {name} first: {}",
        file.display()
    );
    let mut command = Command::new(file);
    command.env_clear().args(arguments);
    command
}

/// Runs it to its end.
pub(crate) fn ran(mut command: Command) -> Output {
    let secrets = Secrets::of(&command);
    let output = command.output().unwrap();
    let said = [&output.stdout, &output.stderr].map(|it| String::from_utf8_lossy(it).into_owned());
    assert_eq!(secrets.found(&said), None, "S15: a secret got out");
    output
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// A process that runs; it is killed when it is dropped.
pub(crate) struct Process {
    child: Child,
    lines: Receiver<String>,
    pub(crate) heard: Vec<String>,
    /// What whoever watched was shown.
    shown: Vec<String>,
    secrets: Secrets,
}

impl Process {
    /// Starts it and listens to its standard output and standard error.
    pub(crate) fn start(mut command: Command) -> Self {
        let secrets = Secrets::of(&command);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let (tell, lines) = channel();
        let out: [Box<dyn Read + Send>; 2] = [
            Box::new(child.stdout.take().unwrap()),
            Box::new(child.stderr.take().unwrap()),
        ];
        for stream in out {
            let tell = tell.clone();
            std::thread::spawn(move || {
                for line in BufReader::new(stream).lines() {
                    let _ = tell.send(line.unwrap());
                }
            });
        }
        Self {
            child,
            lines,
            heard: vec![],
            shown: vec![],
            secrets,
        }
    }

    /// What whoever watches is shown now is kept, where somebody can watch.
    pub(crate) fn is_looked_at(&mut self) {
        if self.ended().is_some() {
            return;
        }
        let serving = self.heard.iter().rev();
        let mut serving = serving.filter_map(|line| line.split_once("\"observe\":\""));
        let address = serving.find_map(|(_, rest)| rest.split('"').next());
        let paths = address.into_iter().flat_map(|address| {
            let paths = ["metrics", "health", "ready"];
            paths.map(|path| glimpsed(address, path))
        });
        self.shown.extend(paths.flatten());
    }

    /// The next line that holds this.
    pub(crate) fn hears(&mut self, what: &str) -> String {
        loop {
            match self.lines.recv_timeout(PATIENCE) {
                Ok(line) => {
                    self.heard.push(line.clone());
                    if line.contains(what) {
                        return line;
                    }
                }
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                    panic!("{what:?} was never said: {:#?}", self.heard)
                }
            }
        }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal by its name.
    pub(crate) fn signal(&self, name: &str) {
        signal(self.child.id(), name);
    }

    /// Waits for its end; its exit code.
    pub(crate) fn ends(&mut self) -> Option<i32> {
        let mut tries = PATIENCE.as_millis() / PAUSE.as_millis();
        let ended = loop {
            if let Some(ended) = self.child.try_wait().unwrap() {
                break ended;
            }
            assert!(tries > 0, "it never ended: {:#?}", self.heard);
            tries -= 1;
            std::thread::sleep(PAUSE);
        };
        while let Ok(line) = self.lines.recv_timeout(Duration::from_secs(5)) {
            self.heard.push(line);
        }
        ended.code()
    }

    /// What it said since it was last listened to, for as long as it goes on saying something.
    pub(crate) fn listens(&mut self) {
        while let Ok(line) = self.lines.recv_timeout(Duration::from_millis(200)) {
            self.heard.push(line);
        }
    }

    /// The lines that it said meanwhile, without waiting for more.
    pub(crate) fn overheard(&mut self) -> Vec<String> {
        let lines: Vec<String> = self.lines.try_iter().collect();
        self.heard.extend_from_slice(&lines);
        lines
    }

    /// How it ended, where it did.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// Kills it at once; how it ended, which it may have done before.
    pub(crate) fn kill(&mut self) -> ExitStatus {
        self.child.kill().unwrap();
        self.child.wait().unwrap()
    }

    /// Ends it; what it said and showed is for whoever looks through it.
    pub(crate) fn leaves(mut self) -> Remains {
        self.is_over();
        self.remains()
    }

    fn is_over(&mut self) {
        self.is_looked_at();
        // It may have ended, which is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    fn remains(&mut self) -> Remains {
        self.listens();
        let mut said = std::mem::take(&mut self.heard);
        said.append(&mut self.shown);
        let secrets = std::mem::take(&mut self.secrets);
        Remains { said, secrets }
    }
}

/// What is left of a process.
#[derive(Default)]
pub(crate) struct Remains {
    pub(crate) said: Vec<String>,
    pub(crate) secrets: Secrets,
}

impl Remains {
    /// No secret is in what was said, nor in the files beside the configuration.
    pub(crate) fn are_clean(&self) {
        assert_eq!(
            self.secrets.found(&self.said),
            None,
            "S15: a secret got out"
        );
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.is_over();
        if !std::thread::panicking() {
            self.remains().are_clean();
        }
    }
}

/// Sends this process a signal by its name.
pub(crate) fn signal(id: u32, name: &str) {
    let mut kill = Command::new("kill");
    let sent = kill.args(["-s", name, &id.to_string()]).status();
    assert!(sent.unwrap().success());
}

/// What is at this path, unless the process is stopped or busy.
fn glimpsed(address: &str, path: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(GLIMPSE))?;
    write!(stream, "GET /{path} HTTP/1.0\r\nHost: {address}\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// Waits until this holds.
pub(crate) async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let held = async {
        while !holds().await {
            tokio::time::sleep(PAUSE).await;
        }
    };
    let held = tokio::time::timeout(PATIENCE, held).await;
    held.unwrap_or_else(|_| panic!("waited in vain: {what}"));
}

pub(crate) fn read(file: &Path) -> String {
    std::fs::read_to_string(file).unwrap()
}

/// One call over HTTP/1.0; the status and the body, in which there is no secret but one that it hands out.
pub(crate) fn fetch(method: &str, url: &str, body: &str) -> (u16, String) {
    fetch_as(method, url, &[], body)
}

/// The same with more headers.
pub(crate) fn fetch_as(
    method: &str,
    url: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> (u16, String) {
    let (host, path) = url
        .strip_prefix("http://")
        .and_then(|rest| rest.split_once('/'))
        .unwrap();
    let mut stream = TcpStream::connect(host).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let held = headers
        .iter()
        .filter(|(name, _)| HOLDS_SECRET.contains(name));
    held.for_each(|(_, secret)| called_with(secret));
    let headers: String = headers
        .iter()
        .map(|(name, value)| format!("{name}: {value}\r\n"))
        .collect();
    write!(
        stream,
        "{method} /{path} HTTP/1.0\r\nHost: {host}\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n{headers}\r\n{body}",
        body.len()
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    answered(&answer, body);
    let status = head.split(' ').nth(1).unwrap();
    (status.parse().unwrap(), body.to_owned())
}

#[test]
fn a_process_that_crashed_was_not_killed() {
    use std::os::unix::process::ExitStatusExt;

    let mut command = Command::new("/bin/sh");
    command.env_clear().args(["-c", "kill -s ABRT $$"]);
    let mut process = Process::start(command);
    assert_eq!(process.ends(), None);
    assert_eq!(process.kill().signal(), Some(6));
}
