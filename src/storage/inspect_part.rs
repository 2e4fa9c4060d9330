//! The footer of a part for people.

use super::PartFile;
use crate::io::Fs;
use crate::types::Dump;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::file::reader::Length;
use std::path::Path;

/// Prints what the footer of a part says, and reads its rows. Whether they are the rows that were written, only the checksum in the
/// catalog tells.
pub fn inspect_part(fs: &Fs, path: &Path) -> Dump {
    let mut dump = Dump::default();
    let (file, len) = match PartFile::open(fs, path) {
        Ok(file) => (file.clone(), Length::len(&file)),
        Err(error) => {
            dump.damaged(0, 0, error.to_string());
            return dump;
        }
    };
    let builder = match ParquetRecordBatchReaderBuilder::try_new(file) {
        Ok(builder) => builder,
        Err(error) => {
            dump.damaged(0, len, error.to_string());
            return dump;
        }
    };
    let meta = builder.metadata().clone();
    let (rows, groups) = (meta.file_metadata().num_rows(), meta.num_row_groups());
    dump.line(format!("part, {len} bytes, {rows} rows in {groups} row groups"));
    for pair in meta.file_metadata().key_value_metadata().into_iter().flatten() {
        if pair.key.starts_with("headwater.") {
            dump.line(format!(
                "            {} = {}",
                pair.key,
                pair.value.as_deref().unwrap_or("")
            ));
        }
    }
    for field in builder.schema().fields() {
        dump.line(format!("            column {:?}: {}", field.name(), field.data_type()));
    }
    let read = builder.build().and_then(|batches| {
        batches
            .map(|batch| batch.map(|batch| batch.num_rows()))
            .sum::<Result<usize, _>>()
            .map_err(Into::into)
    });
    match read {
        Ok(read) => dump.line(format!("{read} rows can be read")),
        Err(error) => dump.damaged(0, len, error.to_string()),
    }
    dump
}
