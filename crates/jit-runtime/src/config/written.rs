//! The configuration as it was written: which tables and keys there are, and the values that can be
//! judged alone. What they mean to each other is judged in `check`.

use std::net::SocketAddr;
use std::str::FromStr;
use std::time::Duration;

use jit_core::Ttl;
use jit_core::catalog::{EntitlementId, Pattern, ProviderName};
use jit_core::policy::{APPROVALS_LIMIT, Effect, Hours, Quota, Right, Tier, TierName, Who};
use jit_core::principal::{AgentCaps, GroupName, PrincipalId, Subject};
use jit_slack::UserId;
use jit_telegram::UserId as TelegramId;
use serde::Deserialize;

use super::approval::ApprovalTable;
use super::aws::{InstanceTable, StoreTable};
use super::credentials::{Makes, MintingTable};
use super::document::Table;
use super::iam::AccountTable;
use super::mcp::McpTable;
use super::okta::{DirectoryTable, OrganizationTable};
use super::parameters::ParametersTable;
use super::problems::At;
use super::rotas::{PagerDutyTable, RotaTable};
use super::slack::SlackTable;
use super::telegram::TelegramTable;
use super::{IamAccess, LogFormat};
use crate::pager::WebhookUrl;

/// Longest path, in characters.
const PATH_LIMIT: usize = 4_096;
/// Longest `title`, `resource` and rule name, in characters.
const TITLE_LIMIT: usize = 200;
/// Longest `how_to_use`, in characters.
const HOW_TO_USE_LIMIT: usize = 1_000;
/// Longest `allows`, in characters.
const ALLOWS_LIMIT: usize = 500;
/// The most requests that an agent may have at once, and open in an hour.
const CAPS_LIMIT: u64 = 1_000;

/// An address to listen on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Address(pub(super) SocketAddr);

impl FromStr for Address {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse()
            .map(Self)
            .map_err(|_| "an address is an IP address and a port, such as 127.0.0.1:8080")
    }
}

/// A longest time that may also be zero, in seconds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Residual(u64);

impl Residual {
    pub(super) fn duration(self) -> Duration {
        Duration::from_secs(self.0)
    }
}

impl FromStr for Residual {
    type Err = jit_core::time::BadTtl;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "0s" => Ok(Self(0)),
            _ => text.parse::<Ttl>().map(|ttl| Self(ttl.as_secs().into())),
        }
    }
}

/// What a `[[provider]]` says it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum KindWord {
    Groupfile,
    IdentityCenter,
    IamPolicy,
    IamSession,
    Okta,
    Vault,
    Grafana,
    Influxdb,
    HomeAssistant,
}

/// The whole file. A value that could not be read is absent and was complained about.
#[derive(Default)]
pub(super) struct Written {
    pub(super) sqlite: Option<At<String>>,
    pub(super) table: StoreTable,
    pub(super) listen: Option<At<Address>>,
    pub(super) observe: Option<At<Address>>,
    pub(super) trusted_proxy: Option<At<bool>>,
    pub(super) tick_ms: Option<At<u64>>,
    pub(super) tasks_per_provider: Option<At<u64>>,
    pub(super) webhook: Option<At<WebhookUrl>>,
    pub(super) csv: Option<At<String>>,
    pub(super) log_format: Option<At<LogFormat>>,
    pub(super) providers: Vec<ProviderTable>,
    pub(super) entitlements: Vec<EntitlementTable>,
    pub(super) families: Vec<FamilyTable>,
    pub(super) tiers: Vec<TierTable>,
    pub(super) rules: Vec<RuleTable>,
    pub(super) exemptions: Vec<ExemptionTable>,
    pub(super) directory: Option<DirectoryTable>,
    pub(super) rotas: Vec<RotaTable>,
    pub(super) pagerduty: PagerDutyTable,
    pub(super) people: Vec<PersonTable>,
    pub(super) agents: Vec<AgentTable>,
    pub(super) services: Vec<ServiceTable>,
    pub(super) slack: Option<SlackTable>,
    pub(super) approval: Option<ApprovalTable>,
    pub(super) telegram: Option<TelegramTable>,
    pub(super) mcp: Option<McpTable>,
}

pub(super) struct ProviderTable {
    pub(super) name: Option<At<ProviderName>>,
    pub(super) kind: Option<At<KindWord>>,
    pub(super) file: Option<At<String>>,
    pub(super) instance: Option<InstanceTable>,
    pub(super) organization: Option<OrganizationTable>,
    pub(super) minting: Option<MintingTable>,
    pub(super) account: Option<AccountTable>,
}

