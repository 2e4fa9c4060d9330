//! Binary values of QuestDB's protocol version 2: `name==`, a byte for the type, and the value, little endian.
//!
//! Doubles and one-dimensional arrays of doubles are read, as the official clients send them. Of the other types only the
//! length is known, so that a value which holds a newline does not tear its line apart.

use std::fmt;

/// The byte that announces a binary value, after the `=` that ends the key.
pub(super) const MARK: u8 = b'=';

const FLOAT: u8 = 2;
const INTEGER: u8 = 3;
const BOOLEAN: u8 = 6;
const DOUBLE_ELEMENT: u8 = 10;
const TIMESTAMP: u8 = 13;
const ARRAY: u8 = 14;
const LONG: u8 = 15;
const DOUBLE: u8 = 16;
const DECIMAL: u8 = 23;

/// More dimensions than this are no array of any server.
const DIMENSIONS_MAX: u8 = 32;

/// How far a binary value reaches, from its type byte on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Extent {
    /// That many bytes, which may not all be there.
    Bytes(usize),
    /// Its length is in bytes that are not there.
    Unknown,
    /// It is none of the types that there are.
    Invalid,
}

/// A value that was read.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) enum Binary<'a> {
    Double(f64),
    Array(Doubles<'a>),
}

/// Why a whole value is not read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum BinaryError {
    /// The line ends within the value.
    Short,
    /// A type that is not stored; what it is.
    Unsupported(&'static str),
    /// A type that nobody sends.
    Unknown,
}

/// The extent of the value whose type byte is the first of `bytes`.
pub(super) fn extent(bytes: &[u8]) -> Extent {
    let Some((&ty, rest)) = bytes.split_first() else { return Extent::Unknown };
    match ty {
        DOUBLE | LONG => Extent::Bytes(9),
        FLOAT | INTEGER => Extent::Bytes(5),
        BOOLEAN => Extent::Bytes(2),
        TIMESTAMP => Extent::Bytes(10),
        // Scale and length of the unscaled number stand before it.
        DECIMAL => match rest {
            [_scale, length, ..] => Extent::Bytes(3 + usize::from(*length)),
            _ => Extent::Unknown,
        },
        ARRAY => array_extent(rest),
        _ => Extent::Invalid,
    }
}

/// Type of the elements, number of dimensions, each dimension in four bytes, elements of eight bytes.
fn array_extent(rest: &[u8]) -> Extent {
    match rest {
        // An array of no type is null, and ends here.
        [0, ..] => return Extent::Bytes(2),
        [_] | [] => return Extent::Unknown,
        [_, dimensions, ..] if *dimensions > DIMENSIONS_MAX => return Extent::Invalid,
        _ => {}
    }
    let Some((&dimensions, sizes)) = rest.get(1..).and_then(<[u8]>::split_first) else {
        return Extent::Unknown;
    };
    let dimensions = usize::from(dimensions);
    let header = 3 + 4 * dimensions;
    let Some(sizes) = sizes.get(..4 * dimensions) else { return Extent::Unknown };
    let (sizes, _) = sizes.as_chunks::<4>();
    let elements = if dimensions == 0 { Some(0) } else { product(sizes) };
    match elements.and_then(|n| n.checked_mul(8)?.checked_add(header)) {
        Some(length) => Extent::Bytes(length),
        None => Extent::Invalid,
    }
}

fn product(sizes: &[[u8; 4]]) -> Option<usize> {
    sizes.iter().try_fold(1_usize, |product, size| {
        product.checked_mul(usize::try_from(i32::from_le_bytes(*size)).ok()?)
    })
}

/// The value whose type byte is the first of `bytes`, and its length.
pub(super) fn read(bytes: &[u8]) -> Result<(Binary<'_>, usize), BinaryError> {
    let length = match extent(bytes) {
        Extent::Bytes(length) => length,
        Extent::Unknown => return Err(BinaryError::Short),
        Extent::Invalid => return Err(BinaryError::Unknown),
    };
    let value = bytes.get(..length).ok_or(BinaryError::Short)?;
    match value {
        [DOUBLE, double @ ..] => {
            let double = double.first_chunk::<8>().ok_or(BinaryError::Short)?;
            Ok((Binary::Double(f64::from_le_bytes(*double)), length))
        }
        [ARRAY, 0, ..] | [ARRAY, _, 0, ..] => Err(BinaryError::Unsupported("a null array")),
        [ARRAY, DOUBLE_ELEMENT, 1, _, _, _, _, elements @ ..] => {
            let (elements, _) = elements.as_chunks::<8>();
            Ok((Binary::Array(Doubles(elements)), length))
        }
        [ARRAY, DOUBLE_ELEMENT, ..] => {
            Err(BinaryError::Unsupported("an array of more than one dimension"))
        }
        [ARRAY, ..] => Err(BinaryError::Unsupported("an array of other elements than doubles")),
        [DECIMAL, ..] => Err(BinaryError::Unsupported("a decimal")),
        _ => Err(BinaryError::Unsupported("a binary value that is no double")),
    }
}

