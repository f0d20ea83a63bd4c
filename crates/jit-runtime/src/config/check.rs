//! What the tables of a configuration mean to each other: names that lead nowhere, things named
//! twice, two ways to one slot. Everything wrong is told; the value is used only if nothing is.
//! Who people are and which rules can count is in `principals`.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jit_core::catalog::{
    Catalog, Entitlement, EntitlementId, Family, ParameterRule, Pattern, ProviderName,
};
use jit_core::digest::{Digest, sha256_json};
use jit_core::policy::{Policy, Tier};
use secrecy::ExposeSecret;

use super::aws::InstanceTable;
use super::environment::{Environment, PAGER_TOKEN, PAGER_WEBHOOK};
use super::okta::OrganizationTable;
use super::parameters::Takes;
use super::problems::{At, Problems, Spot, cut, nearest};
use super::written::{Address, EntitlementTable, FamilyTable, ProviderTable, TierTable, Written};
use super::{
    Audit, Config, Directory, Http, Log, LogFormat, Origin, Pager, Provider, ProviderKind, Rota,
    Store, Webhook, Worker,
};
use crate::people::{ConfiguredPeople, KnownPrincipal};

/// A check in progress.
pub(super) struct Check<'c, 't> {
    pub(super) folder: &'c Path,
    pub(super) environment: &'c Environment,
    pub(super) problems: &'c mut Problems<'t>,
}

impl Check<'_, '_> {
    pub(super) fn config(&mut self, file: &Path, written: &Written) -> Option<Config> {
        let http = self.http(written);
        let worker = Worker {
            tick: Duration::from_millis(written.tick_ms.as_ref().map_or(250, |tick| tick.value)),
            tasks_per_provider: written
                .tasks_per_provider
                .as_ref()
                .and_then(|tasks| usize::try_from(tasks.value).ok())
                .unwrap_or(16),
        };
        let format = self.overlay("JIT_LOG_FORMAT", written.log_format.clone());
        let format = format.map_or(LogFormat::default(), |format| format.value);
        let providers = self.providers(&written.providers);
        let (store, csv) = self.files(written, &providers);
        let pager = self.pager(written);
        let tiers = self.tiers(&written.tiers);
        let entitlements = self.entitlements(written);
        let families = self.families(written);
        self.slots(&written.entitlements);
        self.owners(written);
        let names = self.names(written);
        let people = self.people(written, &names);
        let directory = self.directory(written);
        let rotas = self.rotas(written, &names);
        let pagerduty = self.pagerduty(written);
        let rules = self.rules(written, &names);
        let exemptions = self.exemptions(written);
        let slack = self.slack(written);
        let approval = self.approval(written, &names);
        let telegram = self.telegram(written);
        let agents = self.agents(written);
        // A tier that contradicts itself was told with its place.
        let policy = Policy::new(tiers, rules).ok()?;
        let policy = policy.with_exemptions(exemptions);
        let catalog: Catalog = entitlements.into_iter().collect();
        let catalog = catalog.with_families(families);
        let people: ConfiguredPeople = people.into_iter().collect();
        Some(Config {
            file: file.to_owned(),
            store,
            http,
            worker,
            providers: providers.into_iter().map(|read| read.value).collect(),
            digest: digest_of(&policy, &catalog, &people, &rotas, directory.as_ref()),
            catalog,
            policy,
            people,
            directory,
            rotas,
            pagerduty,
            pager,
            slack,
            approval,
            telegram,
            agents,
            audit: Audit { csv },
            log: Log { format },
            origin: Origin::File,
        })
    }

