//! A line costs no allocation once everything is warm: neither in the codec, nor on its way into a batch.

use bytes::BytesMut;
use headwater::clock::Clock;
use headwater::codec::{Item, Limits, LineSplitter, Parser, Precision, Split};
use headwater::engine::{DEFAULT_DATABASE, Engine, EngineConfig, Origin};
use headwater::io::Fs;
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// Counts the allocations of each thread, so that tests beside this one do not show.
struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: every call goes on to the system's allocator unchanged; counting allocates nothing, as the
// thread-local is a plain number without a destructor.
#[allow(unsafe_code, reason = "an allocator that counts can be written in no other way")]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's promises are passed on.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn a_line_costs_no_allocation_once_the_parser_is_warm() {
    let text = include_str!("../data/samples.lp").replace("host=", "ho\\ st=a\\,b\\=");
    let mut parser = Parser::new(Limits::default(), Precision::Nanosecond);
    let mut splitter = LineSplitter::new(Limits::default().line_bytes);
    let mut read = || {
        let (mut rest, mut rows) = (text.as_bytes(), 0);
        while let Split::Line { text, consumed } = splitter.next(rest) {
            rows += usize::from(matches!(parser.parse(text), Ok(Item::Row(_))));
            rest = &rest[consumed..];
        }
        rows
    };
    let expect = read();
    let before = ALLOCATIONS.with(Cell::get);
    assert_eq!((read(), expect), (expect, 80));
    assert_eq!(ALLOCATIONS.with(Cell::get) - before, 0);
}

/// What a session allocates for a text of lines that it has seen twice before.
fn allocations_of(text: &str) -> u64 {
    let dir = tempfile::tempdir().unwrap();
    let engine = Engine::open(EngineConfig::new(dir.path()), Fs::real(), Clock::real()).unwrap();
    let origin = Origin { peer: "test".into(), precision: Precision::Nanosecond };
    let mut session = engine.session(DEFAULT_DATABASE.into(), origin);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(session.ready());
    let mut count = 0;
    for _ in 0..3 {
        let mut buf = BytesMut::from(text);
        let before = ALLOCATIONS.with(Cell::get);
        let taken = session.ingest(&mut buf).unwrap();
        count = ALLOCATIONS.with(Cell::get) - before;
        assert_eq!((taken.lines, taken.rejected), (text.lines().count() as u64, 0));
        let ordinal = session.commit().unwrap();
        runtime.block_on(session.progress().reached(ordinal));
    }
    count
}

/// Lines with five fields each, whose order turns with every line.
fn turning(prefix: &str, series: &str, end: &str) -> String {
    let fields = ["a=1.5", "b=2i", "c=3u", "d=t", "e=\"text\""];
    let line = |n: usize| {
        let mut fields = fields;
        fields.rotate_left(n % 5);
        if n.is_multiple_of(3) {
            fields.swap(1, 3);
        }
        format!("{prefix}{series},host=h{} {} {n}{end}\n", n % 10, fields.join(","))
    };
    (0..1_000).map(line).collect()
}

#[test]
fn lines_of_the_fast_way_cost_a_session_no_allocation_whatever_the_order_of_their_fields() {
    assert_eq!(allocations_of(&turning("", "m", "")), 0);
}

#[test]
fn lines_of_the_general_way_cost_a_session_no_allocation_either() {
    // A leading space and escapes in the tags are not of the fast way.
    assert_eq!(allocations_of(&turning(" ", "m,t\\ =a\\,b", "\r")), 0);
}
