//! What a part says of itself, for a catalog that is lost.

use super::part_reader::general;
use super::{FIELD_ID_KEY, PartFile, PartId, PartMeta, StorageError};
use crate::io::Fs;
use crate::schema::Shape;
use crate::types::wire::Take;
use crate::types::{ColumnId, PartitionKey, SeqTxn};
use arrow::array::AsArray;
use arrow::datatypes::TimestampNanosecondType;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::errors::ParquetError;
use parquet::file::reader::Length;
use std::collections::HashMap;
use std::path::Path;

/// A part that the catalog does not vouch for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FoundPart {
    /// What the catalog would say of it.
    pub meta: PartMeta,
    /// Its table as it was when the part was written.
    pub shape: Shape,
}

/// Reads the part at `path` to its last row: a file whose writing was cut off does not pass.
///
/// # Errors
/// It cannot be read, or is no whole part of this version under its own name.
pub fn read_back(fs: &Fs, path: &Path) -> Result<FoundPart, StorageError> {
    let file = PartFile::open(fs, path)?;
    let (bytes, crc) = (Length::len(&file), file.crc()?);
    read(file.clone(), path, bytes, crc).map_err(|error| file.fail(error))
}

fn read(file: PartFile, path: &Path, bytes: u64, crc: u32) -> Result<FoundPart, ParquetError> {
    let builder = ParquetRecordBatchReaderBuilder::try_new(file)?;
    let footer: HashMap<&str, &str> = builder
        .metadata()
        .file_metadata()
        .key_value_metadata()
        .into_iter()
        .flatten()
        .filter_map(|pair| Some((pair.key.as_str(), pair.value.as_deref()?)))
        .collect();
    let (id, shape) = identity(&footer, path).ok_or_else(|| general("its footer is not ours"))?;
    let ids = builder.schema().fields().iter().map(|field| {
        let id = field.metadata().get(FIELD_ID_KEY)?.parse().ok()?;
        Some(ColumnId(id))
    });
    let ids = ids.collect::<Option<Vec<ColumnId>>>();
    let mut columns = ids.ok_or_else(|| general("a column has no field id"))?;
    if columns.pop() != Some(ColumnId::TIME) {
        return Err(general("its last column is not the designated timestamp"));
    }
    let (mut rows, mut times) = (0, None);
    for batch in builder.build()? {
        let batch = batch?;
        let time = batch.column(columns.len()).as_primitive::<TimestampNanosecondType>().values();
        if let (Some(&first), Some(&last)) = (time.first(), time.last()) {
            rows += time.len() as u64;
            times = Some((times.map_or(first, |(min, _)| min), last));
        }
    }
    let (min_time, max_time) = times.ok_or_else(|| general("it has no rows"))?;
    Ok(FoundPart { meta: PartMeta { id, rows, bytes, crc, min_time, max_time, columns }, shape })
}

/// What the footer says, if it agrees with the name.
fn identity(footer: &HashMap<&str, &str>, path: &Path) -> Option<(PartId, Shape)> {
    if *footer.get("headwater.part")? != "1" {
        return None;
    }
    let bytes = from_hex(footer.get("headwater.shape")?)?;
    let shape = Shape::decode(&mut Take(&bytes))?;
    let name = path.file_name()?.to_str()?;
    let attempt = name.strip_suffix(".parquet")?.rsplit('-').next()?.parse().ok()?;
    let id = PartId {
        partition: PartitionKey(footer.get("headwater.partition")?.parse().ok()?),
        first_txn: SeqTxn(footer.get("headwater.first_txn")?.parse().ok()?),
        last_txn: SeqTxn(footer.get("headwater.last_txn")?.parse().ok()?),
        level: footer.get("headwater.level")?.parse().ok()?,
        attempt,
    };
    path.ends_with(id.path(shape.def.partition_by)).then_some((id, shape))
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let pairs = text.as_bytes().chunks(2);
    pairs.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
}
