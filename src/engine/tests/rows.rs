//! Every row of the recovery tables in `docs/formats/`: the files as the row has them, a start, and what the row says of it.
//!
//! Where the row refuses the start, the check must say so too, and the server must start after a repair unless only a newer release
//! helps. Where it suspends a table, the repair keeps the file and the start does the same again.

use super::bed::*;
use crate::engine::steps::Actor;
use crate::engine::{DEFAULT_DATABASE, check, repair};
use crate::io::Fs;
use crate::sequencer::Durability;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// What becomes of a start.
#[derive(Clone, Copy, Debug)]
enum Start {
    /// So many rows of `a` and `b` are visible, nothing is in trouble.
    Whole(u64, u64),
    /// The same, and `a` is suspended for a reason that names these.
    Suspended(u64, u64, &'static [&'static str]),
    /// The same as whole, though a check finds damage and names these: nobody needs what is damaged.
    Unread(u64, u64, &'static [&'static str]),
    /// Refused, naming these.
    Refused(&'static [&'static str]),
}

/// One row of a table.
struct Row {
    label: &'static str,
    /// How the WAL is written, and whether rows are in parts.
    bed: fn() -> Bed,
    /// Brings about what is found.
    make: fn(&Bed),
    start: Start,
    /// The rows that are visible after a repair; none where no repair helps.
    repaired: Option<(u64, u64)>,
}

const NOTHING: fn(&Bed) = |_| {};
const ALL: Start = Start::Whole(3, 3);

fn row(label: &'static str, bed: fn() -> Bed, make: fn(&Bed), start: Start) -> Row {
    let repaired = match start {
        Start::Whole(a, b) | Start::Suspended(a, b, _) | Start::Unread(a, b, _) => Some((a, b)),
        Start::Refused(_) => None,
    };
    Row { label, bed, make, start, repaired }
}

/// A row that refuses the start; `repaired` is what is visible after a repair.
fn refused(
    label: &'static str,
    bed: fn() -> Bed,
    make: fn(&Bed),
    names: &'static [&'static str],
    repaired: Option<(u64, u64)>,
) -> Row {
    Row { label, bed, make, start: Start::Refused(names), repaired }
}

#[rustfmt::skip]
fn segment_rows() -> Vec<Row> {
    use Start::{Suspended, Whole};
    vec![
        row("S1", synced, NOTHING, ALL),
        // The log loses its last record, and with it the name of a frame.
        row("S2", synced, |bed| { let log = bed.log(1); cut(&log, *records(&log).last().unwrap()); }, Whole(2, 2)),
        // A clean tail, and a zero tail.
        row("S3", synced, |bed| { let (path, last) = bed.frame("b", 2); cut(&path, last.end); }, ALL),
        row("S3", synced, |bed| { let (path, last) = bed.frame("b", 2); resize(&path, last.end, 5000); }, ALL),
        row("S4", synced, |bed| { let (path, last) = bed.frame("b", 2); edit(&path, |bytes| { bytes.truncate(last.end); bytes.extend(b"FRAM"); }); }, ALL),
        // Torn, rotten, gone with the file, and gone with the folder.
        row("S5", carried, |bed| { let (path, frame) = bed.frame("a", 1); cut(&path, frame.start + 9); }, ALL),
        row("S5", carried, |bed| { let (path, frame) = bed.frame("a", 1); flip(&path, frame.start + 70); }, ALL),
        row("S5", carried, |bed| std::fs::remove_file(bed.frame("a", 0).0).unwrap(), ALL),
        row("S5", carried, |bed| std::fs::remove_dir_all(bed.frame("a", 0).0.parent().unwrap()).unwrap(), ALL),
        // Rotten, zeros, and cut off: the log says that more was durable.
        row("S6", synced, |bed| { let (path, frame) = bed.frame("a", 2); flip(&path, frame.start + 70); }, Suspended(2, 3, &["0.wal", "bytes"])),
        row("S6", synced, |bed| { let (path, frame) = bed.frame("a", 2); edit(&path, |bytes| bytes[frame].fill(0)); }, Suspended(2, 3, &["0.wal", "bytes"])),
        row("S6", only_a, |bed| { let (path, frame) = bed.frame("a", 2); cut(&path, frame.start); }, Suspended(2, 0, &["0.wal", "bytes"])),
        row("S7", only_a, |bed| std::fs::remove_file(bed.frame("a", 0).0).unwrap(), Suspended(0, 0, &["0.wal"])),
        row("S8", half_flushed, |bed| { let (path, frame) = bed.frame("a", 0); flip(&path, frame.end - 1); }, Suspended(2, 3, &["0.wal", "bytes"])),
        row("S9", carried, |bed| flip(&bed.frame("a", 0).0, 20), ALL),
        row("S9", carried, |bed| cut(&bed.frame("a", 0).0, 0), ALL),
        // Damaged, empty, too short, of another kind, another version by one byte alone.
        row("S10", only_a, |bed| flip(&bed.frame("a", 0).0, 20), Suspended(0, 0, &["0.wal", "bytes 0 to 64"])),
        row("S10", only_a, |bed| cut(&bed.frame("a", 0).0, 0), Suspended(0, 0, &["0.wal", "bytes 0 to 64"])),
        row("S10", only_a, |bed| cut(&bed.frame("a", 0).0, 50), Suspended(0, 0, &["0.wal", "bytes 0 to 64"])),
        row("S10", only_a, |bed| edit(&bed.frame("a", 0).0, |bytes| bytes[..8].copy_from_slice(b"HWCATLOG")), Suspended(0, 0, &["0.wal", "bytes 0 to 64"])),
        row("S10", only_a, |bed| edit(&bed.frame("a", 0).0, |bytes| bytes[8] = 9), Suspended(0, 0, &["0.wal", "bytes 0 to 64"])),
        row("S11", only_a, |bed| copy(&only_a().frame("a", 0).0, &bed.frame("a", 0).0), Suspended(0, 0, &["0.wal", "another segment"])),
        refused("S12", synced, |bed| to_future(&bed.frame("a", 0).0), &["0.wal", "version 2", "up to 1"], None),
        refused("S12", carried, |bed| to_future(&bed.frame("a", 0).0), &["0.wal", "version 2", "up to 1"], None),
        refused("S13", carried, |bed| copy(&only_a().frame("a", 0).0, &bed.frame("a", 0).0), &["0.wal", "another segment"], Some((3, 3))),
        refused("S14", carried, |bed| to_folder(&bed.frame("a", 0).0), &["0.wal", "is a folder"], Some((3, 3))),
    ]
}

