//! Rates.
pub mod gcra;
pub mod key;
pub mod node;
pub mod worker;
