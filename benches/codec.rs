//! The codec on one core, rows built into columns, beside the parser that InfluxDB 3 uses and beside
//! a newline count, which no reader can beat.
//!
//! Workloads: `cpu` is TSBS cpu-only (10 tags, 10 integers); `telegraf` has its cpu and mem inputs
//! with the fields in random order; `iot` has sparse floats and some strings; `cardinality` brings a
//! new tag set with every line. Every reader checks UTF-8 and numbers, knows a series by its raw
//! bytes, and appends each value to its column.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use foldhash::fast::FixedState;
use hashbrown::{HashMap, HashSet};
use headwater::codec::grammar::{self, Rules, Value};
use headwater::codec::{
    Cursor, FieldValue, Item, Limits, LineSplitter, Next, Parser, Precision, Split,
};
use std::fmt::Write;
use std::hint::black_box;

const LINES: usize = 4_000;
const HOSTS: u64 = 1_000;
const REGIONS: [&str; 4] = ["eu-central-1", "us-west-2", "ap-southeast-1", "sa-east-1"];

/// A small generator, so that a run needs no seed and no crate (SplitMix64).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }

    fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i as u64 + 1) as usize);
        }
    }
}

fn time(line: usize) -> i64 {
    1_763_769_600_000_000_000 + line as i64 * 1_000_003
}

fn cpu_tags(random: &mut Random, host: u64) -> String {
    let region = REGIONS[(host % 4) as usize];
    format!(
        "cpu,hostname=host_{host},region={region},datacenter={region}a,rack={},os=Ubuntu15.10,arch=x86,\
         team=SF,service={},service_version={},service_environment=test",
        host % 100,
        random.below(20),
        host % 2
    )
}

fn cpu(hosts: u64) -> String {
    let random = &mut Random(1);
    const FIELDS: [&str; 10] = [
        "user",
        "system",
        "idle",
        "nice",
        "iowait",
        "irq",
        "softirq",
        "steal",
        "guest",
        "guest_nice",
    ];
    let tags: Vec<String> =
        (0..hosts.min(LINES as u64)).map(|host| cpu_tags(random, host)).collect();
    let mut text = String::new();
    for line in 0..LINES {
        text += &tags[line % tags.len()];
        for (i, field) in FIELDS.iter().enumerate() {
            let separator = if i == 0 { ' ' } else { ',' };
            let value = random.below(100);
            write!(text, "{separator}usage_{field}={value}i").expect("a String takes all");
        }
        writeln!(text, " {}", time(line)).expect("a String takes all");
    }
    text
}

fn telegraf() -> String {
    let random = &mut Random(2);
    let usage = [
        "active",
        "guest",
        "guest_nice",
        "idle",
        "iowait",
        "irq",
        "nice",
        "softirq",
        "steal",
        "system",
        "user",
    ];
    let mem = [
        "active",
        "available",
        "buffered",
        "cached",
        "commit_limit",
        "dirty",
        "free",
        "inactive",
        "mapped",
        "shared",
        "slab",
        "swap_free",
        "total",
        "used",
        "write_back",
    ];
    let mut text = String::new();
    for line in 0..LINES {
        let host = random.below(50);
        let mut fields: Vec<String> = if line % 4 == 0 {
            mem.iter().map(|f| format!("{f}={}i", random.below(1 << 34))).collect()
        } else {
            let share = |f| {
                format!("usage_{f}={}", random.below(1 << 50) as f64 / (1_u64 << 50) as f64 * 100.0)
            };
            usage.iter().map(share).collect()
        };
        random.shuffle(&mut fields);
        let series = if line % 4 == 0 {
            format!("mem,host=worker-{host:02}")
        } else {
            format!("cpu,cpu=cpu{},host=worker-{host:02}", line % 8)
        };
        writeln!(text, "{series} {} {}", fields.join(","), time(line)).expect("a String takes all");
    }
    text
}

