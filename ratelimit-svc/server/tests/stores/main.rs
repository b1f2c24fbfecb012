//! One suite for every store: the same requests, the same counts. Servers are real, in every way that
//! Redis is run: alone, with users, over TLS, on a socket, with Sentinels, as a cluster.

#![allow(clippy::unwrap_used, unreachable_pub)]

mod faults;
mod requests;
mod servers;
mod suite;
