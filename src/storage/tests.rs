//! Rows through runs, tails, parts and merges, against a model that sorts a list.

use super::part_reader::PartReader;
use super::*;
use crate::io::Fs;
use crate::io::sim::SimDisk;
use crate::schema::{ColumnDef, TableDef, TableOptions};
use crate::types::{ColumnId, ColumnType, PartitionBy, SeqTxn, TableId};
use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Float64Array, Float64Builder, Int64Array, ListArray,
    ListBuilder, StringArray, UInt64Array,
};
use arrow::datatypes::{
    DataType, Field, Float64Type, Int64Type, TimestampNanosecondType, UInt64Type,
};
use arrow::record_batch::RecordBatch;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::file::reader::{FileReader, SerializedFileReader};
use proptest::prelude::*;
use std::path::Path;
use std::sync::Arc;

/// One row of a table with a column of every type.
#[derive(Clone, PartialEq, Debug, Default)]
struct Row {
    time: i64,
    host: Option<String>,
    region: Option<String>,
    float: Option<f64>,
    integer: Option<i64>,
    unsigned: Option<u64>,
    boolean: Option<bool>,
    text: Option<String>,
    array: Option<Vec<i64>>,
}

const HOST: ColumnId = ColumnId(1);
const REGION: ColumnId = ColumnId(2);
/// Ids have a gap where another connection's column was claimed and never logged.
const FIELDS: [(u32, &str, ColumnType); 7] = [
    (4, "float", ColumnType::Float),
    (5, "integer", ColumnType::Integer),
    (6, "unsigned", ColumnType::Unsigned),
    (7, "boolean", ColumnType::Boolean),
    (8, "text", ColumnType::String),
    (10, "array", ColumnType::Array),
    (9, "unused", ColumnType::Float),
];

fn schema() -> Arc<TableSchema> {
    let tag = |id, name: &str| ColumnDef { id, name: name.into(), ty: ColumnType::Tag };
    let field = |&(id, name, ty): &(u32, &str, ColumnType)| ColumnDef {
        id: ColumnId(id),
        name: name.into(),
        ty,
    };
    let columns = FIELDS.iter().map(field).chain([tag(REGION, "region"), tag(HOST, "host")]);
    let def = TableDef {
        id: TableId(3),
        database: "public".into(),
        name: "cpu/\u{e9} load".into(),
        partition_by: PartitionBy::Day,
        time_column: "time".into(),
        time_place: u32::MAX,
        created: 0,
        options: TableOptions::default(),
    };
    Arc::new(TableSchema::new(def, columns.collect()))
}

/// Rows as apply would decode them. A column without any value is left out, as a frame does.
fn rows(model: &[Row], series: &SeriesSet) -> Rows {
    let intern = |row: &Row| {
        let tags = [(HOST, &row.host), (REGION, &row.region)];
        let set: Vec<(ColumnId, &str)> =
            tags.iter().filter_map(|(id, v)| Some((*id, v.as_deref()?))).collect();
        series.intern(&set)
    };
    let arrays: [ArrayRef; 6] = [
        Arc::new(Float64Array::from_iter(model.iter().map(|r| r.float))),
        Arc::new(Int64Array::from_iter(model.iter().map(|r| r.integer))),
        Arc::new(UInt64Array::from_iter(model.iter().map(|r| r.unsigned))),
        Arc::new(BooleanArray::from_iter(model.iter().map(|r| r.boolean))),
        Arc::new(StringArray::from_iter(model.iter().map(|r| r.text.as_deref()))),
        Arc::new(lists(model)),
    ];
    let columns = FIELDS.iter().zip(arrays).filter(|(_, a)| a.null_count() < a.len());
    Rows {
        time: model.iter().map(|r| r.time).collect(),
        series: model.iter().map(intern).collect(),
        // Backwards: the order of columns must not matter.
        columns: columns.map(|((id, ..), array)| (ColumnId(*id), array)).rev().collect(),
    }
}

fn lists(model: &[Row]) -> ListArray {
    let field = Field::new_list_field(DataType::Float64, false);
    let mut lists = ListBuilder::new(Float64Builder::new()).with_field(field);
    for row in model {
        let elements = row.array.as_ref().map(|a| a.iter().map(|&element| Some(element as f64)));
        lists.append_option(elements);
    }
    lists.finish()
}

