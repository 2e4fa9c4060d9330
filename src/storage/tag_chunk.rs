//! A tag column's chunk of one row group, written straight from dictionary codes.
//!
//! A generic Parquet writer hashes every value of a dictionary array anew, which costs more than all the rest of a row. Here
//! a value is hashed once per dictionary that it comes in; a row costs a lookup and a few bits. The chunk is one dictionary
//! page with the values that occur, then data pages (v1) of indices, as every Parquet reader knows them.

use super::hybrid;
use super::merge::Span;
use super::pool::Pool;
use arrow::array::{Array, ArrayRef, AsArray, StringArray};
use arrow::buffer::NullBuffer;
use arrow::datatypes::Int32Type;
use bytes::Bytes;
use parquet::basic::{Compression, Encoding};
use parquet::column::page::{CompressedPage, Page, PageWriter};
use parquet::column::writer::ColumnCloseResult;
use parquet::data_type::ByteArray;
use parquet::errors::{ParquetError, Result};
use parquet::file::metadata::{ColumnChunkMetaData, OffsetIndexBuilder};
use parquet::file::statistics::Statistics;
use parquet::file::writer::{SerializedPageWriter, TrackedWrite};
use parquet::schema::types::ColumnDescPtr;
use zstd::bulk::Compressor;

/// Rows of a data page.
const PAGE_ROWS: usize = 1 << 16;
/// Longer extremes are left out of the statistics.
const STATISTIC_BYTES_MAX: usize = 256;
/// A code that has no place in this chunk's dictionary yet.
const UNPLACED: u32 = u32::MAX;

/// The chunk under construction.
#[derive(Default)]
pub(super) struct TagChunk {
    /// The values that occur, in order of appearance.
    dictionary: Pool,
    /// By source: the dictionary that its rows named last.
    places: Vec<Places>,
    page: PageRows,
    pages: Vec<(CompressedPage, usize)>,
    page_bytes: usize,
    rows: usize,
    nulls: usize,
}

/// Where the codes of a source's dictionary are in ours.
struct Places {
    /// Held, so that its address names this dictionary and no later one.
    values: Option<ArrayRef>,
    place: Vec<u32>,
}

/// The rows of the next page.
#[derive(Debug, Default)]
struct PageRows {
    rows: usize,
    /// One for each row that has a value.
    indices: Vec<u32>,
    /// By row: 1 with a value, 0 without. Empty while all have one.
    levels: Vec<u32>,
}

/// The rows of one source.
struct Source<'a> {
    keys: &'a [i32],
    nulls: Option<&'a NullBuffer>,
    values: &'a StringArray,
}

impl TagChunk {
    /// Appends spans of dictionary arrays; a source that is `None` has no values. From one call to the next a source tends to
    /// keep its dictionary.
    pub(super) fn push(
        &mut self,
        arrays: &[Option<ArrayRef>],
        spans: &[Span],
        compressor: &mut Compressor<'static>,
    ) -> Result<()> {
        self.places.resize_with(self.places.len().max(arrays.len()), Places::none);
        let mut sources = Vec::with_capacity(arrays.len());
        for (array, places) in arrays.iter().zip(&mut self.places) {
            sources.push(array.as_ref().map(|array| {
                let array = array.as_dictionary::<Int32Type>();
                places.keep_or_replace(array.values());
                let keys = array.keys();
                let nulls = keys.nulls().filter(|nulls| nulls.null_count() > 0);
                Source { keys: keys.values(), nulls, values: array.values().as_string() }
            }));
        }
        for &Span { source, mut start, len } in spans {
            let end = start + len;
            while start < end {
                let step = (end - start).min(PAGE_ROWS - self.page.rows);
                match &sources[source] {
                    Some(rows) => self.push_rows(rows, source, start, step),
                    None => self.push_nulls(step),
                }
                start += step;
                if self.page.rows == PAGE_ROWS {
                    self.end_page(compressor)?;
                }
            }
        }
        Ok(())
    }

    /// Memory held, in bytes, roughly.
    pub(super) fn memory(&self) -> usize {
        self.dictionary.memory() + self.page_bytes
    }

    /// Ends the chunk. Returns its bytes and what the row group must know of it.
    pub(super) fn finish(
        mut self,
        descr: ColumnDescPtr,
        compression: Compression,
        compressor: &mut Compressor<'static>,
    ) -> Result<(Bytes, ColumnCloseResult)> {
        if self.page.rows > 0 {
            self.end_page(compressor)?;
        }
        let mut sink = TrackedWrite::new(Vec::with_capacity(self.page_bytes + 1024));
        let mut writer = SerializedPageWriter::new(&mut sink);
        let mut uncompressed =
            writer.write_page(self.dictionary_page(compressor)?)?.uncompressed_size;
        let mut offsets = OffsetIndexBuilder::new();
        let mut first_offset = None;
        for (page, rows) in std::mem::take(&mut self.pages) {
            let spec = writer.write_page(page)?;
            first_offset = first_offset.or(Some(signed(spec.offset)?));
            uncompressed += spec.uncompressed_size;
            let len = i32::try_from(spec.compressed_size).map_err(too_large)?;
            offsets.append_offset_and_size(signed(spec.offset)?, len);
            offsets.append_row_count(signed(rows)?);
        }
        writer.close()?;
        let bytes = Bytes::from(sink.into_inner()?);
        let metadata = ColumnChunkMetaData::builder(descr)
            .set_encodings(vec![Encoding::PLAIN, Encoding::RLE, Encoding::RLE_DICTIONARY])
            .set_compression(compression)
            .set_num_values(signed(self.rows)?)
            .set_total_compressed_size(signed(bytes.len())?)
            .set_total_uncompressed_size(signed(uncompressed)?)
            .set_dictionary_page_offset(Some(0))
            .set_data_page_offset(first_offset.unwrap_or(0))
            .set_statistics(self.statistics())
            .build()?;
        let close = ColumnCloseResult {
            bytes_written: bytes.len() as u64,
            rows_written: self.rows as u64,
            metadata,
            bloom_filter: None,
            column_index: None,
            offset_index: Some(offsets.build()),
        };
        Ok((bytes, close))
    }