    /// The value of the environment, or else that of the file.
    fn overlay<T>(&mut self, name: &'static str, written: Option<At<T>>) -> Option<At<T>>
    where
        T: std::str::FromStr<Err: fmt::Display>,
    {
        self.environment.parsed(name, self.problems).or(written)
    }

    fn http(&mut self, written: &Written) -> Http {
        let address = |text: &str, at| At {
            value: text.parse().expect("the default is an address"),
            at,
        };
        let unwritten = Spot::Unwritten;
        let listen: At<Address> = self
            .overlay("JIT_LISTEN", written.listen.clone())
            .unwrap_or_else(|| address("127.0.0.1:8080", unwritten));
        let observe: At<Address> = self
            .overlay("JIT_OBSERVE", written.observe.clone())
            .unwrap_or_else(|| address("127.0.0.1:9090", unwritten));
        let trusted_proxy = self
            .overlay("JIT_TRUSTED_PROXY", written.trusted_proxy.clone())
            .is_some_and(|trusted| trusted.value);
        if !listen.value.0.ip().is_loopback() && !trusted_proxy {
            let what = format!(
                "{} can be reached from other machines, and tokens would cross the network \
                 without TLS",
                listen.value.0
            );
            let instead = "write listen = \"127.0.0.1:8080\"; or put a proxy that ends TLS before \
                           it, let nobody else reach it, and write trusted_proxy = true in [http]";
            self.problems.add(listen.at, what, instead);
        }
        if listen.value.0 == observe.value.0 && listen.value.0.port() != 0 {
            let what = format!("listen and observe are both {}", listen.value.0);
            let instead = "give metrics and health an address of their own, such as observe = \
                           \"127.0.0.1:9090\"";
            self.problems.add(observe.at.max(listen.at), what, instead);
        }
        Http {
            listen: listen.value.0,
            observe: observe.value.0,
            trusted_proxy,
        }
    }

    /// The store and the CSV file; none of our files may be another of them.
    fn files(&mut self, written: &Written, providers: &[At<Provider>]) -> (Store, Option<PathBuf>) {
        let sqlite = self.overlay("JIT_STORE", written.sqlite.clone());
        let table = self.table(&written.table, sqlite.as_ref());
        let sqlite = sqlite.unwrap_or_else(|| At {
            value: super::USUAL_STORE.to_owned(),
            at: Spot::Unwritten,
        });
        let csv = self.overlay("JIT_AUDIT_CSV", written.csv.clone());
        let place = |text: At<String>| At {
            value: canonical(&self.folder.join(text.value)),
            at: text.at,
        };
        let (store, csv) = (place(sqlite), csv.map(place));
        let mut taken: BTreeMap<&Path, Spot> = providers
            .iter()
            .filter_map(|provider| match &provider.value.kind {
                ProviderKind::GroupFile { file } => Some((file.as_path(), provider.at)),
                ProviderKind::IdentityCenter { .. }
                | ProviderKind::Iam { .. }
                | ProviderKind::Okta(_)
                | ProviderKind::Vault(_)
                | ProviderKind::Tokens { .. } => None,
            })
            .collect();
        let file = Some(&store).filter(|_| table.is_none());
        for file in [file, csv.as_ref()].into_iter().flatten() {
            if let Some(first) = taken.insert(&file.value, file.at) {
                let (first, name) = (self.problems.where_is(first), file.value.display());
                let what = format!("{name} is used for something else {first}");
                self.problems.add(file.at, what, "give each its own file");
            }
        }
        let file = store.value;
        let store = table.map_or(Store::Sqlite { file }, Store::DynamoDb);
        (store, csv.map(|csv| csv.value))
    }

    fn pager(&mut self, written: &Written) -> Pager {
        let (environment, folder) = (self.environment, self.folder);
        let url = environment.secret(PAGER_WEBHOOK, folder, self.problems);
        let token = environment.secret(PAGER_TOKEN, folder, self.problems);
        let url = url.and_then(|url| match url.expose_secret().parse() {
            Ok(value) => Some(value),
            Err(error) => {
                let at = Spot::Variable(PAGER_WEBHOOK);
                self.problems.add(at, "it is refused", format!("{error}"));
                None
            }
        });
        let url = url.or(written.webhook.as_ref().map(|url| url.value.clone()));
        if url.is_none() && token.is_some() {
            let what = "there is a token for the pager and no webhook to send it to";
            let instead = "write webhook = \"https://…\" in [pager], or unset it";
            self.problems
                .add(Spot::Variable(PAGER_TOKEN), what, instead);
        }
        Pager {
            webhook: url.map(|url| Webhook { url, token }),
            pagerduty: self.pagerduty_events(written),
        }
    }

    fn providers(&mut self, tables: &[ProviderTable]) -> Vec<At<Provider>> {
        self.once("provider", tables.iter().filter_map(|it| it.name.as_ref()));
        let mut files: BTreeMap<PathBuf, Spot> = BTreeMap::new();
        let mut instances: BTreeMap<String, Spot> = BTreeMap::new();
        let mut vault = None;
        let mut providers = Vec::new();
        for table in tables {
            let (Some(name), Some(_)) = (&table.name, &table.kind) else {
                continue;
            };
            if name.value.as_str() == "slack" {
                let what = "slack is who people are in the workspace, and no provider";
                self.problems.add(name.at, what, "give it another name");
            }
            if let Some(instance) = &table.instance {
                providers.extend(self.instance(&name.value, instance, &mut instances));
                continue;
            }
            if let Some(organization) = &table.organization {
                providers.extend(self.one_organization(&name.value, organization, &providers));
                continue;
            }
            if let Some(account) = &table.account {
                let account = self.account(&name.value, account, &providers);
                providers.extend(account);
                continue;
            }
            if let Some(minting) = &table.minting {
                providers.extend(self.minting(&name.value, minting, vault));
                vault = vault.or(minting.vault(name.at));
                continue;
            }
            let Some(file) = &table.file else {
                continue;
            };
            let at = file.at;
            let file = canonical(&self.folder.join(&file.value));
            if let Some(first) = files.get(&file) {
                let first = self.problems.where_is(*first);
                let what = format!(
                    "{} is the file of another provider, {first}: each of its groups would be \
                     granted under two names",
                    file.display()
                );
                let instead = "keep one of the two providers and use it in every entitlement";
                self.problems.add(at, what, instead);
            }
            files.entry(file.clone()).or_insert(at);
            let kind = ProviderKind::GroupFile { file };
            let name = name.value.clone();
            let value = Provider { name, kind };
            providers.push(At { value, at });
        }
        providers
    }

    /// One organization has one client, with one quota and one token.
    fn one_organization(
        &mut self,
        name: &ProviderName,
        table: &OrganizationTable,
        before: &[At<Provider>],
    ) -> Option<At<Provider>> {
        let at = table.at()?;
        let is_okta = |it: &&At<Provider>| matches!(it.value.kind, ProviderKind::Okta(_));
        if let Some(first) = before.iter().find(is_okta) {
            let first = self.problems.where_is(first.at);
            let what = format!("there is an Okta organization already, {first}");
            let instead = "keep one of the two; a second organization is for a second service";
            self.problems.add(at, what, instead);
            return None;
        }
        let kind = ProviderKind::Okta(self.organization(name, table)?);
        let name = name.clone();
        let value = Provider { name, kind };
        Some(At { value, at })
    }

    /// One instance under two names would be two ways to one assignment.
    fn instance(
        &mut self,
        name: &ProviderName,
        table: &InstanceTable,
        instances: &mut BTreeMap<String, Spot>,
    ) -> Option<At<Provider>> {
        let (arn, at) = table.instance()?;
        if let Some(first) = instances.get(arn) {
            let first = self.problems.where_is(*first);
            let what = format!(
                "{arn} is the instance of another provider, {first}: each assignment would be \
                 granted under two names"
            );
            let instead = "keep one of the two providers and use it in every entitlement";
            self.problems.add(at, what, instead);
        }
        instances.entry(arn.to_owned()).or_insert(at);
        let (settings, limits) = table.settings(name)?;
        let kind = ProviderKind::IdentityCenter {
            settings: Box::new(settings),
            limits,
        };
        let value = Provider {
            name: name.clone(),
            kind,
        };
        Some(At { value, at })
    }

    /// A family whose every member an earlier one has would never count.
    fn reachable<'f>(
        &mut self,
        pattern: Option<&At<Pattern>>,
        mut before: impl Iterator<Item = &'f Pattern>,
    ) {
        let Some(pattern) = pattern else { return };
        if let Some(first) = before.find(|first| first.covers(&pattern.value)) {
            let what = format!("all that fits {} fits {first} as well", pattern.value);
            let instead = "the first family that fits counts: write the narrower one before";
            self.problems.add(pattern.at, what, instead);
        }
    }