fn list(batch: &RecordBatch, row: usize) -> Option<Vec<i64>> {
    let lists = batch.column_by_name("array")?.as_list::<i32>();
    let elements = |list: ArrayRef| {
        list.as_primitive::<Float64Type>().values().iter().map(|&element| element as i64).collect()
    };
    lists.is_valid(row).then(|| elements(lists.value(row)))
}

fn from_batch(batch: &RecordBatch) -> Vec<Row> {
    let text = |name: &str| -> Vec<Option<String>> {
        let Some(array) = batch.column_by_name(name) else { return vec![None; batch.num_rows()] };
        let array = arrow::compute::cast(array, &DataType::Utf8).unwrap();
        array.as_string::<i32>().iter().map(|v| v.map(str::to_owned)).collect()
    };
    let (host, region, string) = (text("host"), text("region"), text("text"));
    macro_rules! value {
        ($as:ident $(::<$t:ty>)?, $name:literal, $n:expr) => {
            batch.column_by_name($name).and_then(|a| {
                let a = a.$as$(::<$t>)?();
                a.is_valid($n).then(|| a.value($n))
            })
        };
    }
    (0..batch.num_rows())
        .map(|n| Row {
            time: value!(as_primitive::<TimestampNanosecondType>, "time", n).unwrap(),
            host: host[n].clone(),
            region: region[n].clone(),
            float: value!(as_primitive::<Float64Type>, "float", n),
            integer: value!(as_primitive::<Int64Type>, "integer", n),
            unsigned: value!(as_primitive::<UInt64Type>, "unsigned", n),
            boolean: value!(as_boolean, "boolean", n),
            text: string[n].clone(),
            array: list(batch, n),
        })
        .collect()
}

fn read_part(path: &Path) -> Vec<Row> {
    let file = PartFile::open(&Fs::real(), path).unwrap();
    let batches = ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap();
    batches.flat_map(|batch| from_batch(&batch.unwrap())).collect()
}

/// What the rows of a run are, through the batch that queries see.
fn read_run(run: &Run, series: &SeriesSet) -> Vec<Row> {
    from_batch(&run.to_batch(&schema(), series, None).unwrap())
}

fn sorted(model: &[Row]) -> Vec<Row> {
    let mut model = model.to_vec();
    model.sort_by_key(|row| row.time);
    model
}

/// One run of rows that all fall into the first day.
fn run_of(model: &[Row], series: &SeriesSet, txn: u64) -> Arc<Run> {
    let mut runs = rows(model, series).into_runs(PartitionBy::Day, SeqTxn(txn), SeqTxn(txn));
    assert_eq!(runs.len(), 1);
    Arc::new(runs.remove(0).1)
}

struct Place {
    _temporary: tempfile::TempDir,
    dir: Arc<TableDir>,
}

fn place() -> Place {
    let temporary = tempfile::tempdir().unwrap();
    let dir = TableDir::new(&Fs::real(), temporary.path(), schema().shape());
    Place { _temporary: temporary, dir }
}

fn write(dir: &Arc<TableDir>, runs: &[Arc<Run>], series: &Arc<SeriesSet>) -> Arc<Part> {
    let key = PartitionBy::Day.key(runs[0].min_time());
    Arc::new(Part::new(dir, write_part(dir, &schema(), key, runs, series, PartSync::Own).unwrap()))
}

fn word() -> impl Strategy<Value = Option<String>> {
    prop::option::of(prop::sample::select(vec!["", "a", "b", "\u{1f30a} water", "a,b=c d\\"]))
        .prop_map(|word| word.map(str::to_owned))
}

prop_compose! {
    fn any_row()(
        time in 0_i64..50,
        (host, region, text) in (word(), word(), word()),
        float in prop::option::of(any::<i32>().prop_map(|n| f64::from(n) / 7.0)),
        integer in prop::option::of(any::<i64>()),
        unsigned in prop::option::of(any::<u64>()),
        boolean in prop::option::of(any::<bool>()),
        array in prop::option::of(prop::collection::vec(-9_i64..9, 0..4)),
    ) -> Row {
        Row { time, host, region, float, integer, unsigned, boolean, text, array }
    }
}

