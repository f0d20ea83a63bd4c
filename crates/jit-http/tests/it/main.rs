//! The API over a real engine on a store in memory, called in-process.

#[cfg(test)]
mod approval;
#[cfg(test)]
mod calls;
#[cfg(test)]
mod edge;
#[cfg(test)]
mod reading;
#[cfg(test)]
mod requests;
#[cfg(test)]
mod waiting;
#[cfg(test)]
mod world;