    fn families(&mut self, written: &Written) -> Vec<Family> {
        let providers = readable(written.providers.iter().map(|it| &it.name));
        let tiers = readable(written.tiers.iter().map(|it| &it.name));
        let mut families = Vec::new();
        for table in &written.families {
            if let Some(pattern) = &table.entitlements {
                let text = pattern.value.as_str();
                let provider = text.split_once('/').map(|(provider, _)| provider);
                match provider.and_then(|provider| provider.parse::<ProviderName>().ok()) {
                    Some(value) => {
                        let at = pattern.at;
                        self.known("provider", &At { value, at }, providers.as_deref());
                    }
                    None => self.problems.add(
                        pattern.at,
                        format!("{text:?} may be of any provider"),
                        "begin with the provider's name and a slash, as in \"aws/prod-*\"",
                    ),
                }
            }
            if let Some(tier) = &table.tier {
                self.known("tier", tier, tiers.as_deref());
            }
            let before = families.iter().map(|family: &Family| &family.pattern);
            self.reachable(table.entitlements.as_ref(), before);
            families.extend(family(table));
        }
        families
    }

    fn tiers(&mut self, tables: &[TierTable]) -> Vec<Tier> {
        self.once("tier", tables.iter().filter_map(|it| it.name.as_ref()));
        let tiers = tables.iter().filter_map(|table| table.tier.as_ref());
        for tier in tiers.clone() {
            if let Err(bad) = Policy::new(vec![tier.value.clone()], Vec::new()) {
                let instead = "change this [[tier]] so that it does not contradict itself";
                self.problems.add(tier.at, bad.to_string(), instead);
            }
        }
        tiers.map(|tier| tier.value.clone()).collect()
    }

