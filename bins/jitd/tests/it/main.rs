//! The daemon's binary and its demonstration, run as processes where that is the point.

#![cfg(test)]
#![cfg(feature = "demo")]

mod agents;
mod approval;
mod aws;
mod demo;
mod doctor;
mod house;
mod kill;
mod kill_loop;
mod okta;
mod outage;
mod policy_page;
mod process;
mod refusals;
mod restore;
mod secrets;
mod served;
mod slack;
mod telegram;
mod tls;
