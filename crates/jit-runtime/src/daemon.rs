//! The two services around an engine: the daemon, which listens and works, and the sweeper, which
//! only works. How they start, run and stop; what they do is the engine's and the worker's.

use std::fs::DirBuilder;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join;
use jit_core::Engine;
use jit_core::catalog::ProviderName;
use jit_core::engine::{CLOCK_OFF, ClockTrust};
use jit_core::ports::{CommitError, PortError};
use jit_core::principal::Door;
use jit_http::ApiState;
use jit_slack::SlackDoor;
use jit_telegram::TelegramDoor;
use metrics_exporter_prometheus::PrometheusHandle;
use serde::Serialize;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::build::{self, Adapters, BuildError, is_recorded, record_configuration};
use crate::config::{Config, Origin, Store};
use crate::dates::Dates;
use crate::discovery::Discovery;
use crate::drift;
use crate::lists;
use crate::observe;
use crate::reach::{self, Everybody};
use crate::watch::Watch;
use crate::worker::{Swept, Worker};

/// How long a start waits for what was left overdue; what takes longer goes on beside the API.
const START_SWEEP: Duration = Duration::from_secs(10);
/// How long it is looked whether a new policy locks everybody out.
const LOCK_OUT_LOOK: Duration = Duration::from_secs(10);
/// How long a stop may take, calls and records under way included.
const STOP_WITHIN: Duration = Duration::from_secs(15);
/// How long what hangs in a system call is waited for at the very end.
const HANGING: Duration = Duration::from_secs(2);
/// The pause before a part that panicked is started again.
const PAUSE: Duration = Duration::from_secs(1);
/// How often the recorder folds what it was told, so that histograms do not pile up.
const UPKEEP: Duration = Duration::from_secs(5);

/// Why a service did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// What the configuration names cannot be put together.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// An address cannot be listened on.
    #[error(
        "cannot listen on {address}, which [http] {key} names; another process may have it, or it \
         is not an address of this machine"
    )]
    Listen {
        /// The key of `[http]`.
        key: &'static str,
        /// The address.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// There is nowhere to keep anything.
    #[error("{} cannot be made; JIT_STATE_DIR names another folder", folder.display())]
    Folder {
        /// What would be made.
        folder: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A policy under which nobody could have anything.
    #[error(
        "the policy locks everybody out: nothing that can be asked for can be had. `jit policy lint` \
         says why; if it is meant, start with --allow-lock-out. What was due is taken away, and what \
         is given still is by a sweeper, or a daemon that was started before"
    )]
    LockedOut,
    /// The audit does not take that a process starts.
    #[error("the start could not be written into the audit")]
    Audit(#[from] CommitError),
    /// There is another recorder of metrics in this process.
    #[error("the metrics cannot be recorded")]
    Metrics(#[from] metrics_exporter_prometheus::BuildError),
}

/// A daemon that is ready to run: the store is open, both listeners are bound, and what was left
/// overdue by whoever ran before is ended.
pub struct Daemon {
    config: Config,
    adapters: Adapters,
    engine: Arc<Engine>,
    worker: Worker,
    api: TcpListener,
    observe: TcpListener,
    metrics: PrometheusHandle,
}

impl std::fmt::Debug for Daemon {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Daemon")
            .field("engine", &self.engine)
            .finish_non_exhaustive()
    }
}

/// What is done about a policy under which nobody could have anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LockOut {
    /// A service with such a policy does not start, unless it has run with it already.
    Refused,
    /// Nobody looks.
    Allowed,
}

/// Whether the directory knows of nobody who could have anything under a policy. Whoever cannot be
/// looked up, or not in time, is taken for somebody.
async fn locks_everybody_out(config: &Config) -> Result<bool, BuildError> {
    let directory = build::people_now(config)?;
    let (policy, people) = (&config.policy, &config.people);
    let everybody = Everybody::of(policy, people, directory.as_ref(), config.leads_to());
    let Ok(everybody) = tokio::time::timeout(LOCK_OUT_LOOK, everybody).await else {
        tracing::warn!("it takes too long to find out whether the policy locks everybody out");
        return Ok(false);
    };
    let report = reach::lint(policy, &config.catalog, &everybody);
    Ok(report.everybody_is_locked_out)
}

impl Daemon {
    /// Opens what the configuration names and makes it ready to run.
    pub async fn start(
        config: Config,
        trust: ClockTrust,
        lock_out: LockOut,
    ) -> Result<Self, StartError> {
        begin(&config)?;
        let adapters = Adapters::open(&config).await?;
        Self::start_with(config, adapters, trust, lock_out).await
    }