fn any_commits() -> impl Strategy<Value = Vec<Vec<Row>>> {
    prop::collection::vec(prop::collection::vec(any_row(), 1..40), 1..20)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn runs_tails_parts_and_merged_parts_all_hold_the_stable_sort_of_what_arrived(
        commits in any_commits(),
        (a, b) in (any::<prop::sample::Index>(), any::<prop::sample::Index>()),
    ) {
        let expect = sorted(&commits.concat());
        let Place { dir, _temporary } = place();
        let (mut tail, mut parts, mut runs) = (Tail::default(), Vec::new(), Vec::new());
        // Each stretch of commits is a generation: a series set and a part of its own.
        let mut cuts = [0, a.index(commits.len()), b.index(commits.len()), commits.len()];
        cuts.sort_unstable();
        for (n, commit) in commits.iter().enumerate() {
            let run = run_of(commit, tail.series(), n as u64 + 1);
            tail = tail.with(vec![(PartitionBy::Day.key(0), Run::clone(&run))]);
            runs.push(run);
        }
        let merged = Run::merge(&runs.iter().map(|r| &**r).collect::<Vec<_>>());
        prop_assert_eq!(read_run(&merged, tail.series()), expect.clone());
        prop_assert_eq!(tail.rows(), expect.len() as u64);
        let held = &tail.partitions()[&PartitionBy::Day.key(0)];
        prop_assert!(held.windows(2).all(|r| r[0].last_txn() < r[1].first_txn()));
        let whole = write(&dir, held, tail.series());
        prop_assert_eq!(read_part(&whole.path()), expect.clone());
        for cut in cuts.windows(2).filter(|c| c[0] < c[1]) {
            let series = Arc::new(SeriesSet::default());
            let runs: Vec<Arc<Run>> =
                (cut[0]..cut[1]).map(|n| run_of(&commits[n], &series, n as u64 + 1)).collect();
            parts.push(write(&dir, &runs, &series));
        }
        let meta = merge_parts(&dir, &schema(), &parts, &|_| false).unwrap();
        prop_assert_eq!(&meta.columns, &whole.meta().columns);
        prop_assert_eq!(meta.rows, expect.len() as u64);
        prop_assert_eq!((meta.min_time, meta.max_time), (expect[0].time, expect[expect.len() - 1].time));
        prop_assert_eq!(read_part(&dir.part_path(&meta.id)), expect);
    }

    #[test]
    fn rows_are_cut_into_the_partitions_they_belong_to(
        times in prop::collection::vec(any::<i64>().prop_map(|t| t / 1_000_000), 1..60),
        by in prop::sample::select(vec![PartitionBy::Hour, PartitionBy::Week, PartitionBy::Year]),
    ) {
        let model: Vec<Row> = times.iter().zip(0..).map(|(&time, n)| Row { time, integer: Some(n), ..Row::default() }).collect();
        let series = Arc::new(SeriesSet::default());
        let runs = rows(&model, &series).into_runs(by, SeqTxn(1), SeqTxn(1));
        prop_assert!(runs.windows(2).all(|r| r[0].0 < r[1].0));
        let mut got = Vec::new();
        for (key, run) in &runs {
            prop_assert!(run.time().iter().all(|&t| by.key(t) == *key));
            got.extend(read_run(run, &series));
        }
        prop_assert_eq!(got, sorted(&model));
    }
}

#[test]
fn the_first_and_the_last_nanosecond_have_partitions() {
    for by in [PartitionBy::Hour, PartitionBy::Day, PartitionBy::Week, PartitionBy::Month] {
        let model = [i64::MAX, i64::MIN, 0].map(|time| Row { time, ..Row::default() });
        let runs = rows(&model, &SeriesSet::default()).into_runs(by, SeqTxn(1), SeqTxn(1));
        assert_eq!(runs.iter().map(|(_, run)| run.rows()).sum::<usize>(), 3, "{by}");
    }
}

#[test]
fn a_column_that_came_later_is_null_in_earlier_runs() {
    let series = Arc::new(SeriesSet::default());
    let old = Row { time: 1, integer: Some(1), ..Row::default() };
    let new = Row { time: 0, float: Some(0.5), host: Some("h".into()), ..Row::default() };
    let one = std::slice::from_ref;
    let runs = [run_of(one(&old), &series, 1), run_of(one(&new), &series, 2)];
    assert_eq!(read_run(&runs[0], &series), one(&old));
    let merged = Run::merge(&[&runs[0], &runs[1]]);
    assert_eq!(read_run(&merged, &series), [new, old]);
    let time_and_host = merged.to_batch(&schema(), &series, Some(&[9, 0])).unwrap();
    assert_eq!(time_and_host.schema().field(0).name(), "time");
    assert_eq!(time_and_host.schema().field(1).name(), "host");
    assert_eq!(merged.to_batch(&schema(), &series, Some(&[])).unwrap().num_rows(), 2);
}