fn iot() -> String {
    let random = &mut Random(3);
    let names = [
        "load_capacity",
        "fuel_capacity",
        "nominal_fuel_consumption",
        "fuel_state",
        "current_load",
        "velocity",
    ];
    let mut text = String::new();
    for line in 0..LINES {
        let truck = random.below(HOSTS);
        let mut fields: Vec<String> = Vec::new();
        for name in names {
            if random.below(3) > 0 {
                fields.push(format!("{name}={}", random.below(20_000) as f64 / 10.0));
            }
        }
        fields.push(format!("status={}i", random.below(6)));
        if line % 5 == 0 {
            fields.push("note=\"late, by the ferry\"".to_owned());
        }
        let at = time(line) - random.below(1 << 40) as i64;
        writeln!(
            text,
            "readings,name=truck_{truck},fleet=West,driver=Seth,model=H-2,device_version=v1.5 {} {at}",
            fields.join(","),
        )
        .expect("a String takes all");
    }
    text
}

#[derive(Debug)]
enum Values {
    Float(Vec<f64>),
    Integer(Vec<i64>),
    Unsigned(Vec<u64>),
    Boolean(Vec<bool>),
    /// Strings, or arrays.
    Bytes(Vec<u8>),
}

impl Values {
    fn of(value: &FieldValue<'_>) -> Values {
        match value {
            FieldValue::Float(_) => Values::Float(Vec::new()),
            FieldValue::Integer(_) | FieldValue::Timestamp(_) => Values::Integer(Vec::new()),
            FieldValue::Unsigned(_) => Values::Unsigned(Vec::new()),
            FieldValue::Boolean(_) => Values::Boolean(Vec::new()),
            FieldValue::String(_) | FieldValue::Array(_) => Values::Bytes(Vec::new()),
        }
    }

    fn push(&mut self, value: FieldValue<'_>) {
        match (self, value) {
            (Values::Float(to), FieldValue::Float(v)) => to.push(v),
            (Values::Integer(to), FieldValue::Integer(v)) => to.push(v),
            (Values::Unsigned(to), FieldValue::Unsigned(v)) => to.push(v),
            (Values::Boolean(to), FieldValue::Boolean(v)) => to.push(v),
            (Values::Bytes(to), FieldValue::String(v)) => to.extend_from_slice(v.as_bytes()),
            (Values::Bytes(to), FieldValue::Array(v)) => to.extend_from_slice(v.as_bytes()),
            (column, value) => panic!("{value:?} in {column:?}"),
        }
    }

    /// The next value of a line into the column of its type; false where the cursor gives up.
    fn read(&mut self, cursor: &mut Cursor<'_>) -> bool {
        match self {
            Values::Float(to) => cursor.float().map(|v| to.push(v)).is_some(),
            Values::Integer(to) => cursor.integer().map(|v| to.push(v)).is_some(),
            Values::Unsigned(to) => cursor.unsigned().map(|v| to.push(v)).is_some(),
            Values::Boolean(to) => cursor.boolean().map(|v| to.push(v)).is_some(),
            Values::Bytes(to) => {
                cursor.string().map(|v| to.extend_from_slice(v.as_bytes())).is_some()
            }
        }
    }

    fn clear(&mut self) {
        match self {
            Values::Float(to) => to.clear(),
            Values::Integer(to) => to.clear(),
            Values::Unsigned(to) => to.clear(),
            Values::Boolean(to) => to.clear(),
            Values::Bytes(to) => to.clear(),
        }
    }
}

#[derive(Default)]
struct Table {
    columns: Vec<(Box<[u8]>, Values)>,
    names: HashMap<Box<[u8]>, usize, FixedState>,
    tags: HashSet<Box<[u8]>, FixedState>,
    rows: Vec<(u32, i64)>,
}

