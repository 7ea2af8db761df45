//! Decimal numbers as they are written, compared without rounding.

use std::cmp::Ordering;

use serde_json::Number;

/// The longest exponent, in digits. A number with a longer exponent is larger, or nearer to zero, than any real
/// quantity.
const LONGEST_EXPONENT: usize = 17;

/// A decimal number. It borrows its digits, so that a comparison takes no memory for any number of digits. An exponent
/// only moves the decimal point, so that `1e999999999` costs no more than `1`.
#[derive(Clone, Copy, Debug)]
pub struct Decimal<'t> {
    negative: bool,
    /// The digits before the decimal point and after it. Taken together, they have no zeros at the beginning and at the
    /// end.
    digits: (&'t [u8], &'t [u8]),
    /// The position of the decimal point: the value is 0.DIGITS times ten to the power of `point`. Zero has no digits,
    /// and `point` then has no meaning.
    point: i64,
    infinite: bool,
}

impl<'t> Decimal<'t> {
    /// A number of a JSON document. None if its exponent has more than 17 digits.
    pub fn of(number: &'t Number) -> Option<Self> {
        Self::finite(number.as_str())
    }

    /// Reads a text in the forms that devices use for numbers: as in JSON, but also with a plus sign, without digits
    /// before or after the decimal point, or as `Infinity`.
    pub fn read(text: &'t str) -> Option<Self> {
        let text = text.trim();
        let (negative, size) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text.strip_prefix('+').unwrap_or(text)),
        };
        if size.eq_ignore_ascii_case("infinity") || size.eq_ignore_ascii_case("inf") {
            return Some(Self { negative, digits: (&[], &[]), point: 0, infinite: true });
        }
        Self::finite(text)
    }

    fn finite(text: &'t str) -> Option<Self> {
        let (negative, size) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text.strip_prefix('+').unwrap_or(text)),
        };
        let (mantissa, exponent) = match size.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, read_exponent(exponent)?),
            None => (size, 0),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let (whole, fraction) = (whole.as_bytes(), fraction.as_bytes());
        let all_digits = whole.iter().chain(fraction).all(u8::is_ascii_digit);
        if !all_digits || (whole.is_empty() && fraction.is_empty()) {
            return None;
        }
        let (mut first, mut second) = (without_leading(whole), fraction);
        let mut point = i64::try_from(first.len()).ok()?.checked_add(exponent)?;
        if first.is_empty() {
            second = without_leading(fraction);
            point = point.checked_sub(i64::try_from(fraction.len() - second.len()).ok()?)?;
        }
        second = without_trailing(second);
        if second.is_empty() {
            first = without_trailing(first);
        }
        Some(Self { negative, digits: (first, second), point, infinite: false })
    }

    /// Whether the number is a whole number.
    pub fn is_whole(&self) -> bool {
        let digits = self.digits.0.len() + self.digits.1.len();
        !self.infinite && (digits == 0 || i64::try_from(digits).is_ok_and(|digits| digits <= self.point))
    }

    /// The number as an integer, if it is whole and fits into 128 bits.
    pub fn as_i128(&self) -> Option<i128> {
        // A number of at most 38 digits always fits into 128 bits.
        if !self.is_whole() || (!self.is_zero() && self.point > 38) {
            return None;
        }
        let places = if self.is_zero() { 0 } else { usize::try_from(self.point).ok()? };
        let digits = self.digits().chain(std::iter::repeat(b'0')).take(places);
        let size = digits.fold(0_i128, |size, digit| size * 10 + i128::from(digit - b'0'));
        Some(if self.negative { -size } else { size })
    }

    fn is_zero(&self) -> bool {
        !self.infinite && self.digits.0.is_empty() && self.digits.1.is_empty()
    }

    fn digits(&self) -> impl Iterator<Item = u8> {
        self.digits.0.iter().chain(self.digits.1).copied()
    }

    /// -1, 0 or 1, as the number is negative, zero or positive.
    fn sign(&self) -> i8 {
        match (self.is_zero(), self.negative) {
            (true, _) => 0,
            (false, true) => -1,
            (false, false) => 1,
        }
    }

    fn compare_size(&self, other: &Self) -> Ordering {
        let size = |it: &Self| (it.infinite, it.point);
        // Of two digit strings with the same beginning, the longer one is larger, because no digit string ends in a
        // zero.
        size(self).cmp(&size(other)).then_with(|| self.digits().cmp(other.digits()))
    }
}

impl Ord for Decimal<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.sign().cmp(&other.sign()).then_with(|| match self.sign() {
            0 => Ordering::Equal,
            1 => self.compare_size(other),
            _ => other.compare_size(self),
        })
    }
}

impl PartialOrd for Decimal<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Decimal<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Decimal<'_> {}

