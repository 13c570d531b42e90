//! Sizes of memory and files. Bytes inside, binary units (KiB, MiB, GiB) at the edges.

use std::fmt;
use std::iter::Sum;
use std::ops::{Add, AddAssign};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const TIB: u64 = 1 << 40;

/// A number of bytes.
///
/// Addition saturates: a sum of sizes read from hostile files must not wrap to something that "fits".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ByteCount(u64);

impl ByteCount {
    /// No bytes.
    pub const ZERO: Self = Self(0);

    /// `count` bytes.
    pub const fn bytes(count: u64) -> Self {
        Self(count)
    }

    /// `count` MiB (2^20 bytes), saturating.
    pub const fn mib(count: u64) -> Self {
        Self(count.saturating_mul(MIB))
    }

    /// `count` GiB (2^30 bytes), saturating.
    pub const fn gib(count: u64) -> Self {
        Self(count.saturating_mul(GIB))
    }

    /// A figure in MiB with decimals, as engines print it; negative and non-finite figures become zero.
    pub fn from_mib_f64(mib: f64) -> Self {
        if !mib.is_finite() || mib <= 0.0 {
            return Self::ZERO;
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "checked above to be positive and finite; float-to-int casts saturate"
        )]
        Self((mib * MIB as f64).round() as u64)
    }

    /// The plain number.
    pub const fn as_u64(self) -> u64 {
        self.0
    }

    /// Whole MiB, rounded up: a need must not be understated.
    pub const fn as_mib_ceil(self) -> u64 {
        self.0.div_ceil(MIB)
    }

    /// `self - other`, or zero.
    #[must_use]
    pub const fn saturating_sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }

    /// `self * factor`, or the largest count.
    #[must_use]
    pub const fn saturating_mul(self, factor: u64) -> Self {
        Self(self.0.saturating_mul(factor))
    }
}

impl Add for ByteCount {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl AddAssign for ByteCount {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl Sum for ByteCount {
    fn sum<I: Iterator<Item = Self>>(iter: I) -> Self {
        iter.fold(Self::ZERO, Add::add)
    }
}

impl fmt::Display for ByteCount {
    /// `1.5 GiB`, `93.8 MiB`, `12 KiB`, `7 B`: one decimal from MiB upwards.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        #[expect(clippy::cast_precision_loss, reason = "one decimal is shown")]
        let of = |unit: u64| self.0 as f64 / unit as f64;
        match self.0 {
            n if n >= TIB => write!(f, "{:.1} TiB", of(TIB)),
            n if n >= GIB => write!(f, "{:.1} GiB", of(GIB)),
            n if n >= MIB => write!(f, "{:.1} MiB", of(MIB)),
            n if n >= KIB => write!(f, "{:.0} KiB", of(KIB)),
            n => write!(f, "{n} B"),
        }
    }
}

/// A size that could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a size: write a number of bytes, or a number with K, M, G or T, such as `24G` or `1.5GiB`")]
pub struct ParseByteCountError(String);

impl FromStr for ByteCount {
    type Err = ParseByteCountError;

    /// Reads `1048576`, `512M`, `24G`, `1.5GiB`, `24 gb`. All units are powers of 1024, as memory is sold.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || ParseByteCountError(text.to_owned());
        let trimmed = text.trim();
        let split = trimmed.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(trimmed.len());
        let (number, unit) = trimmed.split_at(split);
        let factor = match unit.trim().to_ascii_lowercase().as_str() {
            "" | "b" => 1,
            "k" | "kb" | "kib" => KIB,
            "m" | "mb" | "mib" => MIB,
            "g" | "gb" | "gib" => GIB,
            "t" | "tb" | "tib" => TIB,
            _ => return Err(error()),
        };
        if let Ok(whole) = number.parse::<u64>() {
            return whole.checked_mul(factor).map(Self).ok_or_else(error);
        }
        let value: f64 = number.parse().map_err(|_| error())?;
        #[expect(clippy::cast_precision_loss, reason = "units are powers of two, exact in f64")]
        let bytes = value * factor as f64;
        #[expect(clippy::cast_precision_loss, reason = "only the order of magnitude matters in this comparison")]
        if !bytes.is_finite() || bytes >= u64::MAX as f64 {
            return Err(error());
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "non-negative and below u64::MAX")]
        Ok(Self(bytes as u64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Option<u64>) {
        assert_eq!(text.parse::<ByteCount>().ok().map(ByteCount::as_u64), expected, "{text}");
    }

    #[test]
    fn reads_sizes_as_people_write_them() {
        check("0", Some(0));
        check("24G", Some(24 << 30));
        check("512m", Some(512 << 20));
        check("1.5GiB", Some(3 << 29));
        check(" 8 gb ", Some(8 << 30));
        check("", None);
        check("G", None);
        check("-1", None);
        check("1.2.3G", None);
        check("12 parsecs", None);
        check("99999999999T", None);
    }

    #[test]
    fn prints_sizes_as_people_read_them() {
        assert_eq!(ByteCount::bytes(7).to_string(), "7 B");
        assert_eq!(ByteCount::mib(93).to_string(), "93.0 MiB");
        assert_eq!(ByteCount::bytes(3 << 29).to_string(), "1.5 GiB");
    }

    #[test]
    fn sums_saturate() {
        let huge = ByteCount::bytes(u64::MAX);
        assert_eq!([huge, huge].into_iter().sum::<ByteCount>(), huge);
    }
}
