//! Numbers from bytes: eight digits at a step, floats exact.
//!
//! Nothing here looks beyond the number itself: what may follow is the caller's rule.

/// Why bytes are no number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum NumberError {
    /// Not spelled as a number of this type.
    Syntax,
    /// Spelled well, but more than the type holds.
    Range,
}

/// More digits than this may overflow 64 bits.
const DIGITS_EXACT: usize = 19;

/// The value of the decimal digits at the start of `bytes`, and how many there are.
///
/// The value is exact for up to 19 digits and meaningless beyond.
#[inline]
pub(super) fn leading_digits(bytes: &[u8]) -> (u64, usize) {
    let mut value = 0_u64;
    let mut count = 0;
    while let Some(chunk) = bytes.get(count..).and_then(|rest| rest.first_chunk::<8>()) {
        let (part, digits) = eight_digits(u64::from_le_bytes(*chunk));
        value = value.wrapping_mul(POW10[digits]).wrapping_add(part);
        count += digits;
        if digits < 8 {
            return (value, count);
        }
    }
    for &byte in bytes.get(count..).unwrap_or_default() {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            break;
        }
        value = value.wrapping_mul(10).wrapping_add(u64::from(digit));
        count += 1;
    }
    (value, count)
}

/// How many of eight bytes (the first in the lowest bits) are digits before the first that is not,
/// and their value.
///
/// The method is Daniel Lemire's "parse eight digits" with the digits shifted to the end first,
/// which leaves zeros in front.
#[inline]
fn eight_digits(chunk: u64) -> (u64, usize) {
    let values = chunk ^ 0x3030_3030_3030_3030;
    // A byte above 9 sets its high bit, either by itself or when 0x76 is added to its low bits.
    let odd = ((values & 0x7f7f_7f7f_7f7f_7f7f).wrapping_add(0x7676_7676_7676_7676) | values)
        & 0x8080_8080_8080_8080;
    let digits = (odd.trailing_zeros() / 8) as usize;
    if digits == 0 {
        return (0, 0);
    }
    let ordered = values << (64 - 8 * digits);
    let pairs = ordered.wrapping_mul(10).wrapping_add(ordered >> 8);
    let low = (pairs & 0x0000_00ff_0000_00ff).wrapping_mul(0x000f_4240_0000_0064);
    let high = ((pairs >> 16) & 0x0000_00ff_0000_00ff).wrapping_mul(0x0000_2710_0000_0001);
    (low.wrapping_add(high) >> 32, digits)
}

/// The signed integer at the start of `bytes` and its length; `None` if there is none, or if its
/// digits are more than 19 or do not fit.
#[inline]
pub(super) fn signed_prefix(bytes: &[u8]) -> Option<(i64, usize)> {
    let negative = bytes.first() == Some(&b'-');
    let sign = usize::from(negative);
    let (magnitude, digits) = leading_digits(bytes.get(sign..)?);
    if digits == 0 || digits > DIGITS_EXACT {
        return None;
    }
    Some((signed(negative, magnitude)?, sign + digits))
}

/// `text` as a signed integer, all of it.
pub(super) fn integer(text: &[u8]) -> Result<i64, NumberError> {
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        _ => (false, text),
    };
    signed(negative, unsigned(digits)?).ok_or(NumberError::Range)
}

/// `text` as an unsigned integer, all of it. Leading zeros count for nothing.
pub(super) fn unsigned(text: &[u8]) -> Result<u64, NumberError> {
    let (value, count) = leading_digits(text);
    if count == 0 || count != text.len() {
        return Err(NumberError::Syntax);
    }
    if count <= DIGITS_EXACT {
        return Ok(value);
    }
    let zeros = text.iter().take_while(|&&b| b == b'0').count();
    text.iter().skip(zeros).try_fold(0_u64, |sum, &byte| {
        let digit = u64::from(byte.wrapping_sub(b'0'));
        sum.checked_mul(10).and_then(|sum| sum.checked_add(digit)).ok_or(NumberError::Range)
    })
}

fn signed(negative: bool, magnitude: u64) -> Option<i64> {
    if negative { 0_i64.checked_sub_unsigned(magnitude) } else { i64::try_from(magnitude).ok() }
}