    /// The same with adapters that are open already.
    pub async fn start_with(
        config: Config,
        adapters: Adapters,
        trust: ClockTrust,
        lock_out: LockOut,
    ) -> Result<Self, StartError> {
        let metrics = observe::install_recorder()?;
        let engine = adapters.engine(&config, trust).map_err(BuildError::from)?;
        let engine = Arc::new(engine);
        let api = listen("listen", config.http.listen).await?;
        let observe = listen("observe", config.http.observe).await?;
        // What is due is taken away first, whatever is wrong with a new policy.
        let mut worker = adapters.worker(&config, &engine);
        sweep_at_start(&mut worker).await;
        if lock_out == LockOut::Refused
            && !is_recorded(&engine, &config).await?
            && locks_everybody_out(&config).await?
        {
            return Err(StartError::LockedOut);
        }
        record_configuration(&engine, &config).await?;
        Ok(Self {
            config,
            adapters,
            engine,
            worker,
            api,
            observe,
            metrics,
        })
    }

    /// The engine that it runs.
    pub fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }

    /// Where the API is; the port is known here also where the configuration says 0.
    pub fn api_address(&self) -> io::Result<SocketAddr> {
        self.api.local_addr()
    }

    /// Where metrics and health are.
    pub fn observe_address(&self) -> io::Result<SocketAddr> {
        self.observe.local_addr()
    }

    /// Serves and works until `stop` is ready; then takes no more calls and lets what is under way
    /// come to its end, for at most fifteen seconds. Dropping the future stops everything at once,
    /// like a crash.
    pub async fn run(self, stop: impl Future<Output = ()>) -> io::Result<()> {
        let (tell, told) = watch::channel(Stopping::No);
        let state = ApiState::new(Arc::clone(&self.engine), Arc::clone(&self.adapters.random));
        let state = match &self.config.approval {
            Some(approval) => state.serving(self.adapters.approval_service(approval)),
            None => state,
        };
        let api = jit_http::api(state.clone());
        let mut services = JoinSet::new();
        let door = self.adapters.slack.as_ref();
        let door = door.map(|slack| slack.door(Arc::clone(&self.engine)));
        let api = match &self.config.agents {
            Some(settings) => {
                let routes = jit_mcp::routes(Arc::clone(&self.engine), settings);
                api.merge(jit_http::behind_tokens(state.clone(), Door::Mcp, routes))
            }
            None => api,
        };
        let state = match door.as_ref().and_then(SlackDoor::connection) {
            Some(slack) => state.watching("slack", move || slack.reached().to_string()),
            None => state,
        };
        let chat = self.adapters.telegram.as_ref();
        let chat = chat.map(|telegram| telegram.door(Arc::clone(&self.engine)));
        let state = match chat.as_ref().and_then(TelegramDoor::polling) {
            Some(polling) => state.watching("telegram", move || polling.reached().to_string()),
            None => state,
        };
        let observe = jit_http::observe(state, self.metrics.clone());
        let api = match door.as_ref().and_then(SlackDoor::router) {
            Some(routes) => api.merge(routes),
            None => api,
        };
        let api = match chat.as_ref().and_then(TelegramDoor::router) {
            Some(routes) => api.merge(routes),
            None => api,
        };
        if let Some(chat) = chat {
            let told = told.clone();
            services.spawn(async move {
                let serve = || chat.clone().run(stopped(told.clone()));
                kept_running("the door to Telegram", serve).await;
                Ok(())
            });
        }
        if let Some(door) = door {
            let told = told.clone();
            services.spawn(async move {
                let serve = || door.clone().run(stopped(told.clone()));
                kept_running("the door to Slack", serve).await;
                Ok(())
            });
        }
        services.spawn(jit_http::serve(self.api, api, stopped(told.clone())));
        services.spawn(jit_http::serve(
            self.observe,
            observe,
            stopped(told.clone()),
        ));
        let mut first = Some(self.worker);
        let work = kept_running("the worker", || {
            let again = || self.adapters.worker(&self.config, &self.engine);
            first
                .take()
                .unwrap_or_else(again)
                .run(stopped(told.clone()))
        });
        let listed = kept_running("the discovery", || {
            Discovery::new(Arc::clone(&self.engine)).run()
        });
        let checked = kept_running("the check", || {
            lists::check(self.adapters.table.clone(), Arc::clone(&self.engine))
        });
        let reconciled = kept_running("the look for drift", || {
            drift::look_for_ever(Arc::clone(&self.engine), providers(&self.adapters))
        });
        let compared = kept_running("the look at clocks", || {
            dates(&self.config, &self.adapters, &self.engine).run()
        });
        let watched = kept_running("the watch", || {
            let watch = Watch::new(Arc::clone(&self.engine), names(&self.adapters));
            watch_for_ever(watch, self.metrics.clone())
        });
        tokio::pin!(work);
        let ended = tokio::select! {
            () = stop => Ok(()),
            () = &mut work => Err(io::Error::other("the worker ended by itself")),
            () = watched => Err(io::Error::other("the watch ended by itself")),
            () = compared => Err(io::Error::other("the look at clocks ended by itself")),
            () = checked => Err(io::Error::other("the check ended by itself")),
            () = listed => Err(io::Error::other("the discovery ended by itself")),
            () = reconciled => Err(io::Error::other("the look for drift ended by itself")),
            Some(served) = services.join_next() => {
                // Not in the words of a panic, which may quote what the process holds.
                served.unwrap_or_else(|error| Err(io::Error::from(error)))
            }
        };
        tracing::info!("stopping: no more calls are taken, what is under way comes to its end");
        tell.send_replace(Stopping::Yes);
        let drained = async {
            // Where the worker ended by itself there is nothing to wait for.
            if ended.is_ok() {
                work.await;
            }
            while services.join_next().await.is_some() {}
        };
        if tokio::time::timeout(STOP_WITHIN, drained).await.is_err() {
            tracing::warn!("something was still under way at the end; the record says how far");
        }
        ended
    }
}

