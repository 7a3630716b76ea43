//! Groups beyond greedy search: that suffice and are needed at once, that are minimal, and several of them.
//!
//! What a group of players is looked for is its [`Aim`]; how, a [`Method`]: greedily, by beams, from both ends, by exchanges,
//! or as a catalogue of groups that overlap little. An [`Explorer`] carries out one or more [`Plan`]s on each of many
//! images, whose coalitions share batches; no coalition of an image is asked twice, and what is found depends on neither
//! batch size nor packing. Equal values go to the group that a search comes to first, as in [`crate::search`].

mod catalogue;
mod explorer;
mod groups;
mod known;
mod objective;
mod paths;
mod plan;

pub use catalogue::CatalogueOptions;
#[cfg(feature = "python")]
pub(crate) use explorer::presence;
pub use explorer::{Asked, Explored, Explorer, Flips};
pub use objective::{Aim, Objective, Verdict};
pub use plan::{Group, Method, Plan, Shrunk};