fn read_exponent(text: &str) -> Option<i64> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if digits.is_empty() || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let digits = digits.trim_start_matches('0');
    if digits.len() > LONGEST_EXPONENT {
        return None;
    }
    let size: i64 = if digits.is_empty() { 0 } else { digits.parse().ok()? };
    Some(if negative { -size } else { size })
}

fn without_leading(digits: &[u8]) -> &[u8] {
    let zeros = digits.iter().take_while(|digit| **digit == b'0').count();
    digits.get(zeros..).unwrap_or_default()
}

fn without_trailing(digits: &[u8]) -> &[u8] {
    let zeros = digits.iter().rev().take_while(|digit| **digit == b'0').count();
    digits.get(..digits.len().saturating_sub(zeros)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn decimal(text: &str) -> Decimal<'_> {
        Decimal::read(text).unwrap_or_else(|| panic!("{text} is a number"))
    }

    #[test]
    fn in_order() {
        // All numbers of a line are equal, and the lines are in ascending order.
        let lines: [&[&str]; 22] = [
            &["-Infinity", "-inf"],
            &["-1e99999999999999999"],
            &["-1e400", "-10e399"],
            &["-9007199254740993", "-9007199254740993.0", "-9.007199254740993e15"],
            &["-9007199254740992"],
            &["-1.10", "-1.1"],
            &["-1"],
            &["-0.1", "-.1", "-1e-1"],
            &["-1e-400"],
            &["0", "-0", "0.0", "-0.000", "0e5", "0e99999999999999999", "00", "+0", ".0", "0."],
            &["1e-99999999999999999"],
            &["1e-400", "0.1e-399"],
            &["0.1"],
            &["0.1000000000000000055"],
            &["0.10000000000000000551", "0.100000000000000005510"],
            &["1", "1.0", "1e0", "1E0", "10e-1", "0.01e+2", "1.", "+1", " 1 ", "1e00000000000000000000000"],
            &["9007199254740992"],
            &["9007199254740993", "9007199254740993.000"],
            &["18446744073709551616", "1.8446744073709551616e19"],
            &["1e399"],
            &["1e400", "10e399", "100e398", "0.1e401"],
            &["Infinity", "+inf"],
        ];
        for (at, line) in lines.iter().enumerate() {
            for (other_at, other) in lines.iter().enumerate() {
                for (one, two) in line.iter().flat_map(|one| other.iter().map(move |two| (one, two))) {
                    assert_eq!(decimal(one).cmp(&decimal(two)), at.cmp(&other_at), "{one} {two}");
                }
            }
        }
    }

    #[test]
    fn what_is_no_number_is_none() {
        for text in ["", "-", "+", ".", "e5", "1e", "1e+", "1_000", "0x10", "1 2", "NaN", "--1", "1.2.3", "1e1.5", "١"]
        {
            assert!(Decimal::read(text).is_none(), "{text}");
        }
        assert!(Decimal::read("1e100000000000000000000").is_none(), "an exponent without measure");
    }

    #[test]
    fn whole_numbers() {
        for (text, value) in [
            ("0", Some(0)),
            ("-0.0", Some(0)),
            ("10", Some(10)),
            ("1.0", Some(1)),
            ("1e2", Some(100)),
            ("-120e-1", Some(-12)),
            ("1.5", None),
            ("1e-1", None),
            ("9223372036854775808", Some(1 << 63)),
            ("1e37", Some(10_i128.pow(37))),
            ("1e39", None),
            ("Infinity", None),
        ] {
            assert_eq!(decimal(text).as_i128(), value, "{text}");
        }
        assert!(decimal("1e99999999999999999").is_whole() && !decimal("1e-99999999999999999").is_whole());
    }

    #[test]
    fn long_numbers_take_no_memory_and_little_time() {
        let (mut one, mut two) = ("7".repeat(1 << 20), "7".repeat(1 << 20));
        one.push('1');
        two.push('2');
        assert!(decimal(&one) < decimal(&two));
        let zeros = format!("1{}", "0".repeat(1 << 20));
        assert_eq!(decimal(&zeros), decimal("1e1048576"));
    }

    proptest! {
        #[test]
        fn as_whole_numbers_compare(one in any::<i64>(), two in any::<i64>(), zeros in 0_usize..5, shift in 0_usize..4) {
            let text = format!("{one}.{}", "0".repeat(zeros + 1));
            let shifted = format!("{two}{}e-{shift}", "0".repeat(shift));
            prop_assert_eq!(decimal(&text).cmp(&decimal(&shifted)), one.cmp(&two));
            prop_assert_eq!(decimal(&text).as_i128(), Some(one.into()));
        }

        #[test]
        fn any_text_is_read_or_refused(text in "[-+]?[0-9.eE+-]{0,12}") {
            if let Some(number) = Decimal::read(&text) {
                let value: f64 = text.parse().unwrap_or(0.0);
                prop_assert!(number == number && (value > 0.0 || number <= decimal("0") || value == 0.0));
            }
        }
    }
}