/// The float at the start of `bytes` and its length, correctly rounded.
///
/// # Errors
/// `Syntax` if there is none, `Range` if it rounds to infinity.
#[inline]
pub(super) fn float_prefix(bytes: &[u8]) -> Result<(f64, usize), NumberError> {
    let negative = bytes.first() == Some(&b'-');
    let start = usize::from(negative);
    let after = |from: usize| bytes.get(from..).unwrap_or_default();

    let (mut mantissa, whole) = leading_digits(after(start));
    // The zero of `0.5` takes no room among the digits of the mantissa.
    let mut digits = if mantissa == 0 && whole <= DIGITS_EXACT { 0 } else { whole };
    let mut end = start + whole;
    let mut fraction = 0;
    if bytes.get(end) == Some(&b'.') {
        let part;
        (part, fraction) = leading_digits(after(end + 1));
        digits += fraction;
        end += 1 + fraction;
        if digits <= DIGITS_EXACT {
            mantissa = mantissa * POW10[fraction] + part;
        }
    }
    if whole + fraction == 0 {
        return Err(NumberError::Syntax);
    }
    let exponent = exponent_length(after(end))?;
    end += exponent;

    if exponent == 0 && digits <= DIGITS_EXACT {
        // Clinger: an integer below 2^53 and a power of ten up to 10^22 are both exact, so that one
        // division rounds once. 22 is more than the 19 digits that get here.
        let magnitude = if mantissa <= 1 << f64::MANTISSA_DIGITS {
            mantissa as f64 / POW10_FLOAT[fraction]
        } else {
            FIVES[fraction].quotient(mantissa)
        };
        return Ok((if negative { -magnitude } else { magnitude }, end));
    }
    let text = bytes.get(..end).unwrap_or_default();
    let value: f64 = fast_float2::parse(text).map_err(|_| NumberError::Syntax)?;
    if value.is_finite() { Ok((value, end)) } else { Err(NumberError::Range) }
}

/// A power of five as a divisor of 64 bits, and what dividing a mantissa by that power of ten takes.
///
/// The division is Möller and Granlund's ("Improved division by invariant integers"): a product with
/// the reciprocal gives the quotient but for one or two, and the remainder says which.
#[derive(Clone, Copy)]
struct Five {
    /// Shifted left until the highest bit is set.
    divisor: u64,
    /// The integer part of (2^128 - 1) / divisor, less 2^64.
    reciprocal: u64,
    /// What the shifts, the five's and the two's of 10^n, leave: a power of two.
    exponent: i32,
}

impl Five {
    const fn to_the(n: u32) -> Five {
        let five = 5_u64.pow(n);
        let shift = five.leading_zeros();
        let divisor = five << shift;
        let reciprocal = (u128::MAX / divisor as u128 - (1 << 64)) as u64;
        // One of the quotient's bits goes where the remainder leaves its mark, 63 more come of the dividend.
        Five { divisor, reciprocal, exponent: shift as i32 - n as i32 - 62 }
    }

    /// `mantissa`, which is not 0, divided by the power of ten, correctly rounded.
    fn quotient(self, mantissa: u64) -> f64 {
        let shift = mantissa.leading_zeros();
        let mantissa = mantissa << shift;
        // Half the mantissa is below the divisor, so that the quotient has at most 64 bits; it has at least 63.
        let (high, low) = (mantissa >> 1, mantissa << 63);
        let estimate = u128::from(self.reciprocal) * u128::from(high)
            + ((u128::from(high) << 64) | u128::from(low));
        let mut quotient = ((estimate >> 64) as u64).wrapping_add(1);
        let mut rest = low.wrapping_sub(quotient.wrapping_mul(self.divisor));
        if rest > estimate as u64 {
            quotient = quotient.wrapping_sub(1);
            rest = rest.wrapping_add(self.divisor);
        }
        if rest >= self.divisor {
            quotient = quotient.wrapping_add(1);
            rest -= self.divisor;
        }
        // At least 62 bits are left for the 53 of a double: the lowest one only says whether anything follows.
        let rounded = ((quotient >> 1) | (quotient & 1) | u64::from(rest != 0)) as i64 as f64;
        // A power of two is exact: the result is nowhere near the bounds of a double.
        let exponent = self.exponent - shift as i32;
        rounded * f64::from_bits(((1023 + exponent) as u64) << 52)
    }
}

/// The length of `e5`, `E-5`, `e+5` at the start of `bytes`, 0 if there is no exponent.
#[inline]
fn exponent_length(bytes: &[u8]) -> Result<usize, NumberError> {
    let digits = match bytes {
        [b'e' | b'E', b'+' | b'-', ..] => 2,
        [b'e' | b'E', ..] => 1,
        _ => return Ok(0),
    };
    match leading_digits(bytes.get(digits..).unwrap_or_default()) {
        (_, 0) => Err(NumberError::Syntax),
        (_, count) => Ok(digits + count),
    }
}

/// Nanoseconds of QuestDB's timestamp suffixes.
pub(super) fn suffix_unit(suffix: u8) -> Option<i64> {
    match suffix {
        b'n' => Some(1),
        b't' => Some(1_000),
        b'm' => Some(1_000_000),
        _ => None,
    }
}

/// `text` as a float, all of it.
pub(super) fn float(text: &[u8]) -> Result<f64, NumberError> {
    match float_prefix(text)? {
        (value, length) if length == text.len() => Ok(value),
        _ => Err(NumberError::Syntax),
    }
}

const POW10: [u64; DIGITS_EXACT + 1] = {
    let mut table = [1; DIGITS_EXACT + 1];
    let mut i = 1;
    while i < table.len() {
        table[i] = table[i - 1] * 10;
        i += 1;
    }
    table
};

const POW10_FLOAT: [f64; DIGITS_EXACT + 1] = {
    let mut table = [1.0; DIGITS_EXACT + 1];
    let mut i = 1;
    while i < table.len() {
        table[i] = POW10[i] as f64; // exact: 10^19 is 5^19 * 2^19, and 5^19 < 2^53
        i += 1;
    }
    table
};

