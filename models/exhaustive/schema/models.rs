//! A model of what sessions remember of a table.

use super::version::Version;
use crate::Told;
use loom::thread;
use std::sync::Arc;

pub(crate) const ALL: &[(&str, fn())] = &[("who_sees_a_version_sees_what_was_changed", changed)];

fn changed() {
    let (version, change) = (Arc::new(Version::new()), Arc::new(Told::new()));
    let (other, changing) = (version.clone(), change.clone());
    let changer = thread::spawn(move || {
        changing.write(1);
        other.rise();
    });
    if version.get() == 1 {
        assert_eq!(change.read(), 1);
    }
    changer.join().unwrap();
    assert_eq!(version.get(), 1);
}
