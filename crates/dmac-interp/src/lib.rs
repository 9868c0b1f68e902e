//! The oracle: plain evaluation of graphs and tile programs.