pub(super) struct FamilyTable {
    pub(super) entitlements: Option<At<Pattern>>,
    pub(super) title: Option<At<String>>,
    pub(super) how_to_use: Option<At<String>>,
    pub(super) tier: Option<At<TierName>>,
}

pub(super) struct EntitlementTable {
    pub(super) id: Option<At<EntitlementId>>,
    pub(super) resource: Option<At<String>>,
    pub(super) title: Option<At<String>>,
    pub(super) how_to_use: Option<At<String>>,
    pub(super) tier: Option<At<TierName>>,
    pub(super) fallback: Option<At<EntitlementId>>,
    pub(super) allows: Option<At<String>>,
    pub(super) parameters: ParametersTable,
}

pub(super) struct TierTable {
    pub(super) name: Option<At<TierName>>,
    /// The tier, if every key could be read.
    pub(super) tier: Option<At<Tier>>,
}

pub(super) struct RuleTable {
    pub(super) name: Option<At<String>>,
    pub(super) effect: Effect,
    pub(super) rights: Vec<At<Right>>,
    pub(super) entitlements: Vec<At<Pattern>>,
    pub(super) principals: Vec<At<Who>>,
    pub(super) hours: Option<At<Hours>>,
    pub(super) after: Option<At<Ttl>>,
}

pub(super) struct ExemptionTable {
    pub(super) subjects: Vec<At<Subject>>,
    pub(super) entitlements: Vec<At<Pattern>>,
    pub(super) reason: Option<At<String>>,
}

pub(super) struct PersonTable {
    pub(super) id: Option<At<PrincipalId>>,
    pub(super) aliases: Vec<At<PrincipalId>>,
    pub(super) groups: Vec<At<GroupName>>,
    pub(super) active: bool,
    pub(super) manager: Option<At<PrincipalId>>,
    pub(super) subjects: Vec<(At<String>, At<Subject>)>,
    pub(super) slack: Option<At<UserId>>,
    /// The name by which Slack's door asks for them.
    pub(super) slack_alias: Option<At<PrincipalId>>,
    /// The name by which Telegram's door asks for them.
    pub(super) telegram_alias: Option<At<PrincipalId>>,
}

pub(super) struct ServiceTable {
    pub(super) id: Option<At<PrincipalId>>,
    pub(super) groups: Vec<At<GroupName>>,
    pub(super) active: bool,
}

pub(super) struct AgentTable {
    pub(super) id: Option<At<PrincipalId>>,
    pub(super) acts_for: Option<At<PrincipalId>>,
    pub(super) caps: AgentCaps,
    pub(super) active: bool,
}

impl Written {
    pub(super) fn read(file: &mut Table<'_, '_>) -> Self {
        let mut written = Self::default();
        file.within("store", "[store]", |store| {
            written.sqlite = store.line("sqlite", PATH_LIMIT);
            written.table = StoreTable::read(store);
        });
        file.within("http", "[http]", |http| {
            written.listen = http.parsed("listen");
            written.observe = http.parsed("observe");
            written.trusted_proxy = http.flag("trusted_proxy");
        });
        file.within("worker", "[worker]", |worker| {
            written.tick_ms = worker.whole("tick_ms", 10..=2_000);
            written.tasks_per_provider = worker.whole("tasks_per_provider", 4..=256);
        });
        file.within("pager", "[pager]", |pager| {
            written.webhook = pager.parsed_unseen("webhook");
        });
        file.within("audit", "[audit]", |audit| {
            written.csv = audit.line("csv", PATH_LIMIT);
        });
        file.within("log", "[log]", |log| {
            written.log_format = log.choice("format")
        });
        written.providers = file.each("provider", "[[provider]]", ProviderTable::read);
        written.entitlements = file.each("entitlement", "[[entitlement]]", EntitlementTable::read);
        written.families = file.each("family", "[[family]]", FamilyTable::read);
        written.tiers = file.each("tier", "[[tier]]", TierTable::read);
        written.rules = file.each("rule", "[[rule]]", RuleTable::read);
        written.exemptions = file.each("exemption", "[[exemption]]", ExemptionTable::read);
        written.directory = file.within("directory", "[directory]", DirectoryTable::read);
        written.rotas = file.each("rota", "[[rota]]", RotaTable::read);
        let pagerduty = file.within("pagerduty", "[pagerduty]", PagerDutyTable::read);
        written.pagerduty = pagerduty.unwrap_or_default();
        written.people = file.each("person", "[[person]]", PersonTable::read);
        written.agents = file.each("agent", "[[agent]]", AgentTable::read);
        written.services = file.each("service", "[[service]]", ServiceTable::read);
        written.slack = file.within("slack", "[slack]", SlackTable::read);
        let approval = ("approval_service", "[approval_service]");
        written.approval = file.within(approval.0, approval.1, ApprovalTable::read);
        written.mcp = file.within("mcp", "[mcp]", McpTable::read);
        written.telegram = file.within("telegram", "[telegram]", TelegramTable::read);
        written
    }
}

