//! Each provider: that it can be reached with the credentials that are configured, and that these may
//! look at what its entitlements name. Everything asked is a read of the port that every adapter has;
//! the little that a port cannot say is at the end.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use jit_core::Timestamp;
use jit_core::catalog::{Entitlement, ParameterRule};
use jit_core::ports::{Clock, ErrorKind, InspectCall, PortError, Provisioner, Purpose, Random};
use jit_core::provider::{Handle, Kind, Parameters};
use jit_core::request::RequestId;
use jit_okta::Okta;
use jit_vault::{Health, SecretId, Vault};
use tokio::time::{Instant, timeout_at};

use super::{DEADLINE, Finding, clock, counted, disk, on_disk, remedy};
use crate::build;
use crate::clock::{OsRandom, SystemClock};
use crate::config::{Config, Provider, ProviderKind};
use crate::reach::nobody;

/// How many questions a provider is asked at once.
const AT_ONCE: usize = 4;
/// How much sooner than the check the questions end, so that what was answered is told.
const SOONER: Duration = Duration::from_millis(500);
/// How many of those with the same trouble are named.
const NAMED: usize = 3;

/// What several providers share, so that each service is logged in to once.
pub(super) struct Clients {
    clock: Arc<dyn Clock>,
    okta: Option<Arc<Okta>>,
    vault: Option<Arc<Vault>>,
}

impl Clients {
    /// Nothing is sent yet.
    pub(super) fn of(config: &Config) -> Result<Self, PortError> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let random: Arc<dyn Random> = Arc::new(OsRandom);
        let okta = build::okta(config, &clock, &random)?;
        let vault = build::vault(config, &clock)?;
        Ok(Self { clock, okta, vault })
    }

    /// The adapter of this provider alone, so that one that cannot be made does not hide the others.
    async fn adapter(
        &self,
        config: &Config,
        provider: &Provider,
    ) -> Result<Arc<dyn Provisioner>, PortError> {
        let mut alone = config.clone();
        alone.providers.retain(|it| it.name == provider.name);
        let (okta, vault) = (self.okta.as_ref(), self.vault.as_ref());
        let made = build::provisioners(&alone, &self.clock, okta, vault).await?;
        let made = made.into_values().next();
        made.ok_or_else(|| PortError::nothing_done("provider", "be made", ErrorKind::Misconfigured))
    }
}

/// All that is to be said of one provider.
pub(super) async fn provider(
    config: &Config,
    clients: &Clients,
    provider: &Provider,
    now: Timestamp,
) -> Vec<Finding> {
    let area = provider.name.as_str();
    let until = Instant::now() + DEADLINE - SOONER;
    let mut found = before(area, config, clients, provider).await;
    if !found.is_empty() {
        return found;
    }
    let adapter = match clients.adapter(config, provider).await {
        Ok(adapter) => adapter,
        Err(error) => return vec![Finding::of_error(area, &error)],
    };
    let all = config.catalog.iter();
    let of_it = all.filter(|it| it.id.provider() == provider.name).cloned();
    let look = Look {
        area,
        adapter: adapter.as_ref(),
        handle: unknown_handle(&provider.kind),
        now,
        until,
    };
    found.extend(look.at(of_it.collect()).await);
    let mut families = config.catalog.families().iter();
    let prefix = format!("{area}/");
    if families.any(|it| it.pattern.as_str().starts_with(&prefix)) {
        found.push(look.at_offers().await);
    }
    found
}

/// Questions to one provider.
struct Look<'l> {
    area: &'l str,
    adapter: &'l dyn Provisioner,
    handle: Option<Handle>,
    now: Timestamp,
    until: Instant,
}

/// What came of asking for one thing.
enum Seen {
    There,
    /// It takes parameters, and cannot be looked up without.
    Unsure,
    Wrong(Finding),
}