#[rustfmt::skip]
fn shelf_rows() -> Vec<Row> {
    vec![
        row("H1", shelved, NOTHING, Start::Whole(3, 5)),
        refused("H2", shelved, |bed| flip(&bed.shelf(), 20), &[".shelf", "bytes 0..64"], Some((1, 5))),
        refused("H2", shelved, |bed| cut(&bed.shelf(), 50), &[".shelf", "bytes 0..64"], Some((1, 5))),
        refused("H2", shelved, |bed| edit(&bed.shelf(), |bytes| bytes[..8].copy_from_slice(b"HWTXNLOG")), &[".shelf", "bytes 0..64"], Some((1, 5))),
        refused("H3", shelved, |bed| flip(&bed.shelf(), 100), &[".shelf", "bytes 64.."], Some((1, 5))),
        refused("H3", shelved, |bed| { let shelf = bed.shelf(); cut(&shelf, *records(&shelf).last().unwrap()); }, &[".shelf", "bytes"], Some((1, 5))),
        refused("H3", shelved, |bed| edit(&bed.shelf(), |bytes| bytes.push(0)), &[".shelf", "bytes"], Some((1, 5))),
        refused("H4", shelved, |bed| copy(&shelved().shelf(), &bed.shelf()), &[".shelf", "another server"], Some((1, 5))),
        refused("H4", shelved, |bed| { let shelf = bed.shelf(); std::fs::rename(&shelf, shelf.with_file_name("1-4-6.shelf")).unwrap(); }, &[".shelf", "another server"], Some((1, 5))),
        refused("H5", shelved, |bed| to_future(&bed.shelf()), &[".shelf", "version 2", "up to 1"], None),
        refused("H6", shelved, |bed| std::fs::remove_file(bed.shelf()).unwrap(), &["table \"a\"", "neither in parts nor in the WAL"], Some((1, 5))),
        refused("H7", shelved, |bed| to_folder(&bed.shelf()), &[".shelf", "is a folder"], Some((1, 5))),
        // The same from the beginning, and up to the end.
        row("H8", shelved, |bed| shelve_again(bed, 0..1, |_| {}), Start::Whole(3, 5)),
        row("H8", shelved, |bed| shelve_again(bed, 1..2, |_| {}), Start::Whole(3, 5)),
        refused("H9", shelved, |bed| shelve_again(bed, 0..1, |txn| txn.at += 1), &[".shelf", "another transaction of the same number"], Some((3, 5))),
        refused("H9", shelved, |bed| shelve_again(bed, 1..2, |txn| txn.at += 1), &[".shelf", "another transaction of the same number"], Some((3, 5))),
    ]
}

