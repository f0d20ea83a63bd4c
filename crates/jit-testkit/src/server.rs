//! Servers that nobody here wrote, started for a test and ended with it. `tests/run` installs them;
//! one that is missing fails the test that needs it, with the command that installs it.

use std::ffi::OsStr;
use std::fmt;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// How often a server is asked whether it is up.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// How often it is asked before it counts as broken. The slowest needs some seconds where others
/// are busy too.
const LOOKS: u32 = 1_500;

/// A server on loopback. It ends when this is dropped.
pub struct Server {
    child: Child,
    port: u16,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("port", &self.port)
            .finish_non_exhaustive()
    }
}

impl Server {
    /// Where it answers.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Its process, for a test that suspends it.
    pub fn id(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// DynamoDB's counterpart, with nothing in it. It never removes rows by their expiry.
///
/// # Panics
/// Where it is not installed or does not start.
pub fn dynoxide() -> Server {
    dynoxide_with(&[])
}

/// The same with its rows in this file instead of in memory.
///
/// # Panics
/// Where it is not installed or does not start.
pub fn dynoxide_in(file: &Path) -> Server {
    dynoxide_with(&["--db-path".as_ref(), file.as_os_str()])
}

#[expect(
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]
fn dynoxide_with(more: &[&OsStr]) -> Server {
    let program = installed("aws/node_modules/@dynoxide/linux-x64/dynoxide");
    let Some(program) = program else {
        panic!("dynoxide is not installed; run tests/aws/install once");
    };
    start(|port| {
        let mut command = Command::new(&program);
        command.args(["--port", &port.to_string()]).args(more);
        command
    })
    .expect("dynoxide starts")
}

/// A second opinion on DynamoDB, and what answers for the organization. It forgets the token of a
/// transaction at once, and takes keys of any type.
///
/// # Panics
/// Where it is not installed or does not start.
#[expect(
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]
pub fn moto() -> Server {
    let Some(program) = installed("py-aws/bin/python") else {
        panic!("moto is not installed; run tests/aws/install once");
    };
    start(|port| {
        let mut command = Command::new(&program);
        command.args(["-m", "moto.server", "-H", "127.0.0.1", "-p"]);
        command.arg(port.to_string());
        command
    })
    .expect("moto starts")
}

/// The server that removes rows by their expiry, about a minute after it; of the lane `--deep`.
///
/// # Panics
/// Where it is not installed or does not start.
#[expect(
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]
pub fn ministack() -> Server {
    let Some(program) = installed("py-ministack/bin/ministack") else {
        panic!("ministack is not installed; run tests/aws/deep");
    };
    start(|port| {
        let mut command = Command::new(&program);
        command.env("BIND_HOST", "127.0.0.1");
        command.env("GATEWAY_PORT", port.to_string());
        command
    })
    .expect("ministack starts")
}

/// A file under the folder into which `tests/run` installs.
fn installed(name: &str) -> Option<PathBuf> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = here.parent()?.parent()?;
    let file = root.join("target").join(name);
    file.exists().then_some(file)
}

/// Starts a server on a free port and waits until it answers there.
fn start(command: impl Fn(u16) -> Command) -> std::io::Result<Server> {
    // Somebody else may take the port between the two; then it is another one's turn.
    for _ in 0..5 {
        let port = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
        let child = command(port)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let mut server = Server { child, port };
        for _ in 0..LOOKS {
            if server.child.try_wait()?.is_some() {
                break;
            }
            if TcpStream::connect(("127.0.0.1", port)).is_ok() {
                return Ok(server);
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }
    Err(std::io::Error::other("it ended, or did not answer in 30 s"))
}