impl Look<'_> {
    async fn at(&self, entitlements: Vec<Entitlement>) -> Vec<Finding> {
        let count = entitlements.len();
        let asked = stream::iter(entitlements).map(|it| async move {
            let seen = self.one(&it).await;
            (it, seen)
        });
        let mut answers = asked.buffer_unordered(AT_ONCE);
        let (mut there, mut unsure, mut late) = (0_usize, 0_usize, 0_usize);
        // The same trouble is told once.
        let mut wrong: BTreeMap<(String, String), Vec<String>> = BTreeMap::new();
        for answered in 0..count {
            match timeout_at(self.until, answers.next()).await {
                Ok(Some((_, Seen::There))) => there += 1,
                Ok(Some((_, Seen::Unsure))) => unsure += 1,
                Ok(Some((it, Seen::Wrong(finding)))) => {
                    let what = (finding.found, finding.fix.unwrap_or_default());
                    wrong.entry(what).or_default().push(it.id.to_string());
                }
                Ok(None) => break,
                Err(_) => {
                    late = count - answered;
                    break;
                }
            }
        }
        let told = wrong.into_iter().map(|((what, fix), mut of)| {
            of.sort();
            Finding::fail(self.area, format!("{}: {what}", listed(&of)), fix)
        });
        let mut found: Vec<Finding> = told.collect();
        found.extend(self.counted(there, unsure, late));
        found
    }

    fn counted(&self, there: usize, unsure: usize, late: usize) -> Vec<Finding> {
        let mut found = vec![];
        if there > 0 {
            let what = format!("{} looked at as jitd does", counted(there, "entitlement"));
            found.push(Finding::ok(self.area, what));
        }
        if unsure > 0 {
            let what = format!(
                "{} not looked at: what is asked for is known with its parameters",
                counted(unsure, "entitlement")
            );
            found.push(Finding::ok(self.area, what));
        }
        let secs = DEADLINE.as_secs();
        match (there, late) {
            (_, 0) => {}
            (0, _) => found.push(Finding::fail(
                self.area,
                format!("it did not answer within {secs} s"),
                remedy(ErrorKind::Unavailable),
            )),
            (_, late) => {
                let what = format!(
                    "{} not looked at within {secs} s",
                    counted(late, "entitlement")
                );
                let fix = "run this again, or see why it is slow";
                found.push(Finding::warn(self.area, what, fix));
            }
        }
        found
    }

    /// Whether what an entitlement names is there and may be looked at.
    async fn one(&self, entitlement: &Entitlement) -> Seen {
        let asked = match self.adapter.describe().kind {
            Kind::Standing => self.standing(entitlement).await,
            Kind::Minted => self.minted(entitlement).await,
        };
        match asked {
            Ok(true) => Seen::There,
            Ok(false) => Seen::Wrong(Finding::fail(
                self.area,
                format!("there is no {:?} there", entitlement.resource),
                remedy(ErrorKind::NotFound),
            )),
            Err(error)
                if error.kind == ErrorKind::Misconfigured
                    && entitlement.parameters != ParameterRule::Refused =>
            {
                Seen::Unsure
            }
            Err(error) => Seen::Wrong(Finding::of_error(self.area, &error)),
        }
    }

    /// Who has it, the first page of them.
    async fn standing(&self, entitlement: &Entitlement) -> Result<bool, PortError> {
        let Some(resource) = self.adapter.resource(entitlement).await? else {
            return Ok(false);
        };
        self.adapter.standing(&resource, None).await?;
        Ok(true)
    }

    /// What somebody would be given, and whether a request that never was left any of it.
    async fn minted(&self, entitlement: &Entitlement) -> Result<bool, PortError> {
        let stranger = "jit-doctor".parse();
        let stranger = nobody(stranger.expect("it is a name"));
        let parameters = Parameters::default();
        let resolved = self.adapter.resolve(&stranger, entitlement, &parameters);
        let target = resolved.await?.target;
        let mut entropy = [0; 10];
        Random::fill(&OsRandom, &mut entropy);
        self.adapter
            .inspect(InspectCall {
                purpose: Purpose::Give,
                request: RequestId::new(self.now, entropy),
                target: &target,
                parameters: &parameters,
                handle: self.handle.as_ref(),
                expires_at: self.now - Duration::from_secs(3_600),
                send_before: None,
            })
            .await?;
        Ok(true)
    }

    /// What there is of a family, where a provider lists it.
    async fn at_offers(&self) -> Finding {
        match timeout_at(self.until, self.adapter.offers()).await {
            Ok(Ok(offers)) => Finding::ok(
                self.area,
                format!("{} offered", counted(offers.len(), "thing")),
            ),
            Ok(Err(error)) => Finding::of_error(self.area, &error),
            Err(_) => {
                let what = "what it offers was not listed in a moment; jitd takes its time for it";
                Finding::warn(
                    self.area,
                    what,
                    "see jit list --entitlements once jitd runs",
                )
            }
        }
    }
}

fn listed(names: &[String]) -> String {
    let shown = names.iter().take(NAMED).cloned().collect::<Vec<_>>();
    match names.len().checked_sub(NAMED) {
        None | Some(0) => shown.join(", "),
        Some(more) => format!("{} and {more} more", shown.join(", ")),
    }
}

// ------------------------------------------------------------------- what no port can be asked for

/// What nothing ever had, by which a credential is looked for: the one look at a Vault's tokens that
/// needs our own token, and the right to look.
fn unknown_handle(kind: &ProviderKind) -> Option<Handle> {
    match kind {
        ProviderKind::Vault(_) => Some(Handle("jit-doctor".to_owned())),
        ProviderKind::GroupFile { .. }
        | ProviderKind::IdentityCenter { .. }
        | ProviderKind::Iam { .. }
        | ProviderKind::Okta(_)
        | ProviderKind::Tokens { .. } => None,
    }
}