#[rustfmt::skip]
fn log_rows() -> Vec<Row> {
    use Start::{Suspended, Whole};
    vec![
        row("L1", || Bed::new(0), NOTHING, Whole(0, 0)),
        row("L2", synced, |bed| std::fs::write(bed.dir().join("wal/txnlog/00000002.log.tmp"), b"HWTX").unwrap(), ALL),
        // Damaged, empty, too short, of another kind. Of the only chunk, nothing is left after a repair but what is in parts.
        refused("L3", synced, |bed| flip(&bed.log(1), 20), &["00000001.log", "bytes 0..64"], Some((0, 0))),
        refused("L3", half_flushed, |bed| flip(&bed.log(1), 20), &["00000001.log", "bytes 0..64"], Some((2, 2))),
        refused("L3", synced, |bed| cut(&bed.log(1), 0), &["00000001.log", "bytes 0..64"], Some((0, 0))),
        refused("L3", synced, |bed| cut(&bed.log(1), 63), &["00000001.log", "bytes 0..64"], Some((0, 0))),
        refused("L3", synced, |bed| edit(&bed.log(1), |bytes| bytes[..8].copy_from_slice(b"HWSEGMNT")), &["00000001.log", "bytes 0..64"], Some((0, 0))),
        // The version alone, which the checksum contradicts: nothing is lost.
        refused("L3", synced, |bed| edit(&bed.log(1), |bytes| bytes[8] = 2), &["00000001.log", "bytes 8..10"], Some((3, 3))),
        refused("L4", synced, |bed| to_future(&bed.log(1)), &["00000001.log", "version 2", "up to 1"], None),
        // Another server's, another number, an older copy in the place of a newer chunk.
        refused("L5", synced, |bed| copy(&synced().log(1), &bed.log(1)), &["00000001.log", "another server"], Some((0, 0))),
        refused("L5", three_lives, |bed| copy(&bed.log(1), &bed.log(3)), &["00000003.log", "its name"], Some((2, 2))),
        refused("L6", three_lives, |bed| std::fs::remove_file(bed.log(2)).unwrap(), &["00000002.log", "missing"], Some((1, 1))),
        refused("L7", synced, |bed| flip(&bed.log(1), 64 + 40), &["00000001.log", "bytes 64.."], Some((0, 0))),
        refused("L8", synced, |bed| { let log = bed.log(1); flip(&log, records(&log)[2] + 40); }, &["00000001.log", "bytes"], Some((1, 1))),
        // Cut inside and rotten in a chunk that is not the last; bytes behind a seal.
        refused("L9", three_lives, |bed| { let log = bed.log(2); flip(&log, records(&log)[1] + 40); }, &["00000002.log", "bytes"], Some((1, 1))),
        refused("L9", stopped, |bed| { let log = bed.last_log(); edit(&log, |bytes| bytes.extend(b"more")); }, &[".log", "bytes"], Some((3, 3))),
        // A kill leaves room behind the last record; more of it, and none.
        row("L10", synced, |bed| { let log = bed.log(1); let len = std::fs::metadata(&log).unwrap().len() as usize; resize(&log, len, 5000); }, ALL),
        row("L10", synced, |bed| { let log = bed.log(1); cut(&log, end_of_records(&log)); }, ALL),
        row("L11", synced, |bed| { let log = bed.log(1); cut(&log, end_of_records(&log) - 1); }, Whole(2, 2)),
        row("L11", synced, |bed| { let log = bed.log(1); flip(&log, records(&log)[3] + 50); }, Whole(2, 2)),
        row("L12", unsynced, |bed| { let (path, frame) = bed.frame("a", 2); flip(&path, frame.start + 70); }, Whole(2, 2)),
        // What `async` has acknowledged is before the mark, also when nothing came after it.
        row("L12", acknowledged_async, |bed| { let (path, frame) = bed.frame("a", 2); flip(&path, frame.start + 70); }, Suspended(2, 3, &["0.wal", "bytes"])),
        row("L12", acknowledged_async, |bed| { let (path, frame) = bed.frame("a", 0); flip(&path, frame.start + 70); }, Suspended(0, 3, &["0.wal", "bytes"])),
        // A name that leads to itself: there, and not to be opened.
        refused("L13", unsynced, |bed| { let (path, _) = bed.frame("a", 2); std::fs::remove_file(&path).unwrap(); std::os::unix::fs::symlink(&path, &path).unwrap(); }, &["0.wal"], None),
        row("L15", stopped, NOTHING, ALL),
        row("L16", stopped, |bed| { let log = bed.last_log(); flip(&log, records(&log).last().unwrap() + 9); }, ALL),
        // The third chunk's checkpoint says that the two before it are in parts. A repair takes none of the rows behind the damage.
        row("L20", retained, |bed| { let log = bed.log(1); flip(&log, records(&log)[1] + 40); }, Start::Unread(3, 3, &["00000001.log", "bytes 108.."])),
        row("L20", retained, |bed| { let log = bed.log(2); flip(&log, 64 + 40); }, Start::Unread(3, 3, &["00000002.log", "bytes 64.."])),
        row("L20", retained, |bed| cut(&bed.log(2), 63), Start::Unread(3, 3, &["00000002.log", "bytes 0..64"])),
        refused("L20", retained, |bed| { let log = bed.log(3); flip(&log, 64 + 40); }, &["00000003.log", "bytes 64.."], Some((2, 2))),
        refused("L17", half_flushed, |bed| std::fs::remove_file(bed.log(1)).unwrap(), &["wal/txnlog", "is missing"], Some((2, 2))),
        refused("L17", synced, |bed| std::fs::remove_dir_all(bed.dir().join("wal/txnlog")).unwrap(), &["wal/txnlog", "is missing"], Some((0, 0))),
        refused("L18", half_flushed, |bed| to_folder(&bed.log(1)), &["00000001.log", "is a folder"], Some((2, 2))),
        // What was flushed is in the catalog, also where the log has lost it.
        row("L19", unsynced_flushed, |bed| { let log = bed.log(1); cut(&log, records(&log)[2]); }, ALL),
    ]
}