/// A sweeper: the engine and the worker of a daemon, and nothing that listens.
#[derive(Debug)]
pub struct Sweeper {
    config: Config,
    adapters: Adapters,
    engine: Arc<Engine>,
    worker: Worker,
}

impl Sweeper {
    /// Opens what the configuration names.
    pub async fn start(config: Config, trust: ClockTrust) -> Result<Self, BuildError> {
        let adapters = Adapters::open(&config).await?;
        let engine = Arc::new(adapters.engine(&config, trust)?);
        let worker = adapters.worker(&config, &engine);
        Ok(Self {
            config,
            adapters,
            engine,
            worker,
        })
    }

    /// Pays everything that is due now, and looks what is overdue all the same.
    pub async fn once(&mut self) -> Result<Pass, PortError> {
        // By it whoever is behind knows what time it is.
        self.engine.due(1).await?;
        let began_at = self.engine.now();
        let compared = dates(&self.config, &self.adapters, &self.engine);
        let (swept, ()) = join(self.worker.sweep(), compared.compare()).await;
        let Swept { tended, failed } = swept?;
        self.engine.refresh_mirror().await?;
        let overdue = self.engine.count_live(began_at).overdue;
        let off_by = self.engine.clock_offset().by();
        Ok(Pass {
            tended,
            failed,
            overdue,
            clock_off_by_seconds: match off_by > CLOCK_OFF {
                true => off_by.as_secs(),
                false => 0,
            },
        })
    }

    /// Works until `stop` is ready, then lets what is under way come to its end.
    pub async fn run(self, stop: impl Future<Output = ()>) {
        let (tell, told) = watch::channel(Stopping::No);
        let mut first = Some(self.worker);
        let work = kept_running("the worker", || {
            let again = || self.adapters.worker(&self.config, &self.engine);
            first
                .take()
                .unwrap_or_else(again)
                .run(stopped(told.clone()))
        });
        let reconciled = kept_running("the look for drift", || {
            drift::look_for_ever(Arc::clone(&self.engine), providers(&self.adapters))
        });
        let compared = kept_running("the look at clocks", || {
            dates(&self.config, &self.adapters, &self.engine).run()
        });
        let watched = kept_running("the watch", || {
            Watch::new(Arc::clone(&self.engine), names(&self.adapters)).run()
        });
        tokio::pin!(work);
        tokio::select! {
            () = stop => {}
            () = &mut work => return,
            () = watched => {}
            () = compared => {}
            () = reconciled => {}
        }
        tell.send_replace(Stopping::Yes);
        if tokio::time::timeout(STOP_WITHIN, work).await.is_err() {
            tracing::warn!("something was still under way at the end; the record says how far");
        }
    }
}

/// What one pass of a sweeper came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Pass {
    /// Records that were tended.
    pub tended: usize,
    /// Those among them that failed; the next pass tries them again.
    pub failed: usize,
    /// Grants whose access should have been gone when the pass began and is not verified gone:
    /// the provider does not let it go, or another process is at it.
    pub overdue: usize,
    /// By how many seconds the clock of this host is off, where that is more than clocks may differ.
    pub clock_off_by_seconds: u64,
}

