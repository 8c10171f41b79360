//! Data tests of whole chains.