/// All rows are in parts, and the log that names them was never synced.
fn unsynced_flushed() -> Bed {
    let mut bed = Bed::new(0);
    bed.config.sequencer.durability = Durability::NoSync;
    bed.life(|life| {
        life.rows(BOTH, 0..3);
        life.flush();
    })
}

#[rustfmt::skip]
fn catalog_rows() -> Vec<Row> {
    vec![
        row("C1", || Bed::new(0), NOTHING, Start::Whole(0, 0)),
        row("C2", half_flushed, |bed| { std::fs::write(bed.dir().join("catalog/9.log.tmp"), b"HWCA").unwrap(); }, ALL),
        row("C2", half_flushed, |bed| copy(&half_flushed().catalog(), &bed.dir().join("catalog/00.log")), ALL),
        // Damaged, empty, of another kind, by another chunk's name, by its version alone. The parts and the log have it all.
        refused("C3", half_flushed, |bed| flip(&bed.catalog(), 20), &["0.log", "bytes 0..48"], Some((3, 3))),
        refused("C3", half_flushed, |bed| cut(&bed.catalog(), 0), &["0.log", "bytes 0..48"], Some((3, 3))),
        refused("C3", half_flushed, |bed| edit(&bed.catalog(), |bytes| bytes[..8].copy_from_slice(b"HWTXNLOG")), &["0.log", "bytes 0..48"], Some((3, 3))),
        refused("C3", half_flushed, |bed| std::fs::rename(bed.catalog(), bed.dir().join("catalog/7.log")).unwrap(), &["7.log", "bytes 0..48"], Some((3, 3))),
        refused("C3", half_flushed, |bed| edit(&bed.catalog(), |bytes| bytes[8] = 2), &["0.log", "bytes 8..10"], Some((3, 3))),
        refused("C3", stopped, |bed| flip(&bed.catalog(), 20), &[".log", "bytes 0..48"], Some((3, 3))),
        refused("C4", half_flushed, |bed| to_future(&bed.catalog()), &["0.log", "version 2", "up to 1"], None),
        refused("C5", half_flushed, |bed| copy(&half_flushed().catalog(), &bed.catalog()), &["0.log", "another data directory"], Some((3, 3))),
        refused("C6", half_flushed, |bed| cut(&bed.catalog(), 60), &["0.log", "bytes 48..60"], Some((3, 3))),
        refused("C6", stopped, |bed| flip(&bed.catalog(), 50), &[".log", "bytes 48.."], Some((3, 3))),
        // The commit of the flush was cut off: the WAL has the rows.
        row("C7", half_flushed, |bed| { let log = bed.catalog(); cut(&log, std::fs::metadata(&log).unwrap().len() as usize - 1); }, ALL),
        row("C7", half_flushed, |bed| { let log = bed.catalog(); let len = std::fs::metadata(&log).unwrap().len() as usize; resize(&log, len, 300); }, ALL),
        // It was whole once: of what it said, the WAL has gone, or parts, or a table.
        refused("C14", purged, |bed| { let log = bed.catalog(); flip(&log, edits(&log).pop().unwrap() + 20); }, &["0.log", "bytes", "the last commit"], Some((3, 3))),
        refused("C14", purged, |bed| { let log = bed.catalog(); cut(&log, std::fs::metadata(&log).unwrap().len() as usize - 1); }, &["0.log", "bytes", "the last commit"], Some((3, 3))),
        refused("C14", purged, |bed| { let log = bed.catalog(); resize(&log, edits(&log).pop().unwrap(), 300); }, &["0.log", "bytes", "the last commit"], Some((3, 3))),
        refused("C14", purged_later, |bed| { let log = bed.catalog(); flip(&log, edits(&log).pop().unwrap() + 20); }, &["0.log", "bytes", "the last commit"], Some((3, 3))),
        // A segment that is missing is no sign of it, without a part that has its rows.
        row("C7", half_flushed_a, |bed| { let log = bed.catalog(); let len = std::fs::metadata(&log).unwrap().len() as usize; resize(&log, len, 300); std::fs::remove_file(bed.frame("a", 2).0).unwrap(); }, Start::Suspended(2, 0, &["0.wal"])),
        // A chunk of the log that a start does not read is not read for this either.
        row("C7", retained, |bed| { let log = bed.catalog(); let len = std::fs::metadata(&log).unwrap().len() as usize; resize(&log, len, 300); let log = bed.log(1); flip(&log, records(&log)[1] + 40); }, Start::Unread(3, 3, &["00000001.log", "bytes 108.."])),
        refused("C14", compacted, |bed| { let log = bed.catalog(); flip(&log, edits(&log).pop().unwrap() + 20); }, &["0.log", "bytes", "the last commit"], Some((3, 3))),
        refused("C14", dropped, |bed| { let log = bed.catalog(); flip(&log, edits(&log).pop().unwrap() + 20); }, &["0.log", "bytes", "the last commit"], Some((3, 3))),
        refused("C8", half_flushed, |bed| { let log = bed.catalog(); flip(&log, edits(&log)[1] + 20); }, &["0.log", "bytes"], Some((3, 3))),
        refused("C9", stopped, |bed| edit(&bed.catalog(), |bytes| bytes.extend(b"more")), &[".log", "bytes"], Some((3, 3))),
        row("C11", stopped, NOTHING, ALL),
        refused("C12", half_flushed, |bed| std::fs::remove_dir_all(bed.dir().join("catalog")).unwrap(), &["catalog", "is missing"], Some((3, 3))),
        refused("C12", stopped, |bed| std::fs::remove_file(bed.catalog()).unwrap(), &["catalog", "is missing"], Some((3, 3))),
        // With the log gone, or cut, the parts have what they have.
        refused("C12", stopped, |bed| { std::fs::remove_dir_all(bed.dir().join("catalog")).unwrap(); std::fs::remove_dir_all(bed.dir().join("wal")).unwrap(); }, &["catalog", "is missing"], Some((3, 3))),
        refused("C12", half_flushed, |bed| { std::fs::remove_dir_all(bed.dir().join("catalog")).unwrap(); let log = bed.log(1); flip(&log, records(&log)[2] + 40); }, &["catalog", "is missing"], Some((2, 2))),
        refused("C13", stopped, |bed| to_folder(&bed.catalog()), &["catalog", "is a folder"], Some((3, 3))),
    ]
}