#[test]
fn a_part_of_two_row_groups_with_many_distinct_tags_and_values_reads_back() {
    let many = 1_100_000;
    let model: Vec<Row> = (0..many)
        .map(|n| Row {
            time: n / 3,
            host: (n % 1000 != 0).then(|| format!("host-{}", n % 70_001)),
            integer: Some(n * 7_919),
            text: (n % 11 == 0).then(|| n.to_string()),
            array: (n % 5 == 0).then(|| (0..n % 4).collect()),
            ..Row::default()
        })
        .collect();
    let series = Arc::new(SeriesSet::default());
    let Place { dir, _temporary } = place();
    let halves = model.split_at(600_000);
    let runs = [run_of(halves.0, &series, 1), run_of(halves.1, &series, 2)];
    let whole = write(&dir, &runs, &series);
    assert!(read_part(&whole.path()) == model);
    let parts = [write(&dir, &runs[..1], &series), write(&dir, &runs[1..], &series)];
    let merged = merge_parts(&dir, &schema(), &parts, &|_| false).unwrap();
    assert_eq!((merged.rows, merged.id.level), (1_100_000, 1));
    assert!(read_part(&dir.part_path(&merged.id)) == model);
    let footer = footer(&dir.part_path(&merged.id));
    assert_eq!(footer.num_row_groups(), 2);
    let host = footer.metadata().row_group(0).column(0);
    let statistics = host.statistics().unwrap();
    assert_eq!(statistics.distinct_count_opt(), Some(70_001));
    assert_eq!(statistics.min_bytes_opt(), Some(b"host-0".as_slice()));
    assert_eq!(statistics.max_bytes_opt(), Some(b"host-9999".as_slice()));
}

fn footer(path: &Path) -> SerializedFileReader<PartFile> {
    SerializedFileReader::new(PartFile::open(&Fs::real(), path).unwrap()).unwrap()
}

#[test]
fn a_part_says_what_it_holds() {
    let series = Arc::new(SeriesSet::default());
    let model = [Row { host: Some("h".into()), boolean: Some(true), ..Row::default() }];
    let Place { dir, _temporary } = place();
    let part = write(&dir, &[run_of(&model, &series, 5)], &series);
    assert_eq!(part.meta().columns, [ColumnId(1), ColumnId(7)]);
    assert!(part.path().ends_with("cpu___load~3/hw_day=1970-01-01/part-5-5-0-0.parquet"));
    let footer = footer(&part.path());
    let descr = footer.metadata().file_metadata().schema_descr();
    let ids: Vec<(String, i32)> = descr
        .root_schema()
        .get_fields()
        .iter()
        .map(|f| (f.name().to_owned(), f.get_basic_info().id()))
        .collect();
    let expect = [("host", 1), ("boolean", 7), ("time", 0)];
    assert_eq!(ids, expect.map(|(name, id)| (name.to_owned(), id)));
    let pairs = footer.metadata().file_metadata().key_value_metadata().unwrap();
    let get = |key: &str| pairs.iter().find(|p| p.key == key).unwrap().value.clone().unwrap();
    assert_eq!(get("headwater.table"), "cpu/\u{e9} load");
    assert_eq!((get("headwater.table_id"), get("headwater.first_txn")), ("3".into(), "5".into()));
    let order = footer.metadata().row_group(0).sorting_columns().unwrap();
    assert_eq!((order[0].column_idx, order[0].descending), (2, false));
}

#[test]
fn a_removed_parts_file_lives_as_long_as_a_snapshot_holds_it() {
    let series = Arc::new(SeriesSet::default());
    let Place { dir, _temporary } = place();
    let model = [Row { integer: Some(1), ..Row::default() }];
    let part = write(&dir, &[run_of(&model, &series, 1)], &series);
    let path = part.path();
    let schema = schema();
    let parts: Arc<[Arc<Part>]> = vec![part].into();
    let first = Snapshot::flushed(schema.clone(), parts.clone(), SeqTxn(1));
    let store = TableStore::new(dir.clone(), first);
    let snapshot = store.load();
    let exists = || Fs::real().exists(&path).unwrap();
    store.store(Snapshot::flushed(schema, Vec::new().into(), SeqTxn(1)));
    parts[0].mark_removed();
    drop(parts);
    assert!(exists() && read_part(&path) == model);
    drop(snapshot);
    assert!(!exists());
    dir.mark_dropped();
    let folder = dir.path().to_owned();
    drop((store, dir));
    assert!(!Fs::real().exists(&folder).unwrap());
}

