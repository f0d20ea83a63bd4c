//! Just-in-time privileged access: the domain.
//!
//! Somebody asks for access, somebody else decides, the access appears in a system, and a clock
//! takes it away. This crate holds what is true of that story whatever the chat, the provider or
//! the store: the words, the policy, the lifecycle, the audit, and an engine that runs them behind
//! ports. It does no I/O and reads no clock.
//!
//! # Embedding
//!
//! 1. Implement [`ports::Provisioner`] for the system that gives the access, or take an adapter.
//! 2. Choose a [`ports::RequestStore`] and a [`ports::Directory`], and say who may do what in a
//!    [`policy::Policy`] over a [`catalog::Catalog`].
//! 3. Put them into [`engine::EngineParts`] and build an [`engine::Engine`].
//! 4. Call [`engine::Engine::open`] and [`engine::Engine::handle`] for people, and, all the time,
//!    [`engine::Engine::tend`] for whatever [`engine::Engine::due`] lists and
//!    [`engine::Engine::announce_due`] for what is to be told. Any number of processes may do so on
//!    one store.
//!
//! `examples/embed.rs` is a whole lifecycle around a provisioner of five short methods.
//!
//! # One direction
//!
//! A command comes in with an authenticated [`principal::Principal`]. The engine loads the record,
//! looks up the facts that the command needs and puts them *in* the command;
//! [`lifecycle::decide`] answers with the changes to commit or a [`lifecycle::Refusal`]; the store
//! commits all of them or none. What is then owed to a provider is derived from the stored record
//! by [`lifecycle::owed`], never remembered elsewhere, so any worker can go on after a crash.
//!
//! # Invariants
//!
//! *P* is: the access is effective at the provider because of a call of ours. A grant is *live*
//! while it is Provisioning, Active, Revoking or Settling. A is the longest that a provider takes
//! to apply a call, V how long a call may still be accepted after it was signed.
//!
//! **Safety**
//! - **S1 Intent first.** Before a grant call is sent, a record in Provisioning with its expiry,
//!   its target and the sender's epoch is committed.
//! - **S2 No quiet end.** A grant ends only after a read-back that follows the last revoke showed
//!   absence and nothing in flight. Three ends need none: the provider's own exact or longest
//!   expiry, a cancellation before any call, and being superseded.
//! - **S3 No resurrection.** After a grant is closed no call of it can take effect: calls are sent
//!   only while `now < send_before`, once, and a record settles for V (V + A where pending
//!   operations are hidden) after the later of the read-back and the slot's latest `send_before`;
//!   one that was over when the read-back began is over with it.
//! - **S4 One slot.** A slot is keyed by the resolved realm, subject and resource. Leasing takes
//!   it, takes it over from an Active or Settling owner, or waits. Access that stands while no
//!   live grant owns the slot is not ours and is never adopted.
//! - **S5 One decision.** A request reaches exactly one of approved, denied, withdrawn, lapsed,
//!   invalidated. Each person counts once; at the last needed approval every earlier one is
//!   checked again.
//! - **S6 Expiry is a ratchet.** It is fixed at the last needed approval and only moves earlier.
//! - **S7 Self-contained revoke.** Revoking reads only the record and the provider's credentials.
//! - **S8 Bounded drift.** Access without a live record is found and paged; it is revoked only in a slot
//!   whose last grant call may be the cause, and only while nobody owns it.
//! - **S9 Who decides.** Neither requester nor beneficiary, with the right and active by facts at
//!   most 5 s old at the commit.
//! - **S10 Who is who.** A chat id maps to one person or is refused.
//! - **S11 No stale authority.** Policy, eligibility and authority are judged at the decision and
//!   again before the grant call.
//! - **S12 Reference integrity.** A decision names the digest of what was shown.
//! - **S13 Inert text.** No text of a user or a provider is rendered as markup.
//! - **S14 Authentic input.** Unauthenticated, replayed or expired input changes nothing.
//! - **S15 No secret leaves.** A credential is given once, to its asker, and kept nowhere.
//! - **S16 Complete audit.** State and events are one commit; events are chained by their hashes;
//!   a provider call has an intent before it and an outcome after it.
//!
//! **Liveness**, while the provider can be reached
//! - **L1** the revoke is sent by `expires_at` + 5 s and P is false by `expires_at` + 30 s + A
//!   (2 A where a grant call was still being applied), whichever replica died.
//! - **L2** revokes are retried for ever, at most 60 s apart.
//! - **L3** one record's failure delays no other, and revokes go before grants.
//! - **L4** an outage of the store delays no revoke that a running replica knows of by more than
//!   5 s: it takes away without the store, logs that at once, and writes it down before all else
//!   when the store answers again. This is the one exception to S16; a grant that took the slot over
//!   unseen may be cut by it, and is found and told.
//! - **L5** an ending that makes no progress is flagged as stuck and paged, and still retried;
//!   every pending request and every approved one reaches an end by its deadline.
//!
//! **Clock**
//! - **K1** within a process the time never runs backwards; everything is judged by the clock, and
//!   as far ahead of it as the newest commit was when it was seen, a lead that stands until other
//!   systems' clocks agree with ours or the clock is put forward; with a lead of more than 5 s, or
//!   more than that beside what other systems say, nothing is granted, and revoking goes on.

#![warn(missing_docs)]

pub mod audit;
pub mod catalog;
pub mod change;
pub mod digest;
pub mod engine;
pub mod lifecycle;
pub mod policy;
pub mod ports;
pub mod principal;
pub mod provider;
pub mod quota;
pub mod request;
mod text;
pub mod time;

pub use engine::{Engine, EngineError, EngineParts};
pub use lifecycle::Refusal;
pub use time::{Timestamp, Ttl};
