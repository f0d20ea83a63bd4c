//! What is checked in every state, and what has to be come across.

use jit_core::request::Status;
use stateright::Property;

use crate::model::Model;
use crate::world::{Flaw, Step, World};

/// Every promise, and these sights.
pub fn all(sees: &[Sight]) -> Vec<Property<Model>> {
    let mut properties = vec![
        Property::<Model>::always(S1, |_, it: &World| !it.flaws.has(Flaw::NoIntent)),
        Property::always(S2, |_, it: &World| !it.flaws.has(Flaw::QuietEnd)),
        Property::always(S3, |_, it: &World| !it.flaws.has(Flaw::Resurrection)),
        Property::always(S4, |_, it: &World| {
            it.store.live() <= 1 && !it.flaws.has(Flaw::TookForeign)
        }),
        Property::always(S5, |_, it: &World| !it.flaws.has(Flaw::Decision)),
        Property::always(S6, |_, it: &World| !it.flaws.has(Flaw::LaterEnd)),
        Property::always(S11, |_, it: &World| !it.flaws.has(Flaw::StaleAuthority)),
        Property::always(S15, |_, it: &World| {
            !it.flaws.has(Flaw::Secret) && it.handed_out <= 1
        }),
        Property::always(OWNED, |_, it: &World| {
            !it.provider.stands || it.store.live() > 0
        }),
        Property::always(NOTICED, |model: &Model, it: &World| !model.overlooks(it)),
        Property::always(CLEAN, |model: &Model, it: &World| {
            !model.is_last(it) || is_clean(it)
        }),
    ];
    properties.extend(sees.iter().map(|sight| sight.property()));
    properties
}

/// Nobody owes anything, nothing stands, nothing is under way.
fn is_clean(world: &World) -> bool {
    let over = world.store.all().all(|it| it.status().is_over());
    let idle = world.workers.iter().all(|it| it.step == Step::Idle);
    over && idle && !world.provider.stands && world.provider.calls.is_empty()
}

/// The names of what is checked in every state.
pub const S1: &str = "S1 intent first";
/// No grant ends while its access stands.
pub const S2: &str = "S2 no quiet end";
/// No call takes effect where no live grant owns the slot.
pub const S3: &str = "S3 no resurrection";
/// At most one live owner, and nothing of others is taken away.
pub const S4: &str = "S4 one slot";
/// One decision, by enough people who may.
pub const S5: &str = "S5 one decision";
/// An end only moves earlier.
pub const S6: &str = "S6 expiry is a ratchet";
/// No grant for approvals whose authors lost their right.
pub const S11: &str = "S11 no stale authority";
/// At most one credential, one secret, and only while its record says so.
pub const S15: &str = "S15 no secret twice";
/// Access stands only while a live grant owns it.
pub const OWNED: &str = "no access without an owner";
/// A grant whose access a late delete of an earlier owner took does not stay Active: it is looked at
/// once no such delete can land any more.
pub const NOTICED: &str = "no grant hit unnoticed";
/// From every state of the storm a clean end is reached.
pub const CLEAN: &str = "a clean end";

/// What a scenario has to come across, lest it shows nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sight {
    /// A grant that is Active.
    Active,
    /// A grant that was taken over.
    HandOver,
    /// A grant that was closed, with a call of it still under way.
    LateCall,
    /// An Active grant whose access was taken by a late delete of an earlier owner.
    Hit,
    /// One that ends because that was noticed.
    Noticed,
    /// A secret that was handed out.
    Secret,
    /// A decision by enough people.
    Approved,
    /// A clock that was found to be behind.
    Lead,
    /// The end: all over, all gone.
    Clean,
}

impl Sight {
    fn property(self) -> Property<Model> {
        match self {
            Self::Active => Property::sometimes("sees access", |_, it: &World| {
                it.store.all().any(|it| it.status() == Status::Active)
            }),
            Self::HandOver => {
                Property::sometimes("sees a hand-over", |_, it: &World| it.store.handed_over())
            }
            Self::LateCall => Property::sometimes("sees a call given up", |_, it: &World| {
                it.store.all().any(|it| it.status() == Status::Settling)
                    && !it.provider.calls.is_empty()
            }),
            Self::Hit => Property::sometimes("sees a grant hit", |model: &Model, it: &World| {
                it.is_hit(model.nature())
            }),
            Self::Noticed => Property::sometimes("sees a hit noticed", |_, it: &World| {
                it.store.found_missing()
            }),
            Self::Secret => {
                Property::sometimes("sees a secret given", |_, it: &World| it.handed_out > 0)
            }
            Self::Approved => Property::sometimes("sees an approval", |_, it: &World| {
                it.store.all().any(|it| it.grant().is_some())
            }),
            Self::Lead => Property::sometimes("sees a clock behind", |_, it: &World| {
                it.workers.iter().any(|it| it.lead.is_some())
            }),
            Self::Clean => Property::sometimes("sees a clean end", |_, it: &World| is_clean(it)),
        }
    }
}