type Spoil = fn(&Path);

/// How a part is spoiled, with the row for it.
const SPOILED_PARTS: [(&str, Spoil); 4] = [
    ("P2", |part| flip(part, 100)),
    ("P2", |part| cut(part, 100)),
    ("P3", |part| std::fs::remove_file(part).unwrap()),
    ("P4", to_folder),
];

#[rustfmt::skip]
fn identity_rows() -> Vec<Row> {
    vec![
        row("I1", || Bed::new(0), NOTHING, Start::Whole(0, 0)),
        refused("I2", half_flushed, |bed| std::fs::remove_file(bed.identity()).unwrap(), &["identity", "is missing"], Some((3, 3))),
        row("I3", half_flushed, NOTHING, ALL),
        refused("I4", half_flushed, |bed| flip(&bed.identity(), 20), &["identity", "damaged"], Some((3, 3))),
        refused("I4", half_flushed, |bed| cut(&bed.identity(), 0), &["identity", "damaged"], Some((3, 3))),
        refused("I4", half_flushed, |bed| edit(&bed.identity(), |bytes| bytes[..4].fill(b'x')), &["identity", "damaged"], Some((3, 3))),
        refused("I4", half_flushed, |bed| edit(&bed.identity(), |bytes| bytes[8] = 2), &["identity", "damaged"], Some((3, 3))),
        refused("I5", half_flushed, |bed| to_future(&bed.identity()), &["identity", "version 2", "up to 1"], None),
        refused("I6", half_flushed, |bed| copy(&synced().identity(), &bed.identity()), &["another data directory"], Some((3, 3))),
        refused("I7", half_flushed, |bed| to_folder(&bed.identity()), &["identity", "is a folder"], Some((3, 3))),
    ]
}

