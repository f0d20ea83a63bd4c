//! The simulator as tests hold it.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::thread::JoinHandle;

use tokio::runtime::Builder;
use tokio::sync::oneshot;

use crate::serve::serve;
use crate::setup::Setup;
use crate::world::World;

/// A simulated AWS on loopback. It runs on a thread of its own, so a test may be synchronous, or
/// may stop its own runtime's clock. Dropping it stops it.
#[derive(Debug)]
pub struct Sim {
    world: World,
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Sim {
    /// Starts on a free port.
    ///
    /// # Errors
    /// If loopback has no free port, or no thread can be started.
    pub fn start(setup: Setup) -> io::Result<Self> {
        Self::start_at(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), setup)
    }

    /// Starts at an address.
    ///
    /// # Errors
    /// If the address cannot be bound, or no thread can be started.
    pub fn start_at(address: SocketAddr, setup: Setup) -> io::Result<Self> {
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let world = World::new(setup);
        let (stop, stopped) = oneshot::channel();
        let served = world.clone();
        let thread = std::thread::Builder::new().name("aws-sim".to_owned());
        let thread = thread.spawn(move || {
            runtime.block_on(async {
                let Ok(listener) = tokio::net::TcpListener::from_std(listener) else {
                    return;
                };
                tokio::select! {
                    () = serve(listener, served) => {}
                    _ = stopped => {}
                }
            });
        })?;
        Ok(Self {
            world,
            address,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    /// Where it answers, such as `http://127.0.0.1:40123`: the endpoint of all services.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The organization.
    pub fn world(&self) -> &World {
        &self.world
    }
}

impl Drop for Sim {
    fn drop(&mut self) {
        // Dropping the sender ends the thread; its connections close with its runtime.
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
