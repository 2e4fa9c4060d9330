//! Models of commits that wait in memory until their segment gets them: at any moment whoever looks finds them in one of the two.

use super::unwritten::{Unwritten, WeakUnwritten};
use crate::arc::Arc;
use crate::io::File;
use bytes::Bytes;
use loom::thread;

pub(crate) const ALL: &[(&str, fn())] = &[
    ("who_is_sent_to_the_file_finds_what_was_written", written),
    ("who_outlives_the_writer_finds_what_it_wrote", outlived),
    ("a_commit_that_comes_while_others_are_written_is_found", meanwhile),
];

/// Keeps a byte, the first of its segment.
fn kept() -> (Arc<File>, Arc<Unwritten>) {
    let file = Arc::new(File::new());
    let unwritten = Arc::new(Unwritten::new(file.clone()));
    assert!(unwritten.keep(&Bytes::from_static(b"a"), 2));
    (file, unwritten)
}

/// Fails when the byte at `offset` is neither in memory nor, for this thread, in the file.
fn check(found: Option<(u64, Bytes)>, file: &File, offset: u64, byte: u8) {
    match found {
        Some((start, bytes)) => assert_eq!((start, &bytes[..]), (offset, &[byte][..])),
        None => assert_eq!(file.byte(offset), byte),
    }
}

fn written() {
    let (file, unwritten) = kept();
    let other = unwritten.clone();
    let writer = thread::spawn(move || other.write(&[]).unwrap());
    check(unwritten.get(0), &file, 0, b'a');
    writer.join().unwrap();
}

fn outlived() {
    let (file, unwritten) = kept();
    let weak = WeakUnwritten::of(&unwritten);
    let writer = thread::spawn(move || unwritten.write(&[]).unwrap());
    check(weak.get(0), &file, 0, b'a');
    writer.join().unwrap();
}

fn meanwhile() {
    let (file, unwritten) = kept();
    let other = unwritten.clone();
    let writer = thread::spawn(move || other.write(&[]).unwrap());
    assert!(unwritten.keep(&Bytes::from_static(b"b"), 2));
    check(unwritten.get(1), &file, 1, b'b');
    writer.join().unwrap();
    unwritten.write(&[]).unwrap();
    assert_eq!((file.byte(0), file.byte(1)), (b'a', b'b'));
}