/// Runs a process to its end. What still hangs in a system call then, on a disk that does not
/// answer, is left to the system after two seconds.
pub fn block_on<T>(process: impl Future<Output = T>) -> io::Result<T> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let ended = runtime.block_on(process);
    runtime.shutdown_timeout(HANGING);
    Ok(ended)
}

/// Ready when the process is told to stop by SIGINT or SIGTERM. Listens from the moment that it is
/// called, so that no signal is lost before the first wait.
pub fn signalled() -> io::Result<impl Future<Output = ()>> {
    let mut interrupted = signal(SignalKind::interrupt())?;
    let mut terminated = signal(SignalKind::terminate())?;
    Ok(async move {
        tokio::select! {
            _ = interrupted.recv() => {}
            _ = terminated.recv() => {}
        }
    })
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stopping {
    No,
    Yes,
}

async fn stopped(mut told: watch::Receiver<Stopping>) {
    // Whoever tells is gone only where everything is.
    let _ = told.wait_for(|stopping| *stopping == Stopping::Yes).await;
}

async fn listen(key: &'static str, address: SocketAddr) -> Result<TcpListener, StartError> {
    let bound = TcpListener::bind(address).await;
    bound.map_err(|source| StartError::Listen {
        key,
        address,
        source,
    })
}

/// What a configuration that nobody wrote down needs: a folder for its store, and to be told what it
/// means. And what is told of any approval service.
fn begin(config: &Config) -> Result<(), StartError> {
    let short = config.approval.as_ref().map_or(0, |it| it.short_keys);
    if short > 0 {
        tracing::warn!(
            short,
            "API keys that are shorter than 16 characters can be guessed"
        );
    }
    let Origin::Variables { notices, .. } = &config.origin else {
        return Ok(());
    };
    for notice in notices {
        tracing::warn!(notice, "the variables of the environment say so");
    }
    let Store::Sqlite { file } = &config.store else {
        return Ok(());
    };
    let folder = file.parent().unwrap_or(Path::new("/"));
    let mut made = DirBuilder::new();
    made.recursive(true).mode(0o700);
    made.create(folder).map_err(|source| StartError::Folder {
        folder: folder.to_owned(),
        source,
    })
}

async fn sweep_at_start(worker: &mut Worker) {
    match tokio::time::timeout(START_SWEEP, worker.sweep()).await {
        Ok(Ok(Swept { tended, failed })) => {
            tracing::info!(tended, failed, "what was due at the start is paid");
        }
        Ok(Err(error)) => {
            tracing::error!(error = %error.chain(), "the store cannot be asked");
        }
        Err(_) => tracing::warn!("what was due at the start takes longer, and goes on"),
    }
}

async fn watch_for_ever(watch: Watch, metrics: PrometheusHandle) {
    let upkeep = async {
        loop {
            tokio::time::sleep(UPKEEP).await;
            metrics.run_upkeep();
        }
    };
    tokio::select! {
        () = watch.run() => {}
        () = upkeep => {}
    }
}

fn dates(config: &Config, adapters: &Adapters, engine: &Arc<Engine>) -> Dates {
    Dates::new(config, Arc::clone(engine), Arc::clone(&adapters.clock))
}

fn providers(adapters: &Adapters) -> Vec<ProviderName> {
    adapters.provisioners.keys().cloned().collect()
}

fn names(adapters: &Adapters) -> Vec<String> {
    let notifiers = adapters.notifiers.iter();
    notifiers
        .map(|notifier| notifier.name().to_owned())
        .collect()
}

/// Runs a part of the service to its end, and starts it again where it panics: what it was doing
/// is in the store.
async fn kept_running<F>(part: &'static str, mut start: impl FnMut() -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    loop {
        let mut task = JoinSet::new();
        task.spawn(start());
        match task.join_next().await {
            Some(Err(error)) if error.is_panic() => {
                tracing::error!(part, "a part of the service panicked and is started again");
                tokio::time::sleep(PAUSE).await;
            }
            Some(_) | None => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};

    #[tokio::test(start_paused = true)]
    async fn a_part_that_panics_is_started_again() {
        let starts = Arc::new(AtomicU32::new(0));
        kept_running("the test", || {
            let start = starts.fetch_add(1, Ordering::SeqCst);
            async move { assert!(start == 2, "a panic that is meant") }
        })
        .await;
        assert_eq!(starts.load(Ordering::SeqCst), 3);
    }
}