/// Columns under construction, as a session keeps them.
#[derive(Default)]
struct Store {
    series: HashMap<Box<[u8]>, (usize, u32), FixedState>,
    names: HashMap<String, usize, FixedState>,
    tables: Vec<Table>,
}

impl Store {
    fn series(&mut self, key: &[u8], measurement: &str) -> (usize, u32) {
        if let Some(&known) = self.series.get(key) {
            return known;
        }
        let table = *self.names.entry_ref(measurement).or_insert_with(|| {
            self.tables.push(Table::default());
            self.tables.len() - 1
        });
        let number = self.series.len() as u32;
        self.series.insert(key.into(), (table, number));
        (table, number)
    }

    fn clear(&mut self) {
        for table in &mut self.tables {
            table.rows.clear();
            table.columns.iter_mut().for_each(|column| column.1.clear());
        }
    }

    fn fast(&mut self, parser: &mut Parser, line: &[u8]) -> Option<()> {
        let mut cursor = parser.cursor(line);
        let key = cursor.series()?;
        if let Some(&(table, series)) = self.series.get(key) {
            return self.tables[table].fast(series, cursor);
        }
        let line = parser.series(key)?;
        let &table = self.names.get(line.measurement)?;
        let rows = &mut self.tables[table];
        let known = |tag: &(&str, &str)| rows.tags.contains(tag.0.as_bytes());
        if !line.tags.iter().all(known) {
            return None;
        }
        let number = self.series.len() as u32;
        rows.fast(number, cursor)?;
        self.series.insert(key.into(), (table, number));
        Some(())
    }
}

impl Table {
    fn fast(&mut self, series: u32, mut cursor: Cursor<'_>) -> Option<()> {
        let table = self;
        let mut expected = 0;
        let time = loop {
            let column = match table.columns.get(expected) {
                Some(column) if cursor.expect_key(&column.0) => expected,
                _ => *table.names.get(cursor.key()?)?,
            };
            if !table.columns[column].1.read(&mut cursor) {
                return None;
            }
            expected = column + 1;
            match cursor.next() {
                Next::Field => {}
                Next::Timestamp => break cursor.timestamp()?,
                Next::End => break 0,
                Next::Odd => return None,
            }
        };
        table.rows.push((series, time));
        Some(())
    }

    fn push(&mut self, name: &str, value: FieldValue<'_>) {
        let column = match self.names.get(name.as_bytes()) {
            Some(&column) => column,
            None => {
                self.columns.push((name.as_bytes().into(), Values::of(&value)));
                self.names.insert(name.as_bytes().into(), self.columns.len() - 1);
                self.columns.len() - 1
            }
        };
        self.columns[column].1.push(value);
    }
}

fn by_parser(store: &mut Store, parser: &mut Parser, text: &[u8]) {
    let Ok(Item::Row(line)) = parser.parse(text) else { panic!("a line of a workload is a row") };
    let (table, series) = store.series(line.series, line.measurement);
    let table = &mut store.tables[table];
    for &(key, _) in line.tags {
        if !table.tags.contains(key.as_bytes()) {
            table.tags.insert(key.as_bytes().into());
        }
    }
    for &(name, value) in line.fields {
        table.push(name, value);
    }
    table.rows.push((series, line.timestamp.unwrap_or(0)));
}

/// The way of a session: the fast path, and the general one where it gives up.
fn cursor(store: &mut Store, parser: &mut Parser, text: &[u8]) {
    store.clear();
    let mut rest = text;
    while let Some(end) = memchr::memchr(b'\n', rest) {
        let line = &rest[..end];
        if store.fast(parser, line).is_none() {
            by_parser(store, parser, line);
        }
        rest = &rest[end + 1..];
    }
}

fn parser_alone(store: &mut Store, parser: &mut Parser, text: &[u8]) {
    store.clear();
    let mut splitter = LineSplitter::new(Limits::default().line_bytes);
    let mut rest = text;
    while let Split::Line { text, consumed } = splitter.next(rest) {
        by_parser(store, parser, text);
        rest = &rest[consumed..];
    }
}

