//! The composition, whole: real daemons on free ports, a real store, a real group file.

#![cfg(test)]

mod audit;
mod backup;
mod dates;
mod doctor;
mod house;
mod lifecycle;
mod operator;
mod outages;
mod pagerduty;
mod policy;
mod services;