    fn push_rows(&mut self, rows: &Source<'_>, source: usize, start: usize, len: usize) {
        let TagChunk { dictionary, places, page, .. } = self;
        let place = &mut places[source].place;
        if rows.nulls.is_some() && page.levels.is_empty() {
            page.levels.resize(page.rows, 1);
        }
        for row in start..start + len {
            if let Some(nulls) = rows.nulls {
                page.levels.push(u32::from(nulls.is_valid(row)));
                if nulls.is_null(row) {
                    self.nulls += 1;
                    continue;
                }
            }
            let key = rows.keys[row] as usize;
            if place[key] == UNPLACED {
                place[key] = dictionary.intern(rows.values.value(key).as_bytes());
            }
            page.indices.push(place[key]);
        }
        page.rows += len;
        if rows.nulls.is_none() && !page.levels.is_empty() {
            page.levels.resize(page.rows, 1);
        }
        self.rows += len;
    }

    fn push_nulls(&mut self, len: usize) {
        self.page.levels.resize(self.page.rows, 1);
        self.page.rows += len;
        self.page.levels.resize(self.page.rows, 0);
        self.rows += len;
        self.nulls += len;
    }

    /// Encodes and compresses the page: definition levels behind their length, the width of an index, the indices.
    fn end_page(&mut self, compressor: &mut Compressor<'static>) -> Result<()> {
        let page = &mut self.page;
        let mut levels = Vec::new();
        if page.levels.is_empty() {
            page.levels.resize(page.rows, 1);
        }
        hybrid::encode(&page.levels, 1, &mut levels);
        let width = hybrid::width_of(self.dictionary.len());
        let mut plain = Vec::with_capacity(levels.len() + page.indices.len() * 4 + 16);
        plain.extend_from_slice(&u32::try_from(levels.len()).map_err(too_large)?.to_le_bytes());
        plain.extend_from_slice(&levels);
        plain.push(u8::try_from(width).map_err(too_large)?);
        hybrid::encode(&page.indices, width, &mut plain);
        let compressed = compressor.compress(&plain).map_err(external)?;
        self.page_bytes += compressed.len();
        let data = Page::DataPage {
            buf: compressed.into(),
            num_values: u32::try_from(page.rows).map_err(too_large)?,
            encoding: Encoding::RLE_DICTIONARY,
            def_level_encoding: Encoding::RLE,
            rep_level_encoding: Encoding::RLE,
            statistics: None,
        };
        self.pages.push((CompressedPage::new(data, plain.len()), page.rows));
        page.rows = 0;
        page.indices.clear();
        page.levels.clear();
        Ok(())
    }

    fn dictionary_page(&self, compressor: &mut Compressor<'static>) -> Result<CompressedPage> {
        let count = self.dictionary.len();
        let mut plain = Vec::with_capacity(self.dictionary.bytes().len() + 4 * count);
        for value in self.dictionary.iter() {
            plain.extend_from_slice(&u32::try_from(value.len()).map_err(too_large)?.to_le_bytes());
            plain.extend_from_slice(value);
        }
        let page = Page::DictionaryPage {
            buf: compressor.compress(&plain).map_err(external)?.into(),
            num_values: u32::try_from(count).map_err(too_large)?,
            encoding: Encoding::PLAIN,
            is_sorted: false,
        };
        Ok(CompressedPage::new(page, plain.len()))
    }

    fn statistics(&self) -> Statistics {
        let bound = |value: Option<&[u8]>| {
            value.filter(|v| v.len() <= STATISTIC_BYTES_MAX).map(|v| ByteArray::from(v.to_vec()))
        };
        let (min, max) = (bound(self.dictionary.iter().min()), bound(self.dictionary.iter().max()));
        let (distinct, nulls) = (self.dictionary.len() as u64, self.nulls as u64);
        Statistics::byte_array(min, max, Some(distinct), Some(nulls), false)
    }
}

impl Places {
    fn none() -> Places {
        Places { values: None, place: Vec::new() }
    }

    fn keep_or_replace(&mut self, values: &ArrayRef) {
        if self.values.as_ref().is_some_and(|held| is_same(held, values)) {
            return;
        }
        self.values = Some(values.clone());
        self.place.clear();
        self.place.resize(values.len(), UNPLACED);
    }
}

/// True when two dictionaries are the same memory.
fn is_same(a: &ArrayRef, b: &ArrayRef) -> bool {
    let (a, b) = (a.as_string::<i32>(), b.as_string::<i32>());
    a.len() == b.len() && std::ptr::eq(a.value_offsets().as_ptr(), b.value_offsets().as_ptr())
}

fn signed(value: impl TryInto<i64>) -> Result<i64> {
    value.try_into().map_err(|_| ParquetError::General("a length passes 63 bits".to_owned()))
}

fn too_large(_: std::num::TryFromIntError) -> ParquetError {
    ParquetError::General("a page passes 2 GiB".to_owned())
}

fn external(error: std::io::Error) -> ParquetError {
    ParquetError::External(Box::new(error))
}
