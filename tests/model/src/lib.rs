//! The lifecycle explored exhaustively in small worlds: every order of every step of two processes,
//! every fate of every call, every point at which a process may pause or die.
//!
//! Whatever is judged is judged by `jit_core::lifecycle`: [`verdict`] calls its `open`, `decide`,
//! `owed`, `wake` and `sends_after_lease` on the domain's own records. What stands around it, which in
//! the product is the engine, the store and the adapters, is written down here as explicit steps in
//! the engine's order, and any of these may be replaced by a [`shortcut`]. [`scenario`] holds the small
//! worlds, [`model`] the transitions, [`promise`] what must hold, [`run`] explores.
//!
//! # What is modelled
//!
//! - **Processes**: two workers, each at one of the [`world::Step`]s between load, decide, commit, look
//!   up, send, look and save. Each may pause anywhere for any time, or die and start anew. Whoever read
//!   a record that another commit replaces meets the conflict that the store would answer.
//! - **The store**: records, the slot's owner, records that must not have changed, commits that are
//!   too late for the facts they were judged on, and, where a secret is in hand, a commit whose reply
//!   is lost.
//! - **The provider**: a call is answered and in effect, or accepted and applied within A, or refused,
//!   or given up by its sender and accepted at any time within V, or never. What is being applied is
//!   seen or not. Credentials can be found by their marker and revoked, or can be neither and end by
//!   themselves. A delete that was given up may arrive within V like a grant call wherever a slot
//!   changes hands (`hand-over`, `late-answer`, `windows`): it may hit the new owner, and that has to
//!   be noticed. So it may in `minted` in its full bounds; elsewhere it arrives at once or never, as
//!   there is no other grant that it could hit. Looks may fail in `hand-over` and `windows`, and in
//!   `minted` and `expiring` in their full bounds.
//! - **Time** in ticks of 30 s, which is how long a call may be sent after its lease; V and A are a
//!   tick each, or none, or three. Nothing in the lifecycle tells two instants within a tick apart
//!   that matter here: what is due in between is due at the next tick. Where clocks differ every
//!   instant is kept as it is.
//! - **Clocks**: one process a tick behind, which learns so from commits (K1) and then gives nothing.
//! - **People**: a second request at any time, an early end at any time, approvals, a denial, a person
//!   with two names, a person who loses their right at any time, a credential collected twice at once.
//! - **The end**: the storm, in which all this happens, lasts some ticks; then a calm, in which nothing
//!   fails and whoever has something to do does it, while calls of the storm may still arrive. The
//!   last tick of the calm must be clean: every record over, no access, nothing under way. A state of
//!   the storm can turn calm at any time, so a clean end is reached from every one of them.
//!
//! # What is not
//!
//! The audit chain (it is left out of the state, and S16 is not checked), announcements, drift and the
//! reconcile, foreign hands while a grant is live, store outages longer than a pause, bundles, three
//! successive owners of a slot, minted fallbacks, step-up, policies that change, more than two
//! processes, more calls under way than a scenario says, native expiry of standing access, non-retryable
//! failures of a delete, a delete that is sent in a later tick than that in which its record was read.
//! Reading a record again, deciding on an outcome and committing it is one step in `hand-over`,
//! `windows`, `quorum` and `clocks`, as a conflict in between would do the same again; in the bounds
//! for every day also elsewhere, but not in `minted` and `expiring`. That a revoke is *early* enough
//! (L1) is for the simulation in `tests/it/sim`.

mod calls;
pub mod model;
pub mod promise;
pub mod provider;
pub mod record;
pub mod run;
pub mod scenario;
pub mod setting;
pub mod shortcut;
mod steps;
mod store;
pub mod verdict;
pub mod world;