fn by_grammar(store: &mut Store, text: &[u8]) {
    store.clear();
    for line in text.split(|&b| b == b'\n').filter(|line| !line.is_empty()) {
        let Some(Some(row)) = grammar::read(line, Rules::default()) else { panic!("a row") };
        let series = line.split(|&b| b == b' ').next().unwrap_or_default();
        let (table, series) = store.series(series, &row.measurement);
        for (name, value) in &row.fields {
            store.tables[table].push(
                name,
                match value {
                    Value::Float(v) => FieldValue::Float(*v),
                    Value::Integer(v) | Value::Timestamp(v) => FieldValue::Integer(*v),
                    Value::Unsigned(v) => FieldValue::Unsigned(*v),
                    Value::Boolean(v) => FieldValue::Boolean(*v),
                    Value::String(v) => FieldValue::String(v),
                    Value::Array(_) => panic!("no workload has arrays"),
                },
            );
        }
        store.tables[table].rows.push((series, row.timestamp.unwrap_or(0)));
    }
}

fn by_influxdb(store: &mut Store, text: &[u8]) {
    use influxdb_line_protocol::FieldValue as Their;
    store.clear();
    let text = std::str::from_utf8(text).expect("a workload is UTF-8");
    for line in influxdb_line_protocol::parse_lines(text) {
        let line = line.expect("a line of a workload is a row");
        // Their series is a slice of the text, but they do not show it whole.
        let measurement = line.series.measurement.as_str();
        let start = measurement.as_ptr().addr() - text.as_ptr().addr();
        let end = memchr::memchr(b' ', &text.as_bytes()[start..]).expect("fields follow");
        let (table, series) = store.series(&text.as_bytes()[start..start + end], measurement);
        let table = &mut store.tables[table];
        for (name, value) in &line.field_set {
            table.push(
                name.as_str(),
                match value {
                    Their::I64(v) => FieldValue::Integer(*v),
                    Their::U64(v) => FieldValue::Unsigned(*v),
                    Their::F64(v) => FieldValue::Float(*v),
                    Their::Boolean(v) => FieldValue::Boolean(*v),
                    Their::String(v) => FieldValue::String(v.as_str()),
                },
            );
        }
        table.rows.push((series, line.timestamp.unwrap_or(0)));
    }
}

fn bench(c: &mut Criterion) {
    let workloads = [
        ("cpu", cpu(HOSTS)),
        ("telegraf", telegraf()),
        ("iot", iot()),
        ("cardinality", cpu(u64::MAX)),
    ];
    for (name, text) in workloads {
        let bytes = text.as_bytes();
        let fresh = name == "cardinality";
        let mut group = c.benchmark_group(name);
        group.throughput(Throughput::Bytes(bytes.len() as u64));
        group.sample_size(20);
        let mut parser = Parser::new(Limits::default(), Precision::Nanosecond);
        let mut measure = |way: &str, run: &mut dyn FnMut(&mut Store)| {
            let mut store = Store::default();
            group.bench_function(BenchmarkId::from_parameter(way), |b| {
                b.iter(|| {
                    if fresh {
                        store.series.clear();
                    }
                    run(&mut store);
                    black_box(&mut store);
                });
            });
        };
        measure("cursor", &mut |store| cursor(store, &mut parser, bytes));
        measure("parser", &mut |store| parser_alone(store, &mut parser, bytes));
        measure("grammar", &mut |store| by_grammar(store, bytes));
        measure("influxdb-line-protocol", &mut |store| by_influxdb(store, bytes));
        measure("newlines", &mut |_| {
            black_box(memchr::memchr_iter(b'\n', black_box(bytes)).count());
        });
        group.finish();
    }
}

criterion_group!(benches, bench);
criterion_main!(benches);