    fn entitlements(&mut self, written: &Written) -> Vec<Entitlement> {
        let ids = written.entitlements.iter().filter_map(|it| it.id.as_ref());
        self.once("entitlement", ids);
        let providers = readable(written.providers.iter().map(|it| &it.name));
        let tiers = readable(written.tiers.iter().map(|it| &it.name));
        let mut entitlements = Vec::new();
        for table in &written.entitlements {
            if let Some(id) = &table.id {
                let provider = At {
                    value: id.value.provider(),
                    at: id.at,
                };
                self.known("provider", &provider, providers.as_deref());
            }
            if let Some(tier) = &table.tier {
                self.known("tier", tier, tiers.as_deref());
            }
            if let Some(fallback) = &table.fallback {
                self.falls_back(table, fallback, &written.entitlements);
            }
            let takes = self.takes(&table.parameters);
            let kind = table.id.as_ref().and_then(|id| {
                let provider = id.value.provider();
                let named = |it: &&ProviderTable| {
                    it.name.as_ref().is_some_and(|name| name.value == provider)
                };
                let of = written.providers.iter().find(named)?;
                of.kind.as_ref().map(|kind| kind.value)
            });
            let id = table.id.as_ref();
            self.fits_its_provider(id, &table.parameters, &takes, kind);
            entitlements.extend(entitlement(table, takes));
        }
        entitlements
    }

    /// What is given instead must be written down, must be given under the same terms, and must not
    /// lead on.
    fn falls_back(
        &mut self,
        table: &EntitlementTable,
        fallback: &At<EntitlementId>,
        all: &[EntitlementTable],
    ) {
        let Some(ids) = readable(all.iter().map(|it| &it.id)) else {
            return;
        };
        self.known("entitlement", fallback, Some(&ids));
        let named =
            |it: &&EntitlementTable| it.id.as_ref().is_some_and(|id| id.value == fallback.value);
        let Some(instead) = all.iter().find(named) else {
            return;
        };
        let tier = |it: &EntitlementTable| it.tier.as_ref().map(|tier| tier.value.clone());
        if let (Some(own), Some(other)) = (tier(table), tier(instead))
            && own != other
        {
            let what = format!("{} is of tier {other}, and this of {own}", fallback.value);
            let instead =
                "what is given instead is given under the same terms: let both be of one tier";
            self.problems.add(fallback.at, what, instead);
        }
        if instead.fallback.is_some() {
            let what = format!("{} falls back itself", fallback.value);
            let instead = "name an entitlement that has no fallback";
            self.problems.add(fallback.at, what, instead);
        }
    }

    /// Two entitlements of one provider may not lead to one resource.
    fn slots(&mut self, tables: &[EntitlementTable]) {
        let mut slots: BTreeMap<_, &At<EntitlementId>> = BTreeMap::new();
        for table in tables {
            let Some(id) = &table.id else { continue };
            // One role may be given with several policies.
            let template = table.parameters.template.as_ref();
            let template = template.map(|template| &template.value);
            let slot = (id.value.provider(), resource(table, &id.value), template);
            let Some(first) = slots.get(&slot).filter(|first| first.value != id.value) else {
                slots.entry(slot).or_insert(id);
                continue;
            };
            let what = format!(
                "{} {} and {} {} are both {:?} of {}: one would end the other's access",
                first.value,
                self.problems.where_is(first.at),
                id.value,
                self.problems.where_is(id.at),
                slot.1,
                slot.0,
            );
            let instead = "keep one of the two entitlements; rules can give it to more people";
            self.problems.add(id.at, what, instead);
        }
    }