/// What keeps a provider from working whatever is asked of it.
async fn before(
    area: &str,
    config: &Config,
    clients: &Clients,
    provider: &Provider,
) -> Vec<Finding> {
    let vault = async || vault(area, config, clients).await;
    match &provider.kind {
        ProviderKind::GroupFile { file } => {
            let (area, file) = (area.to_owned(), file.clone());
            let wrong = on_disk(move || unreplaceable(&area, &file)).await;
            wrong.into_iter().collect()
        }
        ProviderKind::Vault(_) => vault().await.err().into_iter().collect(),
        ProviderKind::Tokens { path, address, .. } => match vault().await {
            Err(wrong) => vec![wrong],
            Ok(vault) => match vault.read_kv(path).await {
                // What a service has to be asked for may be nothing before somebody wants a token.
                Ok(_) => {
                    let answers = clock::answers(area, address.url()).await;
                    answers.err().into_iter().collect()
                }
                Err(error) => {
                    let what = format!("what opens it, at {path} in the Vault: {}", error.chain());
                    vec![Finding::fail(area, what, remedy(error.kind))]
                }
            },
        },
        ProviderKind::IdentityCenter { .. } | ProviderKind::Iam { .. } | ProviderKind::Okta(_) => {
            vec![]
        }
    }
}

/// A group file is replaced as a whole: its folder must be writable, and its owner be kept.
fn unreplaceable(area: &str, file: &Path) -> Option<Finding> {
    use std::os::unix::fs::MetadataExt;
    // Whoever is asked for a group says it better.
    let real = file.canonicalize().ok()?;
    let folder = real.parent().unwrap_or(Path::new("/"));
    if !disk::is_writable(folder) {
        let what = format!(
            "no file can be made in {}, where the group file is",
            folder.display()
        );
        let fix = "give the folder to the user that runs jitd: the file is replaced as a whole";
        return Some(Finding::fail(area, what, fix));
    }
    let for_us = "give it to the user that runs jitd";
    let mut lock = real.as_os_str().to_owned();
    lock.push(".lock");
    let lock = Path::new(&lock);
    // It is locked by whoever can open it, however.
    if lock.exists() && !disk::is_readable(lock) && !disk::is_writable(lock) {
        let what = format!("{} cannot be opened", lock.display());
        return Some(Finding::fail(area, what, for_us));
    }
    let user = rustix::process::geteuid();
    let owner = std::fs::metadata(&real).ok()?.uid();
    let is_kept = user.is_root() || owner == user.as_raw();
    let what = || {
        let real = real.display();
        format!("{real} belongs to another user, and its owner is kept")
    };
    (!is_kept).then(|| Finding::fail(area, what(), for_us))
}

/// The Vault, where it is in a state to answer.
async fn vault<'c>(
    area: &str,
    config: &Config,
    clients: &'c Clients,
) -> Result<&'c Vault, Finding> {
    let Some(vault) = clients.vault.as_deref() else {
        let fix = "write a [[provider]] of kind = \"vault\"";
        return Err(Finding::fail(area, "there is no Vault to ask", fix));
    };
    let health = vault.health().await;
    let is_up = matches!(
        health,
        Health::Ok | Health::Standby | Health::PerformanceStandby
    );
    if is_up && has_one_use(config) {
        let what = "its secret id is wrapped, which can be opened once: that is left to jitd";
        let fix = "see in jitd's log that it is opened, and that no call is refused";
        return Err(Finding::warn(area, what, fix));
    }
    let fix = match health {
        Health::Ok | Health::Standby | Health::PerformanceStandby => return Ok(vault),
        Health::Sealed => "unseal it: vault operator unseal",
        Health::Uninitialised => "initialise it: vault operator init",
        Health::RecoverySecondary => {
            "name the primary's address: a replica for disasters does nothing"
        }
        Health::Unreachable => remedy(ErrorKind::Unavailable),
    };
    let what = format!("the Vault is {}", health.as_str().replace('_', " "));
    Err(Finding::fail(area, what, fix))
}

/// Whether looking would use up what jitd logs in with.
fn has_one_use(config: &Config) -> bool {
    config
        .providers
        .iter()
        .any(|provider| match &provider.kind {
            ProviderKind::Vault(vault) => {
                matches!(vault.0.secret_id, SecretId::Wrapped(_))
            }
            ProviderKind::GroupFile { .. }
            | ProviderKind::IdentityCenter { .. }
            | ProviderKind::Iam { .. }
            | ProviderKind::Okta(_)
            | ProviderKind::Tokens { .. } => false,
        })
}

#[cfg(test)]
mod tests;
