//! The codec alone, by its path: a fuzzing build instruments every dependency, and the codec needs six
//! of them where the server needs hundreds.

#[path = "../../src/codec/mod.rs"]
pub mod codec;

// The ways say `headwater::codec`, as an integration test does.
extern crate self as headwater;

#[path = "../../tests/it/codec_support.rs"]
pub mod ways;