static FIVES: [Five; DIGITS_EXACT + 1] = {
    let mut table = [Five::to_the(0); DIGITS_EXACT + 1];
    let mut n = 1;
    while n < table.len() {
        table[n] = Five::to_the(n as u32);
        n += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn integers_stop_at_their_bounds() {
        assert_eq!(integer(b"9223372036854775807"), Ok(i64::MAX));
        assert_eq!(integer(b"-9223372036854775808"), Ok(i64::MIN));
        assert_eq!(integer(b"9223372036854775808"), Err(NumberError::Range));
        assert_eq!(integer(b"-9223372036854775809"), Err(NumberError::Range));
        assert_eq!(unsigned(b"18446744073709551615"), Ok(u64::MAX));
        assert_eq!(unsigned(b"18446744073709551616"), Err(NumberError::Range));
        assert_eq!(unsigned(b"000000000000000000000000000000018446744073709551615"), Ok(u64::MAX));
        for text in ["", "-", "--1", "+1", "1 ", "1a", "0x1"] {
            assert_eq!(integer(text.as_bytes()), Err(NumberError::Syntax), "{text}");
        }
    }

    #[test]
    fn floats_are_spelled_as_the_dialect_says() {
        for (text, value) in
            [("1.", 1.0), (".5", 0.5), ("-.5", -0.5), ("1e3", 1e3), ("1.E+3", 1e3), ("1e-999", 0.0)]
        {
            assert_eq!(float(text.as_bytes()), Ok(value), "{text}");
        }
        for text in
            ["", "-", ".", "-.", "e3", ".e3", "1e", "1e+", "+1", "nan", "inf", "0x1p3", "1_0"]
        {
            assert_eq!(float(text.as_bytes()), Err(NumberError::Syntax), "{text}");
        }
        assert_eq!(float(b"1e999"), Err(NumberError::Range));
        assert!(float(b"-0").is_ok_and(|zero| zero.is_sign_negative()));
    }

    #[test]
    fn floats_between_two_doubles_go_to_the_even_one() {
        // 2^53 + 1, 2^53 + 3, … lie half-way; with digits behind the point, some other numbers do.
        for odd in (1_u64 << 53 | 1..).step_by(2).take(1_000) {
            for fraction in 0..=3 {
                let digits = odd.to_string();
                let (whole, part) = digits.split_at(digits.len() - fraction);
                for tail in ["", "0", "00", "001", "01", "1", "5", "49", "51", "9"] {
                    for text in [format!("{digits}.{tail}"), format!("{whole}.{part}{tail}")] {
                        let expect: f64 = text.parse().unwrap();
                        assert_eq!(float(text.as_bytes()), Ok(expect), "{text}");
                    }
                }
            }
        }
        for text in [
            "18014398509481989.0",
            "1.0000000000000002220",
            "9999999999999999999",
            "0.0000000000000000001",
        ] {
            assert_eq!(float(text.as_bytes()), Ok(text.parse().unwrap()), "{text}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4_096))]

        #[test]
        fn floats_of_many_digits_agree_with_the_standard_library(mantissa: u64, fraction in 0_usize..20) {
            let digits = format!("{mantissa:020}");
            let (whole, part) = digits.split_at(digits.len() - fraction);
            let whole = whole.trim_start_matches('0');
            for text in [format!("{whole}.{part}0"), format!("-0{whole}.{part}"), format!("0.{}", &part[part.len().min(1)..])] {
                prop_assert_eq!(float(text.as_bytes()).map(f64::to_bits).ok(), text.parse().ok().map(f64::to_bits));
            }
        }

        #[test]
        fn integers_agree_with_the_standard_library(text in "-?0{0,3}[0-9]{0,22}") {
            prop_assert_eq!(integer(text.as_bytes()).ok(), text.parse::<i64>().ok());
        }

        #[test]
        fn prefixes_agree_with_whole_numbers(text in "-?[0-9]{0,21}", rest in "[a-z,. ]{0,9}") {
            let whole = integer(text.as_bytes()).ok().map(|value| (value, text.len()));
            let digits = text.trim_start_matches('-').len();
            let expect = if digits > DIGITS_EXACT { None } else { whole };
            prop_assert_eq!(signed_prefix(format!("{text}{rest}").as_bytes()), expect);
        }

        #[test]
        fn floats_agree_with_the_standard_library(
            text in "-?([0-9]{1,24}(\\.[0-9]{0,24})?|\\.[0-9]{1,24})([eE][+-]?[0-9]{1,3})?"
        ) {
            let expect = text.parse::<f64>().ok().filter(|value| value.is_finite());
            let value = float(text.as_bytes()).ok();
            prop_assert_eq!(value.map(f64::to_bits), expect.map(f64::to_bits));
        }

        #[test]
        fn printed_floats_come_back(value: f64) {
            prop_assume!(value.is_finite());
            prop_assert_eq!(float(value.to_string().as_bytes()).map(f64::to_bits), Ok(value.to_bits()));
            let short = format!("{value:e}");
            prop_assert_eq!(float(short.as_bytes()).map(f64::to_bits), Ok(value.to_bits()));
        }
    }
}
