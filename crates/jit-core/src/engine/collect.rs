//! Collecting: the asker takes the credential of a minted grant, once.

use super::people::Collected;
use super::tend::leased_epoch;
use super::{Along, Engine, EngineError, Recent, TRIES};
use crate::lifecycle::{By, Command, MintedAs, Refusal, Secret, Transition, decide, ends_at};
use crate::policy::Right;
use crate::ports::{CommitError, ErrorKind, GrantCall, PortError};
use crate::principal::Principal;
use crate::request::{AccessRequest, RequestId, Status};
use crate::time::Timestamp;

impl Engine {
    /// Makes the credential of an approved minted grant and gives it to its asker, once.
    pub async fn collect(&self, via: &Principal, id: RequestId) -> Result<Collected, EngineError> {
        self.check_store()?;
        let by = self.caller(via).await?;
        let (leased, epoch) = self.lease_mint(&by, id).await?;
        match self.mint(&leased, epoch).await {
            // What did nothing may be made elsewhere, where the request says so.
            Err(EngineError::Failed(error)) if self.falls_back(&leased).await? => {
                tracing::warn!(
                    request.id = %id,
                    error = %error.chain(),
                    "the credential could not be made, and is made where the request falls back to"
                );
                let (leased, epoch) = self.lease_mint(&by, id).await?;
                self.mint(&leased, epoch).await
            }
            minted => minted,
        }
    }

    /// Sends the mint call of a lease and hands its credential out, if that is saved in time.
    async fn mint(&self, leased: &AccessRequest, epoch: u32) -> Result<Collected, EngineError> {
        let id = leased.id;
        let Some(grant) = leased.grant() else {
            return Err(Refusal::NotCollectable {
                status: leased.status(),
            }
            .into());
        };
        let place = leased.place();
        let entry = self.parts.catalog.get(place.entitlement);
        let call = GrantCall {
            request: leased.id,
            target: place.target,
            parameters: place.parameters,
            template: entry.as_ref().and_then(|it| it.template.as_deref()),
            expires_at: grant.expires_at,
            send_before: self.by_clock(grant.send_before.unwrap_or(grant.approved_at)),
        };
        let minted = match self.provisioner_of(leased)?.mint(call).await {
            Ok(minted) => minted,
            Err(error) => {
                let answer = Err(self.failure(&error));
                let failed = Command::MintAnswered {
                    epoch,
                    answer,
                    secret: Secret::Dropped,
                };
                self.save(leased.clone(), &failed).await?;
                return Err(error.into());
            }
        };
        let answer = Ok(MintedAs {
            handle: minted.handle.clone(),
            ends_at: minted.ends_at,
        });
        let given = Command::MintAnswered {
            epoch,
            answer: answer.clone(),
            secret: Secret::InHand,
        };
        let current = self.load(id).await?.ok_or(Refusal::UnknownRequest)?;
        match self.apply(&current, &given).await {
            Ok(Some(after)) if after.status() == Status::Active => Ok(Collected {
                secret: minted.secret,
                handle: minted.handle,
                notes: minted.notes,
                ends_at: minted.ends_at,
                request: after,
            }),
            Ok(Some(after)) => Err(Self::not_given(&after, &current, minted.ends_at).into()),
            // Another change came first, or nobody knows whether it was saved: the secret is
            // dropped, and its name is kept for the revoke.
            unsaved @ (Ok(None) | Err(_)) => {
                drop(minted.secret);
                let dropped = Command::MintAnswered {
                    epoch,
                    answer,
                    secret: Secret::Dropped,
                };
                self.save(current, &dropped).await?;
                unsaved?;
                Err(Refusal::AlreadyCollected.into())
            }
        }
    }

    /// Whether the next call goes elsewhere than this one went, by what is saved.
    async fn falls_back(&self, leased: &AccessRequest) -> Result<bool, PortError> {
        let saved = self.load(leased.id).await?;
        let place = &leased.place().entitlement;
        Ok(saved.is_some_and(|saved| saved.next_place().entitlement != *place))
    }

    /// Why a credential that was made is not handed out. `before` is the record as it was leased.
    fn not_given(
        request: &AccessRequest,
        before: &AccessRequest,
        told: Option<Timestamp>,
    ) -> Refusal {
        let leased = before.grant();
        let ceiling = leased.map(|grant| grant.expires_at + request.residual_max());
        let ends_at = leased.and_then(|grant| ends_at(before, grant, told));
        match (ends_at, ceiling) {
            (Some(ends_at), Some(ceiling)) if ends_at > ceiling => {
                Refusal::CredentialOutlives { ends_at, ceiling }
            }
            _ => Refusal::NotCollectable {
                status: request.status(),
            },
        }
    }

    async fn lease_mint(
        &self,
        by: &By,
        id: RequestId,
    ) -> Result<(AccessRequest, u32), EngineError> {
        for _ in 0..TRIES {
            let request = self.load(id).await?.ok_or(Refusal::UnknownRequest)?;
            if let Err(error) = self.check_reads(&by.profile, &request, Recent::Now).await {
                if matches!(error, EngineError::Refused(Refusal::UnknownRequest)) {
                    self.note_missing(by, Some(id), Right::Request).await;
                }
                return Err(error);
            }
            let (facts, looked_up_at) = self.lease_facts(&request).await?;
            let collect = Command::Collect {
                by: by.clone(),
                facts: Box::new(facts),
            };
            let transition = decide(self.rules(), &request, &collect, self.now())?;
            if !self.is_fresh(looked_up_at) {
                continue;
            }
            let Some(after) = transition.request().cloned() else {
                return Err(Refusal::NotCollectable {
                    status: request.status(),
                }
                .into());
            };
            let transition = Transition {
                good_for: Some(self.freshness_left(looked_up_at)),
                ..transition
            };
            match self.commit(transition, Along::default()).await {
                Ok(()) => {
                    let epoch = leased_epoch(&request, &after);
                    let refused = || Refusal::NotCollectable {
                        status: after.status(),
                    };
                    return Ok((after.clone(), epoch.ok_or_else(refused)?));
                }
                Err(CommitError::Conflict) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(PortError::nothing_done("engine", "collect", ErrorKind::Unavailable).into())
    }
}