    /// Refuses a name that is given to two things.
    pub(super) fn once<'n, T>(&mut self, what: &str, names: impl Iterator<Item = &'n At<T>>)
    where
        T: Ord + fmt::Display + 'n,
    {
        let mut seen: BTreeMap<&T, Spot> = BTreeMap::new();
        for name in names {
            let Some(first) = seen.get(&name.value) else {
                seen.insert(&name.value, name.at);
                continue;
            };
            let first = self.problems.where_is(*first);
            let what = format!("{what} {} is there already, {first}", name.value);
            self.problems.add(
                name.at,
                what,
                "give it another name or remove one of the two",
            );
        }
    }

    /// Refuses a name that leads nowhere. Where not every name could be read it may lead to one of
    /// those, so nothing is said.
    fn known<T>(&mut self, what: &str, name: &At<T>, known: Option<&[&T]>)
    where
        T: PartialEq + fmt::Display,
    {
        let unknown = known.filter(|known| !known.contains(&&name.value));
        if let Some(known) = unknown {
            self.unknown(what, &name.value.to_string(), name.at, known);
        }
    }

    pub(super) fn unknown<T: fmt::Display>(
        &mut self,
        what: &str,
        name: &str,
        at: Spot,
        known: &[&T],
    ) {
        let known: Vec<String> = known.iter().map(ToString::to_string).collect();
        let known: Vec<&str> = known.iter().map(String::as_str).collect();
        let add = format!("or add a [[{what}]] of this name");
        let instead = match nearest(name, &known) {
            Some(meant) => format!("write {meant}, if that is meant, {add}"),
            None if known.is_empty() => format!("there is none at all; add a [[{what}]]"),
            None => {
                let some: Vec<&str> = known.into_iter().take(10).collect();
                format!(
                    "write one that there is, such as {}, {add}",
                    some.join(", ")
                )
            }
        };
        let what = format!("there is no {what} {}", cut(name));
        self.problems.add(at, what, instead);
    }
}

/// Every one of these names, if all could be read.
pub(super) fn readable<'n, T: 'n>(
    names: impl Iterator<Item = &'n Option<At<T>>>,
) -> Option<Vec<&'n T>> {
    names
        .map(|name| name.as_ref().map(|name| &name.value))
        .collect()
}

/// The name of the group or the like: what stands behind the provider's name, if nothing is said.
fn resource(table: &EntitlementTable, id: &EntitlementId) -> String {
    let name = || match id.as_str().split_once('/') {
        Some((_, name)) => name.to_owned(),
        None => id.to_string(),
    };
    table
        .resource
        .as_ref()
        .map_or_else(name, |resource| resource.value.clone())
}

fn family(table: &FamilyTable) -> Option<Family> {
    Some(Family {
        pattern: table.entitlements.as_ref()?.value.clone(),
        title: table.title.as_ref()?.value.clone(),
        how_to_use: table
            .how_to_use
            .as_ref()
            .map_or_else(String::new, |text| text.value.clone()),
        tier: table.tier.as_ref()?.value.clone(),
    })
}

fn entitlement(table: &EntitlementTable, takes: Takes) -> Option<Entitlement> {
    let id = table.id.as_ref()?.value.clone();
    Some(Entitlement {
        resource: resource(table, &id),
        id,
        title: table.title.as_ref()?.value.clone(),
        how_to_use: table
            .how_to_use
            .as_ref()
            .map_or_else(String::new, |text| text.value.clone()),
        tier: table.tier.as_ref()?.value.clone(),
        parameters: takes.rule.unwrap_or(ParameterRule::Refused),
        display: takes.display,
        template: takes.template,
        allows: table
            .allows
            .as_ref()
            .map_or_else(String::new, |text| text.value.clone()),
        fallback: table.fallback.as_ref().map(|it| it.value.clone()),
    })
}

fn digest_of(
    policy: &Policy,
    catalog: &Catalog,
    people: &ConfiguredPeople,
    rotas: &[Rota],
    directory: Option<&Directory>,
) -> Digest {
    let catalog: (Vec<&Entitlement>, &[Family]) = (catalog.iter().collect(), catalog.families());
    let people: Vec<&KnownPrincipal> = people.iter().collect();
    // Who people are and who decides for them, by what of the directory.
    let directory = directory.map(|directory| {
        let it = &directory.settings;
        let attributes = [
            &it.manager_attribute,
            &it.slack_attribute,
            &it.person_attribute,
        ];
        (&it.groups, attributes)
    });
    sha256_json(&(policy, catalog, people, rotas, directory))
}

/// The one name of a file, whether it exists yet or not: symbolic links are resolved as far as they
/// exist.
fn canonical(file: &Path) -> PathBuf {
    let resolved = std::fs::canonicalize(file).ok();
    let in_folder = || {
        let folder = std::fs::canonicalize(file.parent()?).ok()?;
        Some(folder.join(file.file_name()?))
    };
    resolved
        .or_else(in_folder)
        .unwrap_or_else(|| file.to_owned())
}