#[test]
fn a_part_that_is_not_whole_is_refused_and_an_unfinished_one_leaves_nothing() {
    let series = Arc::new(SeriesSet::default());
    let Place { dir, _temporary } = place();
    let run = run_of(&[Row { integer: Some(1), ..Row::default() }], &series, 1);
    let part = write(&dir, &[run], &series);
    let merge = |is_stopping: bool| {
        merge_parts(&dir, &schema(), std::slice::from_ref(&part), &|_| is_stopping)
    };
    let folder = part.path().parent().unwrap().to_owned();
    assert!(matches!(merge(true), Err(StorageError::Stopped)));
    assert_eq!(Fs::real().list(&folder).unwrap().len(), 1);
    Fs::real().open(&part.path()).unwrap().write_all_at(&[0xff], 20).unwrap();
    assert!(matches!(merge(false), Err(StorageError::DamagedPart { .. })));
    assert_eq!(Fs::real().list(&folder).unwrap().len(), 1);
    assert!(PartReader::open(&part, 10).is_err());
}

#[test]
fn a_part_that_cannot_be_read_in_the_midst_of_its_batches_is_not_taken_for_damaged() {
    let disk = SimDisk::new(1);
    let dir = TableDir::new(&disk.fs(), Path::new("/tables"), schema().shape());
    let series = Arc::new(SeriesSet::default());
    let model = (0..100).map(|n| Row { time: n, float: Some(n as f64), ..Row::default() });
    let run = run_of(&model.collect::<Vec<_>>(), &series, 1);
    let part = write(&dir, &[run], &series);
    // All but the footer, which is read first.
    disk.make_unreadable(&part.path(), 4..100).unwrap();
    let error = PartReader::open_columns(&part, 10, None, false).unwrap_err();
    let StorageError::Io(error) = &error else { panic!("{error:?}") };
    assert_eq!(error.path, part.path());
    disk.make_unreadable(&part.path(), 0..0).unwrap();
    assert!(PartReader::open_columns(&part, 10, None, false).is_ok());
}

#[test]
fn what_the_catalog_does_not_name_goes_at_a_start() {
    let series = Arc::new(SeriesSet::default());
    let Place { dir, _temporary } = place();
    let run = run_of(&[Row { integer: Some(1), ..Row::default() }], &series, 1);
    let parts = [write(&dir, std::slice::from_ref(&run), &series), write(&dir, &[run], &series)];
    assert_eq!(parts[1].meta().id.attempt, 1, "the name of the first is taken");
    let fs = Fs::real();
    let tables = _temporary.path();
    fs.create_dir_all(&tables.join("gone~1/hw_day=2026-11-22")).unwrap();
    let (catalog, _) = Catalog::open(&fs, &tables.join("catalog"), [1; 16], 1).unwrap();
    let (table, flushed_txn) = (TableId(3), SeqTxn(1));
    let named = vec![parts[0].meta().clone()];
    let edits = vec![
        Edit::Create(schema().def().clone()),
        Edit::Flush { table, parts: named, flushed_txn },
    ];
    catalog.commit(edits).unwrap();
    let state = Catalog::read(&fs, &tables.join("catalog")).unwrap().unwrap();
    fs.remove_dir_all(&tables.join("catalog")).unwrap();
    assert_eq!(remove_orphans(&fs, tables, &state).unwrap(), 2);
    assert!(fs.exists(&parts[0].path()).unwrap() && !fs.exists(&parts[1].path()).unwrap());
    assert_eq!(remove_orphans(&fs, tables, &state).unwrap(), 0);
}