/// What a start makes of the folder, said in the words of a row.
pub(super) fn start(bed: &Bed) -> Result<(u64, u64, Vec<String>), String> {
    let mut steps = bed.open().map_err(|error| error.to_string())?;
    while steps.step(Actor::Worker) {}
    let rows = |table: &str| {
        let snapshot = steps.engine().snapshot(DEFAULT_DATABASE, table);
        for part in snapshot.iter().flat_map(|snapshot| snapshot.parts.iter()) {
            part.open()
                .and_then(|file| file.verify(part.meta()))
                .expect("a part as it was written");
        }
        snapshot.map_or(0, |snapshot| snapshot.rows())
    };
    let troubles = steps.engine().shared.apply.tables();
    let troubles = troubles.iter().filter_map(|table| table.progress.trouble());
    Ok((rows("a"), rows("b"), troubles.map(|trouble| trouble.to_string()).collect()))
}

/// Brings a row about, starts, and compares.
fn hold(row: &Row) -> Result<(), String> {
    let bed = (row.bed)();
    (row.make)(&bed);
    let checked = check(&Fs::real(), bed.dir()).map_err(|error| format!("check: {error}"))?;
    let (found, started) = (&checked.findings, start(&bed));
    let said = |names: &[&str], what: &str| names.iter().all(|name| what.contains(name));
    let is_suspended =
        |started: &Result<(u64, u64, Vec<String>), String>| match (row.start, started) {
            (Start::Suspended(a, b, names), Ok((is_a, is_b, troubles))) => {
                (a, b) == (*is_a, *is_b)
                    && troubles.len() == 1
                    && said(names, &troubles[0])
                    && troubles[0].starts_with("CORRUPT WAL")
            }
            _ => false,
        };
    match (row.start, &started) {
        (Start::Whole(a, b), Ok(is)) if (a, b, Vec::new()) == *is && found.is_empty() => {}
        (Start::Unread(a, b, names), Ok(is))
            if (a, b, Vec::new()) == *is && found.iter().any(|f| said(names, &f.what)) => {}
        (Start::Suspended(..), started) if is_suspended(started) && !found.is_empty() => {}
        (Start::Refused(names), Err(error)) if said(names, error) && !found.is_empty() => {}
        _ => return Err(format!("{started:?}, and the check says {found:?}")),
    }
    if matches!(row.start, Start::Whole(..)) {
        return Ok(());
    }
    let is_mendable = found.iter().all(|finding| finding.is_mendable());
    if is_mendable != row.repaired.is_some() {
        return Err(format!("the check offers {found:?}"));
    }
    let before = files(bed.dir());
    let (_, done) = repair(&Fs::real(), bed.dir()).map_err(|error| format!("repair: {error}"))?;
    let Some((a, b)) = row.repaired else {
        // What a newer release wrote is left as it is.
        return if files(bed.dir()) == before { Ok(()) } else { Err(format!("{done:?}")) };
    };
    let again = check(&Fs::real(), bed.dir()).map_err(|error| format!("check: {error}"))?;
    let started = start(&bed);
    match &started {
        Ok((is_a, is_b, troubles))
            if (*is_a, *is_b) == (a, b) && troubles.is_empty() && again.findings.is_empty() => {}
        // What is lost stays lost until somebody gives it up; the segment was there or not, and is kept once.
        started if is_suspended(started) && again.findings == *found && done.len() < 2 => {}
        _ => return Err(format!("{done:?}, then {:?} and {started:?}", again.findings)),
    }
    // Nothing is gone that was there.
    let kept: Vec<Vec<u8>> =
        files(&bed.dir().join("quarantine")).into_iter().map(|(_, bytes)| bytes).collect();
    let is_kept = |bytes: &Vec<u8>| {
        kept.contains(bytes) || files(bed.dir()).iter().any(|(_, is)| is == bytes)
    };
    let gone = before.iter().filter(|(path, bytes)| !is_kept(bytes) && !is_rewritten(path));
    let gone: Vec<&PathBuf> = gone.map(|(path, _)| path).collect();
    if gone.is_empty() || done.iter().any(|said| said.contains("version")) {
        return Ok(());
    }
    Err(format!("{gone:?} are gone: {done:?}"))
}

