//! Targets, schedules and the tile program that a graph is lowered to.
