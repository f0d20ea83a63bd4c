//! The account as both adapters ask it: whose credentials these are, and what roles and users are
//! called there. Policies and sessions are made elsewhere.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use aws_config::{Region, SdkConfig};
use aws_smithy_runtime_api::client::interceptors::SharedInterceptor;
use jit_aws::{Aws, Budget, Errand, Failed, Fence, Passage, Reach};
use jit_core::ports::{Clock, Effect, Purpose};
use percent_encoding::percent_decode_str;

use crate::trouble::Trouble;
use crate::{CALL_LIMIT, Settings};

/// The clients of IAM and STS.
#[derive(Debug)]
pub(crate) struct Clients {
    pub(crate) iam: aws_sdk_iam::Client,
    pub(crate) sts: aws_sdk_sts::Client,
    /// Whether these credentials are known to be of the configured account.
    is_ours: AtomicBool,
}

/// One account.
#[derive(Debug)]
pub(crate) struct Account {
    pub(crate) aws: Aws<Clients>,
    pub(crate) settings: Settings,
}

/// A role or user that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Known {
    /// Its name as IAM has it: names that differ in letter case only are one.
    pub(crate) name: String,
    pub(crate) id: String,
    pub(crate) arn: String,
    pub(crate) path: String,
    /// Who may assume it and how, where it is a role.
    pub(crate) trust: Option<String>,
}

impl Account {
    /// `watcher` looks at requests on their way; only tests have one.
    pub(crate) fn new(
        settings: Settings,
        budget: Arc<Budget>,
        clock: Arc<dyn Clock>,
        config: SdkConfig,
        watcher: Option<SharedInterceptor>,
    ) -> Result<Self, Trouble> {
        settings.check()?;
        let reach = Reach {
            provider: settings.provider.clone(),
            place: settings.place(),
            budget,
            clock,
        };
        let (_, iam_region) = settings.partition();
        let clients = move |config: &SdkConfig| {
            let mut iam = aws_sdk_iam::config::Builder::from(config);
            iam.set_region(Some(Region::new(iam_region)));
            let mut sts = aws_sdk_sts::config::Builder::from(config);
            if let Some(watcher) = &watcher {
                iam.push_interceptor(watcher.clone());
                sts.push_interceptor(watcher.clone());
            }
            Clients {
                iam: aws_sdk_iam::Client::from_conf(iam.build()),
                sts: aws_sdk_sts::Client::from_conf(sts.build()),
                is_ours: AtomicBool::new(false),
            }
        };
        Ok(Self {
            aws: Aws::new(reach, config, clients),
            settings,
        })
    }

    pub(crate) fn clients(&self) -> Arc<Clients> {
        self.aws.clients()
    }

    pub(crate) fn errand(&self, purpose: Purpose) -> Errand {
        self.aws.errand(purpose)
    }

    /// The clients, where their credentials are of this account. A role of the same name is in many
    /// accounts, so without this an absence there would be taken for an absence here.
    pub(crate) async fn ours(&self, errand: Errand) -> Result<Arc<Clients>, Trouble> {
        let clients = self.clients();
        if clients.is_ours.load(Ordering::Relaxed) {
            return Ok(clients);
        }
        let call = clients.sts.get_caller_identity().send();
        let who = self.aws.ask(errand, "GetCallerIdentity", call).await;
        let who = who.map_err(|failed| match failed {
            Failed::Aws(answer) => Trouble::Unknown(answer),
            other => other.into(),
        })?;
        let account = who.account.ok_or(Trouble::Unreadable)?;
        if account != self.settings.account_id {
            return Err(Trouble::OtherAccount(account));
        }
        clients.is_ours.store(true, Ordering::Relaxed);
        Ok(clients)
    }

    /// A role of this account.
    pub(crate) async fn role(&self, errand: Errand, name: &str) -> Result<Known, Trouble> {
        let clients = self.ours(errand).await?;
        let call = clients.iam.get_role().role_name(name).send();
        let found = self.aws.ask(errand, "GetRole", call).await;
        let found = found.map_err(|failed| not_there(failed.into(), "role", name))?;
        let role = found.role.ok_or(Trouble::Unreadable)?;
        Ok(Known {
            name: role.role_name,
            id: role.role_id,
            arn: role.arn,
            path: role.path,
            trust: role.assume_role_policy_document.as_deref().map(decoded),
        })
    }

    /// A user of this account.
    pub(crate) async fn user(&self, errand: Errand, name: &str) -> Result<Known, Trouble> {
        let clients = self.ours(errand).await?;
        let call = clients.iam.get_user().user_name(name).send();
        let found = self.aws.ask(errand, "GetUser", call).await;
        let found = found.map_err(|failed| not_there(failed.into(), "user", name))?;
        let user = found.user.ok_or(Trouble::Unreadable)?;
        Ok(Known {
            name: user.user_name,
            id: user.user_id,
            arn: user.arn,
            path: user.path,
            trust: None,
        })
    }
}

/// Documents come "URL-encoded compliant with RFC 3986" ("GetRolePolicy", IAM API Reference).
pub(crate) fn decoded(document: &str) -> String {
    percent_decode_str(document)
        .decode_utf8_lossy()
        .into_owned()
}

fn not_there(trouble: Trouble, what: &str, name: &str) -> Trouble {
    match trouble.is_not_found() {
        true => Trouble::NoSuchPrincipal(format!("{what} {name}")),
        false => trouble,
    }
}

/// Cuts off what takes too long. Only for what changes nothing.
pub(crate) async fn in_time<T>(
    work: impl Future<Output = Result<T, Trouble>>,
) -> Result<T, Trouble> {
    let done = tokio::time::timeout(CALL_LIMIT, work).await;
    done.unwrap_or(Err(Trouble::NoAnswer(Effect::None)))
}

/// Cuts off what takes too long and changes something: let through, it may have happened.
pub(crate) async fn fenced<T>(
    fence: &Fence,
    work: impl Future<Output = Result<T, Trouble>>,
) -> Result<T, Trouble> {
    let done = tokio::time::timeout(CALL_LIMIT, work).await;
    done.unwrap_or_else(|_| {
        Err(Trouble::NoAnswer(match fence.passage() {
            Passage::Through => Effect::Unknown,
            Passage::NotReached | Passage::TooLate => Effect::None,
        }))
    })
}
