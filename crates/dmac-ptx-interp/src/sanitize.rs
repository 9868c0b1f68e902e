//! Happens-before: which accesses synchronisation orders, and which it does not.
//!
//! Every warp and every mbarrier of a cluster is an actor with a counter. A warp's [`Clock`] says how far it knows
//! each actor to be; barriers, mbarriers and atomics carry clocks from one warp to another. Shared memory has a
//! shadow word per four bytes with the last write and the reads since; an access that an earlier conflicting one does
//! not happen before is a race, whatever the schedule of this run was. An asynchronous operation is ordered only by
//! its completion as somebody waited for it (a phase of an mbarrier, a `wait_group`), never by having landed.
//!
//! A second clock follows the proxies: it advances only across `fence.proxy.async`, so data that was written through
//! the generic proxy is known to the async proxy exactly when a fence lies on the path.
//!
//! The unit is a warp: lanes of one warp are taken as ordered among themselves.

mod clock;
mod global;
mod history;
mod shadow;

pub(crate) use clock::{Clock, Knowledge};
pub(crate) use global::{GlobalAccess, GlobalShadow, Origin};
pub(crate) use history::{Access, AccessId, Flags, History};
pub(crate) use shadow::{Conflict, Shadow};
