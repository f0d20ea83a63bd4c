//! Every shortcut is caught by the promise that it breaks, in the scenario and the bounds in which
//! the unbroken model holds.

use std::collections::BTreeSet;

use jit_model::run::explore;
use jit_model::scenario::{Extent, Scenario};
use jit_model::shortcut::{BROKEN, Shortcut};

fn is_caught(shortcut: Shortcut) {
    let broken = BROKEN.iter().find(|it| it.shortcut == shortcut).unwrap();
    let scenario = Scenario::named(broken.scenario, Extent::Bounded).unwrap();
    let report = explore(scenario, Some(shortcut), Some(broken.promise), 2);
    println!("{report}");
    let caught = report.broken.iter().find(|it| it.0 == broken.promise);
    let (_, way) = caught.unwrap_or_else(|| panic!("not caught: {report}"));
    println!("{way}");
}

#[test]
fn every_shortcut_is_told_once() {
    let told: BTreeSet<_> = BROKEN
        .iter()
        .map(|it| format!("{:?}", it.shortcut))
        .collect();
    assert_eq!(told.len(), BROKEN.len());
}

#[test]
fn grant_first_is_caught() {
    is_caught(Shortcut::GrantFirst);
}

#[test]
fn timeout_means_failed_is_caught() {
    is_caught(Shortcut::TimeoutMeansFailed);
}

#[test]
fn delete_means_revoked_is_caught() {
    is_caught(Shortcut::DeleteMeansRevoked);
}

#[test]
fn no_settling_is_caught() {
    is_caught(Shortcut::NoSettling);
}

#[test]
fn settles_too_short_is_caught() {
    is_caught(Shortcut::SettlesTooShort);
}

#[test]
fn checks_then_pauses_is_caught() {
    is_caught(Shortcut::ChecksThenPauses);
}

#[test]
fn sends_at_its_limit_is_caught() {
    is_caught(Shortcut::SendsAtItsLimit);
}

#[test]
fn pooled_connection_is_caught() {
    is_caught(Shortcut::PooledConnection);
}

#[test]
fn hands_over_at_approval_is_caught() {
    is_caught(Shortcut::HandsOverAtApproval);
}

#[test]
fn two_records_for_one_slot_is_caught() {
    is_caught(Shortcut::TwoRecordsForOneSlot);
}

#[test]
fn slot_not_compared_is_caught() {
    is_caught(Shortcut::SlotNotCompared);
}

#[test]
fn closed_owner_not_compared_is_caught() {
    is_caught(Shortcut::ClosedOwnerNotCompared);
}

#[test]
fn last_write_wins_is_caught() {
    is_caught(Shortcut::LastWriteWins);
}

#[test]
fn ttl_on_live_row_is_caught() {
    is_caught(Shortcut::TtlOnLiveRow);
}

#[test]
fn timer_in_memory_is_caught() {
    is_caught(Shortcut::TimerInMemory);
}

#[test]
fn gives_up_is_caught() {
    is_caught(Shortcut::GivesUp);
}

#[test]
fn settles_from_absence_is_caught() {
    is_caught(Shortcut::SettlesFromAbsence);
}

#[test]
fn settles_anew_is_caught() {
    is_caught(Shortcut::SettlesAnew);
}

#[test]
fn forgets_earlier_calls_is_caught() {
    is_caught(Shortcut::ForgetsEarlierCalls);
}

#[test]
fn forgets_earlier_deletes_is_caught() {
    is_caught(Shortcut::ForgetsEarlierDeletes);
}

#[test]
fn forgets_recheck_is_caught() {
    is_caught(Shortcut::ForgetsRecheck);
}

#[test]
fn in_flight_means_absent_is_caught() {
    is_caught(Shortcut::InFlightMeansAbsent);
}

#[test]
fn looks_stamped_late_is_caught() {
    is_caught(Shortcut::LooksStampedLate);
}

#[test]
fn adopts_is_caught() {
    is_caught(Shortcut::Adopts);
}

#[test]
fn no_room_for_clocks_is_caught() {
    is_caught(Shortcut::NoRoomForClocks);
}

#[test]
fn stale_authority_is_caught() {
    is_caught(Shortcut::StaleAuthority);
}

#[test]
fn names_are_people_is_caught() {
    is_caught(Shortcut::NamesArePeople);
}

#[test]
fn timeout_means_nothing_is_caught() {
    is_caught(Shortcut::TimeoutMeansNothing);
}

#[test]
fn hands_out_first_is_caught() {
    is_caught(Shortcut::HandsOutFirst);
}

#[test]
fn hands_out_unsaved_is_caught() {
    is_caught(Shortcut::HandsOutUnsaved);
}