impl Written {
    /// Which ids fit a family, as far as that could be read.
    pub(super) fn patterns(&self) -> Vec<&Pattern> {
        let patterns = self
            .families
            .iter()
            .map(|family| family.entitlements.as_ref());
        patterns.flatten().map(|pattern| &pattern.value).collect()
    }
}

impl ProviderTable {
    fn read(table: &mut Table<'_, '_>) -> Self {
        table.require("name", r#"name = "groupfile""#);
        table.require("kind", r#"kind = "groupfile""#);
        let name = table.parsed("name");
        let kind = table.choice("kind");
        let (mut file, mut instance, mut organization) = (None, None, None);
        let minting = kind.as_ref().and_then(|kind| Makes::of(kind.value));
        let minting = minting.map(|kind| MintingTable::read(kind, table));
        let account = kind.as_ref().and_then(|kind| IamAccess::of(kind.value));
        let account = account.map(|access| AccountTable::read(access, table));
        match kind.as_ref().map(|kind: &At<KindWord>| kind.value) {
            Some(KindWord::IdentityCenter) => instance = Some(InstanceTable::read(table)),
            Some(KindWord::Okta) => organization = Some(OrganizationTable::read(table)),
            Some(
                KindWord::Vault
                | KindWord::Grafana
                | KindWord::Influxdb
                | KindWord::HomeAssistant
                | KindWord::IamPolicy
                | KindWord::IamSession,
            ) => {}
            // Whoever cannot say what it is most likely means this.
            Some(KindWord::Groupfile) | None => {
                table.require("file", r#"file = "groups""#);
                file = table.line("file", PATH_LIMIT);
            }
        }
        Self {
            name,
            kind,
            file,
            instance,
            organization,
            minting,
            account,
        }
    }
}

impl FamilyTable {
    fn read(table: &mut Table<'_, '_>) -> Self {
        table.require("entitlements", r#"entitlements = "aws/prod-*/ReadOnly*""#);
        table.require("title", r#"title = "Read in production""#);
        table.require("tier", r#"tier = "standard""#);
        Self {
            entitlements: table.parsed("entitlements"),
            title: table.line("title", TITLE_LIMIT),
            how_to_use: table.line("how_to_use", HOW_TO_USE_LIMIT),
            tier: table.parsed("tier"),
        }
    }
}

impl EntitlementTable {
    fn read(table: &mut Table<'_, '_>) -> Self {
        table.require("id", r#"id = "groupfile/admins""#);
        table.require("title", r#"title = "Administrators of the wiki""#);
        table.require("tier", r#"tier = "standard""#);
        Self {
            id: table.parsed("id"),
            resource: table.line("resource", TITLE_LIMIT),
            title: table.line("title", TITLE_LIMIT),
            how_to_use: table.line("how_to_use", HOW_TO_USE_LIMIT),
            tier: table.parsed("tier"),
            fallback: table.parsed("fallback"),
            allows: table.line("allows", ALLOWS_LIMIT),
            parameters: ParametersTable::read(table),
        }
    }
}

impl TierTable {
    fn read(table: &mut Table<'_, '_>) -> Self {
        table.require("name", r#"name = "standard""#);
        table.require("ttl_default", r#"ttl_default = "1h""#);
        table.require("ttl_max", r#"ttl_max = "8h""#);
        table.require("approvals", "approvals = 1");
        let at = table.at();
        let name = table.parsed::<TierName>("name");
        let ttl_default = table.parsed("ttl_default");
        let ttl_max = table.parsed("ttl_max");
        let approvals = table.whole("approvals", 0..=APPROVALS_LIMIT.into());
        let decision_window = table.parsed_or("decision_window", "8h");
        let residual_max = table.parsed_or::<Residual>("residual_max", "0s");
        let automatic = table.within(
            "automatic",
            r#"automatic = { ceiling = 10, per = "1h" }"#,
            Self::read_quota,
        );
        let tier = || {
            Some(Tier {
                name: name.clone()?.value,
                ttl_default: ttl_default?.value,
                ttl_max: ttl_max?.value,
                approvals: u8::try_from(approvals?.value).ok()?,
                decision_window: decision_window?,
                automatic: match automatic {
                    Some(quota) => Some(quota?),
                    None => None,
                },
                residual_max_secs: residual_max?.0,
            })
        };
        let tier = tier().map(|value| At { value, at });
        Self { name, tier }
    }

    fn read_quota(table: &mut Table<'_, '_>) -> Option<Quota> {
        table.require("ceiling", "ceiling = 10");
        table.require("per", r#"per = "1h""#);
        let ceiling = table.whole("ceiling", 0..=1_000_000);
        let per = table.parsed("per");
        Some(Quota {
            ceiling: u32::try_from(ceiling?.value).ok()?,
            per: per?.value,
        })
    }
}

impl RuleTable {
    fn read(table: &mut Table<'_, '_>) -> Self {
        table.require("name", r#"name = "sre may ask""#);
        table.require("rights", r#"rights = ["request"]"#);
        table.require("entitlements", r#"entitlements = ["groupfile/*"]"#);
        table.require("principals", r#"principals = ["group:sre"]"#);
        Self {
            name: table.line("name", TITLE_LIMIT),
            effect: table
                .choice("effect")
                .map_or(Effect::Allow, |effect| effect.value),
            rights: table.choice_list("rights"),
            entitlements: table.parsed_list("entitlements"),
            principals: table.parsed_list("principals"),
            hours: table.parsed("hours"),
            after: table.parsed("after"),
        }
    }
}

impl ExemptionTable {
    fn read(table: &mut Table<'_, '_>) -> Self {
        table.require("subjects", r#"subjects = ["root-oncall"]"#);
        table.require("entitlements", r#"entitlements = ["groupfile/admins"]"#);
        table.require("reason", r#"reason = "for emergencies""#);
        Self {
            subjects: table.parsed_list("subjects"),
            entitlements: table.parsed_list("entitlements"),
            reason: table.line("reason", TITLE_LIMIT),
        }
    }
}

impl PersonTable {
    fn read(table: &mut Table<'_, '_>) -> Self {
        table.require("id", r#"id = "ana@example.com""#);
        let slack = table.parsed::<UserId>("slack");
        let slack_alias = slack.as_ref().and_then(|user| {
            let value = jit_slack::alias(&user.value)?;
            Some(At { value, at: user.at })
        });
        let telegram = table.number::<TelegramId>("telegram");
        let telegram_alias = telegram.and_then(|user| {
            let value = jit_telegram::alias(user.value)?;
            Some(At { value, at: user.at })
        });
        Self {
            id: table.parsed("id"),
            aliases: table.parsed_list("aliases"),
            groups: table.parsed_list("groups"),
            active: table.flag("active").is_none_or(|active| active.value),
            manager: table.parsed("manager"),
            subjects: table.parsed_pairs("subjects"),
            slack,
            slack_alias,
            telegram_alias,
        }
    }
}

impl ServiceTable {
    fn read(table: &mut Table<'_, '_>) -> Self {
        table.require("id", r#"id = "prometheus""#);
        Self {
            id: table.parsed("id"),
            groups: table.parsed_list("groups"),
            active: table.flag("active").is_none_or(|active| active.value),
        }
    }
}

impl AgentTable {
    fn read(table: &mut Table<'_, '_>) -> Self {
        table.require("id", r#"id = "agent:deploy-bot""#);
        table.require("acts_for", r#"acts_for = "ana@example.com""#);
        Self {
            id: table.parsed("id"),
            acts_for: table.parsed("acts_for"),
            caps: Self::read_caps(table),
            active: table.flag("active").is_none_or(|active| active.value),
        }
    }

    fn read_caps(table: &mut Table<'_, '_>) -> AgentCaps {
        let usual = AgentCaps::default();
        let mut count = |key, otherwise| {
            let written = table.whole(key, 1..=CAPS_LIMIT);
            let read = written.and_then(|it| u32::try_from(it.value).ok());
            read.unwrap_or(otherwise)
        };
        let open = count("open_max", usual.open);
        let per_hour = count("per_hour", usual.per_hour);
        let ttl_max = table.parsed("ttl_max").map(|it| it.value);
        AgentCaps {
            open,
            per_hour,
            ttl_max: ttl_max.unwrap_or(usual.ttl_max),
        }
    }
}