/// Appends an array as [`read`] reads it, with its mark. At most 2^31 - 1 elements can be said.
pub(super) fn put_array(out: &mut Vec<u8>, array: Doubles<'_>) {
    out.extend_from_slice(&[MARK, ARRAY, DOUBLE_ELEMENT, 1]);
    let length = i32::try_from(array.len()).expect("limits keep lines far below 16 GiB");
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(array.as_bytes());
}

/// The elements of an array of doubles, in the bytes they came in. Equal when the bits are.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Doubles<'a>(&'a [[u8; 8]]);

impl<'a> Doubles<'a> {
    /// The doubles of these bytes, eight little-endian ones each.
    pub fn new(bytes: &'a [[u8; 8]]) -> Doubles<'a> {
        Doubles(bytes)
    }

    /// How many.
    pub fn len(self) -> usize {
        self.0.len()
    }

    /// True when there are none.
    pub fn is_empty(self) -> bool {
        self.0.is_empty()
    }

    /// The doubles; NaN and infinity are elements like any other.
    pub fn iter(self) -> impl ExactSizeIterator<Item = f64> + 'a {
        self.0.iter().map(|bytes| f64::from_le_bytes(*bytes))
    }

    /// Eight little-endian bytes a double.
    pub fn as_bytes(self) -> &'a [u8] {
        self.0.as_flattened()
    }
}

impl fmt::Debug for Doubles<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_extent_of_every_type_is_known_as_soon_as_its_header_is_there() {
        let array = [ARRAY, DOUBLE_ELEMENT, 1, 10, 0, 0, 0];
        for cut in 0..array.len() {
            assert_eq!(extent(&array[..cut]), Extent::Unknown, "{cut} bytes");
        }
        assert_eq!(extent(&array), Extent::Bytes(7 + 80));
        assert_eq!(extent(&[ARRAY, 0, 7]), Extent::Bytes(2));
        assert_eq!(extent(&[ARRAY, DOUBLE_ELEMENT, 0]), Extent::Bytes(3));
        assert_eq!(extent(&[ARRAY, DOUBLE_ELEMENT, 33]), Extent::Invalid);
        assert_eq!(extent(&[ARRAY, DOUBLE_ELEMENT, 1, 0, 0, 0, 0x80]), Extent::Invalid);
        let huge = [&[ARRAY, DOUBLE_ELEMENT, 4][..], &[0xff, 0xff, 0xff, 0x7f].repeat(4)].concat();
        assert_eq!(extent(&huge), Extent::Invalid);
        assert_eq!(extent(&[DECIMAL, 2]), Extent::Unknown);
        assert_eq!(extent(&[DECIMAL, 2, 16]), Extent::Bytes(19));
        assert_eq!(extent(b"1"), Extent::Invalid);
    }

    #[test]
    fn doubles_and_arrays_of_one_dimension_are_read_and_others_are_named() {
        let double = [&[DOUBLE][..], &1.5_f64.to_le_bytes(), b",x=1"].concat();
        assert_eq!(read(&double), Ok((Binary::Double(1.5), 9)));
        assert_eq!(read(&double[..8]), Err(BinaryError::Short));
        let mut array = Vec::new();
        let elements = [1.0_f64, -2.5].map(f64::to_le_bytes);
        put_array(&mut array, Doubles::new(&elements));
        let read_back = (Binary::Array(Doubles::new(&elements)), array.len() - 1);
        assert_eq!(read(&array[1..]), Ok(read_back));
        let matrix = [ARRAY, DOUBLE_ELEMENT, 2, 0, 0, 0, 0, 1, 0, 0, 0];
        assert!(matches!(read(&matrix), Err(BinaryError::Unsupported(_))));
        assert!(matches!(read(&[LONG, 0, 0, 0, 0, 0, 0, 0, 0]), Err(BinaryError::Unsupported(_))));
        assert_eq!(read(b"123"), Err(BinaryError::Unknown));
    }
}