/// Files that every start writes anew, or cuts room from.
fn is_rewritten(path: &Path) -> bool {
    path.ends_with("identity")
        || path.ends_with("lock")
        || path.parent().is_some_and(|p| p.ends_with("catalog") || p.ends_with("txnlog"))
}

/// All files below a folder with their bytes.
fn files(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push((path.clone(), std::fs::read(&path).unwrap_or_default()));
        }
    }
    found.sort();
    found
}

fn hold_all(rows: Vec<Row>) {
    let failed = rows
        .iter()
        .enumerate()
        .filter_map(|(n, row)| Some(format!("row {} ({n}): {}", row.label, hold(row).err()?)));
    let failed: Vec<String> = failed.collect();
    assert!(failed.is_empty(), "{}", failed.join("\n\n"));
}

#[test]
fn every_row_of_the_segments_table_holds() {
    hold_all(segment_rows());
}

#[test]
fn every_row_of_the_logs_table_holds() {
    hold_all(log_rows());
}

#[test]
fn every_row_of_the_shelves_table_holds() {
    hold_all(shelf_rows());
}

#[test]
fn every_row_of_the_catalogs_table_holds() {
    hold_all(catalog_rows());
}

#[test]
fn a_part_that_is_missing_with_nothing_in_its_place_is_no_sign_of_a_rotten_catalog() {
    let bed = purged_later();
    let log = bed.catalog();
    let len = std::fs::metadata(&log).unwrap().len() as usize;
    resize(&log, len, 300);
    std::fs::remove_file(bed.part()).unwrap();
    let report = check(&Fs::real(), bed.dir()).unwrap();
    let [finding] = &report.findings[..] else { panic!("{:?}", report.findings) };
    assert!(finding.what.contains("part-") && report.cut_short, "row {}: {finding:?}", "C7");
    drop(bed.open().expect("queries of that part fail, and nothing else"));
}

#[test]
fn a_repair_says_which_rows_it_gives_up_below_a_segment_that_is_gone_and_keeps_theirs() {
    let bed = Bed::new(0);
    for n in 0..3 {
        // Each life has a segment of its own.
        bed.begin().rows(&["a"], n..n + 1);
    }
    std::fs::remove_file(bed.frame("a", 2).0).unwrap();
    let kept = bed.frame("a", 1).0;
    flip(&bed.catalog(), 20);
    let (_, done) = repair(&Fs::real(), bed.dir()).unwrap();
    let said = |what: &str| done.iter().any(|said| said.contains(what));
    assert!(said("without 3 rows of table 1, of transactions 3 to 5"), "{done:?}");
    let copy = bed.dir().join("quarantine").join(kept.strip_prefix(bed.dir()).unwrap());
    assert!(copy.exists(), "{done:?}");
}

#[test]
fn a_file_that_the_catalog_does_not_name_goes_at_the_start() {
    let bed = stopped();
    let stray = bed.part().with_file_name("part-1-2-0-9.parquet");
    copy(&bed.part(), &stray);
    assert_eq!(start(&bed), Ok((3, 3, Vec::new())), "row {}", "P1");
    assert!(!stray.exists());
}