#[test]
fn many_one_row_commits_leave_few_runs() {
    let mut tail = Tail::default();
    for n in 0..5_000 {
        let row = Row { time: n % 97, integer: Some(n), ..Row::default() };
        let run = run_of(&[row], tail.series(), n.unsigned_abs() + 1);
        tail = tail.with(vec![(PartitionBy::Day.key(0), Run::clone(&run))]);
        let runs = &tail.partitions()[&PartitionBy::Day.key(0)];
        assert!(runs.len() <= 7 * 5, "{} runs after {n}", runs.len());
    }
    assert_eq!(tail.rows(), 5_000);
    assert_eq!(tail.txns(), Some((SeqTxn(1), SeqTxn(5_000))));
    let bytes: u64 = tail.partitions().values().flat_map(|r| r.iter()).map(|r| r.bytes()).sum();
    assert_eq!(tail.bytes(), bytes + tail.series().bytes());
    assert!(tail.retain(|_| false).is_empty());
}

/// Where the golden part of version 1 is, below the folder that stands for its table's.
const GOLDEN: &str = "tests/fixtures/part-v1/hw_day=1970-01-01/part-5-6-0-0.parquet";

/// Every type with and without values, rows of two transactions that meet in time, and tags that not every row has.
fn golden_part(dir: &Arc<TableDir>) -> Arc<Part> {
    let series = Arc::new(SeriesSet::default());
    let text = |text: &str| Some(text.to_owned());
    let first = [
        Row {
            time: 1,
            host: text("a"),
            float: Some(-0.5),
            integer: Some(i64::MIN),
            ..Row::default()
        },
        Row {
            time: 3,
            host: text("b"),
            region: text("z\u{fc}rich"),
            unsigned: Some(u64::MAX),
            boolean: Some(true),
            text: text(""),
            array: Some(vec![1, 2]),
            ..Row::default()
        },
    ];
    let second = [
        Row { time: 2, region: text("z\u{fc}rich"), text: text("l\u{e4}nger"), ..Row::default() },
        Row {
            time: 3,
            host: text("a"),
            boolean: Some(false),
            array: Some(vec![]),
            ..Row::default()
        },
    ];
    write(dir, &[run_of(&first, &series, 5), run_of(&second, &series, 6)], &series)
}

/// What a part says, but for what depends on the library that wrote it.
fn outline(path: &Path) -> Vec<String> {
    let footer = footer(path);
    let meta = footer.metadata().file_metadata();
    let pairs = meta.key_value_metadata().unwrap().iter();
    let mut outline: Vec<String> =
        pairs.map(|p| format!("{} = {}", p.key, p.value.as_deref().unwrap_or(""))).collect();
    outline.sort();
    for column in meta.schema_descr().columns() {
        outline.push(format!("{:?}", column.self_type()));
    }
    for group in footer.metadata().row_groups() {
        let compression = group.columns().iter().map(|column| column.compression());
        outline.push(format!("{:?}", compression.collect::<Vec<_>>()));
        outline.push(format!("{} rows, {:?}", group.num_rows(), group.sorting_columns()));
    }
    outline
}

/// A change of what is compared here is a change of the format: it needs a new version, a new file beside this one, and a line in the
/// changelog.
#[test]
fn a_part_is_written_as_the_golden_file_of_version_1_and_that_one_is_read() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join(GOLDEN);
    let Place { dir, _temporary } = place();
    let part = golden_part(&dir);
    assert_eq!(outline(&part.path()), outline(&golden));
    let rows = read_part(&golden);
    assert_eq!(read_part(&part.path()), rows);
    let expect = [
        (1, Some("a"), None),
        (2, None, Some("l\u{e4}nger")),
        (3, Some("b"), Some("")),
        (3, Some("a"), None),
    ];
    let seen: Vec<_> =
        rows.iter().map(|row| (row.time, row.host.as_deref(), row.text.as_deref())).collect();
    assert_eq!(seen, expect);
    assert_eq!((rows[0].integer, rows[2].unsigned), (Some(i64::MIN), Some(u64::MAX)));
    let found = read_back(&Fs::real(), &golden).unwrap();
    assert_eq!((found.meta.id, found.meta.rows), (part.meta().id, 4));
    assert_eq!((found.meta.min_time, found.meta.max_time), (1, 3));
    assert_eq!(found.meta.columns, part.meta().columns);
    assert_eq!(found.shape, *schema().shape());
}

#[test]
#[ignore = "checks nothing: writes the golden file, to be run by hand when the format gets a new version"]
fn write_the_golden_part() {
    let Place { dir, _temporary } = place();
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join(GOLDEN);
    std::fs::create_dir_all(golden.parent().unwrap()).unwrap();
    std::fs::copy(golden_part(&dir).path(), golden).unwrap();
}