#[test]
fn a_folder_below_tables_that_is_not_ours_is_left_alone() {
    let bed = Bed::new(0);
    let (folder, file) = (bed.dir().join("tables/lost+found"), "tables/lost+found/a~1/#12");
    std::fs::create_dir_all(folder.join("a~1")).unwrap();
    std::fs::write(bed.dir().join(file), b"somebody's").unwrap();
    assert_eq!(start(&bed), Ok((0, 0, Vec::new())), "no table is there yet");
    let bed = bed.life(|life| life.rows(BOTH, 0..3));
    assert!(bed.open().expect("a sound folder").close().flushed);
    // A table that the catalog does not name was never finished.
    let (ours, theirs) = (bed.dir().join("tables/c~7"), bed.dir().join("tables/c~07"));
    [&ours, &theirs].into_iter().for_each(|path| std::fs::create_dir(path).unwrap());
    assert_eq!(start(&bed), Ok((3, 3, Vec::new())));
    assert!(!ours.exists() && theirs.exists());
    std::fs::remove_dir_all(bed.dir().join("catalog")).unwrap();
    repair(&Fs::real(), bed.dir()).expect("a new catalog");
    assert_eq!(start(&bed), Ok((3, 3, Vec::new())));
    assert_eq!(std::fs::read(bed.dir().join(file)).unwrap(), b"somebody's");
}

#[test]
fn a_spoiled_part_keeps_nothing_else_from_being_read_and_a_repair_takes_it_out() {
    for (label, spoil) in SPOILED_PARTS {
        let bed = stopped();
        let part = bed.part();
        spoil(&part);
        let name = part.file_name().unwrap().to_str().unwrap();
        let report = check(&Fs::real(), bed.dir()).unwrap();
        let [finding] = &report.findings[..] else { panic!("{label}: {:?}", report.findings) };
        assert!(finding.what.contains(name) && finding.lost[0].contains("3 rows"), "{finding:?}");
        let steps = bed.open().expect("a start does not read parts");
        let snapshot = |table| steps.engine().snapshot(DEFAULT_DATABASE, table).unwrap();
        let read = |table| {
            let parts = snapshot(table).parts.clone();
            parts.iter().try_for_each(|part| part.open()?.verify(part.meta()))
        };
        assert!(read("a").unwrap_err().to_string().contains(name), "{label}");
        read("b").expect("another table");
        drop(steps);
        let (_, done) = repair(&Fs::real(), bed.dir()).unwrap();
        assert_eq!(start(&bed), Ok((0, 3, Vec::new())), "{label}: {done:?}");
        let kept = bed.dir().join("quarantine/tables/a~1/hw_day=1970-01-01").join(name);
        assert_eq!(kept.exists(), label != "P3", "{done:?}");
    }
}

#[test]
fn every_row_of_the_identitys_table_holds() {
    hold_all(identity_rows());
}

/// Copies a folder and all in it.
fn copy_all(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a folder");
    for entry in std::fs::read_dir(from).expect("a folder").flatten() {
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if from.is_dir() { copy_all(&from, &to) } else { copy(&from, &to) }
    }
}

#[test]
fn a_copy_of_a_stopped_servers_folder_is_a_backup() {
    for (bed, rows) in [(stopped(), (3, 3)), (half_flushed(), (3, 3)), (carried(), (3, 3))] {
        let mut restored = Bed::new(0);
        restored.config.data_dir = restored.dir().join("restored");
        copy_all(bed.dir(), &restored.config.data_dir);
        assert_eq!(start(&restored), Ok((rows.0, rows.1, Vec::new())));
        assert_eq!(start(&bed), Ok((rows.0, rows.1, Vec::new())), "the first is as it was");
    }
}

#[test]
fn a_segment_cut_at_any_byte_gives_the_whole_frames_before_and_stops_its_table_there() {
    let bed = only_a();
    let frames: Vec<(PathBuf, Range<usize>)> = (0..3).map(|n| bed.frame("a", n)).collect();
    let (segment, end) = (frames[0].0.clone(), frames[2].1.end);
    let whole = std::fs::read(&segment).expect("the segment");
    // Every seventh byte, and all around the ends of header and frames: a start syncs, and that takes its time.
    let edges: Vec<usize> = frames.iter().flat_map(|(_, place)| [place.start, place.end]).collect();
    let is_near = |at: usize| edges.iter().any(|edge| at.abs_diff(*edge) < 3);
    for len in (0..=end).filter(|len| len % 7 == 0 || is_near(*len)) {
        let cut = Bed::new(0);
        copy_all(bed.dir(), cut.dir());
        let path = cut.dir().join(segment.strip_prefix(bed.dir()).expect("below the folder"));
        std::fs::write(&path, &whole[..len]).expect("the segment");
        let (a, _, troubles) = start(&cut).expect("others go on");
        let expect = frames.iter().filter(|(_, place)| place.end <= len).count();
        assert_eq!(
            (a, troubles.len()),
            (expect as u64, usize::from(expect < 3)),
            "cut at {len}: {troubles:?}"
        );
    }
}
