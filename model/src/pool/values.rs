//! Values of a Parquet column of any physical type.

use parquet::basic::{ConvertedType, LogicalType, TimeUnit, Type as Physical};
use parquet::column::reader::get_typed_column_reader;
use parquet::data_type::{
    BoolType, ByteArray, ByteArrayType, DataType, DoubleType, FixedLenByteArrayType, FloatType,
    Int32Type, Int64Type, Int96, Int96Type,
};
use parquet::errors::ParquetError;
use parquet::file::reader::RowGroupReader;
use parquet::schema::types::ColumnDescriptor;

/// Values of a column in one row group, one per row.
#[derive(Debug)]
pub(super) enum Values {
    Flags(Vec<bool>),
    Signed(Vec<i64>),
    Unsigned(Vec<u64>),
    Floats(Vec<f64>),
    Texts(Vec<ByteArray>),
}

/// Meaning of an integer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    Second,
    Milli,
    Micro,
    Nano,
}

/// Reason why a column cannot be read.
#[derive(Debug)]
pub(super) enum Unread {
    /// Reason given by the library.
    Parquet(ParquetError),
    /// Unsupported type or length.
    Column(String),
    /// A row of the group has no value.
    Null(usize),
}

impl From<ParquetError> for Unread {
    fn from(error: ParquetError) -> Unread {
        Unread::Parquet(error)
    }
}

impl Unit {
    /// Converts a count of this unit to ns; `None` beyond 584 years.
    pub(super) fn ns(self, count: u64) -> Option<u64> {
        count.checked_mul(match self {
            Unit::Second => 1_000_000_000,
            Unit::Milli => 1_000_000,
            Unit::Micro => 1000,
            Unit::Nano => 1,
        })
    }

    /// Unit of a time column's type, if it has one.
    pub(super) fn of(column: &ColumnDescriptor) -> Option<Unit> {
        match (column.logical_type_ref(), column.converted_type()) {
            (Some(LogicalType::Timestamp(time) | LogicalType::Time(time)), _) => {
                Some(match time.unit {
                    TimeUnit::MILLIS => Unit::Milli,
                    TimeUnit::MICROS => Unit::Micro,
                    TimeUnit::NANOS => Unit::Nano,
                })
            }
            (_, ConvertedType::TIMESTAMP_MILLIS | ConvertedType::TIME_MILLIS) => Some(Unit::Milli),
            (_, ConvertedType::TIMESTAMP_MICROS | ConvertedType::TIME_MICROS) => Some(Unit::Micro),
            _ => None,
        }
    }
}

impl Values {
    /// Reads a column of a row group.
    pub(super) fn read(group: &dyn RowGroupReader, index: usize) -> Result<Values, Unread> {
        let descriptor = group.metadata().column(index).column_descr_ptr();
        let unsigned = is_unsigned(&descriptor);
        Ok(match (descriptor.physical_type(), kind(&descriptor)) {
            (physical, Kind::Decimal { scale }) => scaled(unscaled(group, index, physical)?, scale),
            (_, Kind::Other(name)) => {
                return Err(Unread::Column(format!("type {name}, expected numbers")));
            }
            (Physical::BOOLEAN, _) => Values::Flags(plain::<BoolType>(group, index)?),
            (Physical::INT32, _) => {
                let values = plain::<Int32Type>(group, index)?.into_iter();
                match unsigned {
                    true => Values::Unsigned(values.map(|v| u64::from(v as u32)).collect()),
                    false => Values::Signed(values.map(i64::from).collect()),
                }
            }
            (Physical::INT64, _) => {
                let values = plain::<Int64Type>(group, index)?;
                match unsigned {
                    true => Values::Unsigned(values.into_iter().map(|v| v as u64).collect()),
                    false => Values::Signed(values),
                }
            }
            (Physical::INT96, _) => {
                let values = plain::<Int96Type>(group, index)?;
                let exact: Option<Vec<i64>> = values.iter().map(since_1970).collect();
                let beyond = || Unread::Column("a time outside 1677 to 2262".to_owned());
                Values::Signed(exact.ok_or_else(beyond)?)
            }
            (Physical::FLOAT, _) => {
                let values = plain::<FloatType>(group, index)?;
                Values::Floats(values.into_iter().map(f64::from).collect())
            }
            (Physical::DOUBLE, _) => Values::Floats(plain::<DoubleType>(group, index)?),
            (Physical::BYTE_ARRAY, _) => Values::Texts(plain::<ByteArrayType>(group, index)?),
            (Physical::FIXED_LEN_BYTE_ARRAY, Kind::Half) => {
                let values = plain::<FixedLenByteArrayType>(group, index)?;
                let halves = values.iter().map(|bytes| match bytes.data() {
                    [low, high] => half(u16::from_le_bytes([*low, *high])),
                    _ => f64::NAN,
                });
                Values::Floats(halves.collect())
            }
            (other, _) => return Err(Unread::Column(format!("type {other}, expected numbers"))),
        })
    }

    /// Description of the values, for messages.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Values::Flags(_) => "true or false",
            Values::Signed(_) | Values::Unsigned(_) => "integers",
            Values::Floats(_) => "floating-point numbers",
            Values::Texts(_) => "texts",
        }
    }
}

/// Interpretation of a type.
enum Kind {
    Plain,
    Half,
    /// An integer divided by ten to the power of `scale`.
    Decimal {
        scale: u32,
    },
    Other(String),
}

fn kind(column: &ColumnDescriptor) -> Kind {
    let decimal = column.converted_type() == ConvertedType::DECIMAL
        || matches!(column.logical_type_ref(), Some(LogicalType::Decimal(_)));
    if decimal {
        return match u32::try_from(column.type_scale()) {
            Ok(scale @ 0..=MAX_SCALE) => Kind::Decimal { scale },
            _ => Kind::Other(format!("DECIMAL with {} decimals", column.type_scale())),
        };
    }
    match column.logical_type_ref() {
        Some(LogicalType::Float16) => Kind::Half,
        None
        | Some(
            LogicalType::Integer(_)
            | LogicalType::Timestamp(_)
            | LogicalType::Time(_)
            | LogicalType::String
            | LogicalType::Enum,
        ) => match column.converted_type() {
            other @ (ConvertedType::DATE | ConvertedType::INTERVAL) => {
                Kind::Other(other.to_string())
            }
            _ => Kind::Plain,
        },
        // Its name, without the library's notation of its parameters.
        Some(other) => {
            let name = format!("{other:?}");
            Kind::Other(name.split('(').next().unwrap_or_default().to_owned())
        }
    }
}

/// Maximum number of decimals: that of 16 bytes.
const MAX_SCALE: u32 = 38;

/// Unscaled integers of a decimal column.
fn unscaled(
    group: &dyn RowGroupReader,
    index: usize,
    physical: Physical,
) -> Result<Vec<i128>, Unread> {
    let of_bytes = |bytes: &[u8]| {
        whole_number(bytes).ok_or_else(|| {
            let reason = format!("type DECIMAL of {} bytes, expected at most 16", bytes.len());
            Unread::Column(reason)
        })
    };
    match physical {
        Physical::INT32 => {
            let values = plain::<Int32Type>(group, index)?;
            Ok(values.into_iter().map(i128::from).collect())
        }
        Physical::INT64 => {
            let values = plain::<Int64Type>(group, index)?;
            Ok(values.into_iter().map(i128::from).collect())
        }
        Physical::BYTE_ARRAY => {
            let values = plain::<ByteArrayType>(group, index)?;
            values.iter().map(|bytes| of_bytes(bytes.data())).collect()
        }
        Physical::FIXED_LEN_BYTE_ARRAY => {
            let values = plain::<FixedLenByteArrayType>(group, index)?;
            values.iter().map(|bytes| of_bytes(bytes.data())).collect()
        }
        other => Err(Unread::Column(format!(
            "type DECIMAL of {other}, expected integers or bytes"
        ))),
    }
}

/// Converts decimals to integers if they are integral, otherwise to the
/// nearest floating-point numbers.
fn scaled(unscaled: Vec<i128>, scale: u32) -> Values {
    if scale == 0 {
        let exact = unscaled.iter().map(|value| i64::try_from(*value).ok());
        if let Some(exact) = exact.collect() {
            return Values::Signed(exact);
        }
    }
    let unit = 10_f64.powi(scale as i32);
    Values::Floats(unscaled.iter().map(|value| *value as f64 / unit).collect())
}

/// Parses a big-endian two's complement number; `None` for more than 16
/// bytes.
fn whole_number(bytes: &[u8]) -> Option<i128> {
    let negative = bytes.first().is_some_and(|first| first >> 7 == 1);
    let mut whole = [if negative { 0xff } else { 0 }; 16];
    let start = whole.len().checked_sub(bytes.len())?;
    whole[start..].copy_from_slice(bytes);
    Some(i128::from_be_bytes(whole))
}

fn is_unsigned(column: &ColumnDescriptor) -> bool {
    match column.logical_type_ref() {
        Some(LogicalType::Integer(integer)) => !integer.is_signed,
        _ => matches!(
            column.converted_type(),
            ConvertedType::UINT_8
                | ConvertedType::UINT_16
                | ConvertedType::UINT_32
                | ConvertedType::UINT_64
        ),
    }
}

/// Reads all values of a column without nulls.
fn plain<T: DataType>(group: &dyn RowGroupReader, index: usize) -> Result<Vec<T::T>, Unread> {
    let metadata = group.metadata();
    let present = metadata.column(index).column_descr().max_def_level();
    let rows = usize::try_from(metadata.num_rows()).unwrap_or(0);
    let mut reader = get_typed_column_reader::<T>(group.get_column_reader(index)?);
    let (mut values, mut levels) = (Vec::new(), Vec::new());
    let mut read = 0;
    while read < rows {
        // Other writers mark every column as nullable.
        let levels = (present > 0).then_some(&mut levels);
        let (records, _, _) = reader.read_records(rows - read, levels, None, &mut values)?;
        if records == 0 {
            let reason = format!("{} values in a group of {rows} rows", values.len());
            return Err(Unread::Column(reason));
        }
        read += records;
    }
    if let Some(row) = levels.iter().position(|level| *level < present) {
        return Err(Unread::Null(row));
    }
    every_row(values, rows)
}

/// Refuses a number of values that differs from the number of rows: damaged
/// pages declare records that they do not contain.
fn every_row<T>(values: Vec<T>, rows: usize) -> Result<Vec<T>, Unread> {
    if values.len() == rows {
        return Ok(values);
    }
    let reason = format!("{} values in a group of {rows} rows", values.len());
    Err(Unread::Column(reason))
}

/// Converts the time stamps of Impala and old Spark versions (ns of the day
/// and Julian day) to ns since 1970.
fn since_1970(value: &Int96) -> Option<i64> {
    const DAY_OF_1970: i64 = 2_440_588;
    let [low, high, day] = *value.data() else {
        return None;
    };
    let of_day = i64::try_from(u64::from(low) | u64::from(high) << 32).ok()?;
    let days = i64::from(day) - DAY_OF_1970;
    days.checked_mul(86_400_000_000_000)?.checked_add(of_day)
}

/// Converts a 16-bit floating-point number (IEEE 754 binary16).
fn half(bits: u16) -> f64 {
    let sign = if bits >> 15 == 1 { -1.0 } else { 1.0 };
    let exponent = i32::from(bits >> 10 & 0x1f);
    let fraction = f64::from(bits & 0x3ff);
    sign * match exponent {
        0 => fraction * 2f64.powi(-24),
        0x1f if fraction == 0.0 => f64::INFINITY,
        0x1f => f64::NAN,
        _ => (1.0 + fraction / 1024.0) * 2f64.powi(exponent - 15),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_precision_is_exact() {
        for (bits, value) in [
            (0x0000, 0.0),
            (0x3c00, 1.0),
            (0xc000, -2.0),
            (0x7bff, 65_504.0),
            (0x0001, 2f64.powi(-24)),
            (0x3555, 0.333_251_953_125),
            (0xfc00, f64::NEG_INFINITY),
        ] {
            assert_eq!(half(bits), value, "{bits:x}");
        }
        assert!(half(0x7e00).is_nan());
    }

    #[test]
    fn integers_of_any_length_are_read() {
        for (bytes, value) in [
            (&[][..], Some(0)),
            (&[0x7f], Some(127)),
            (&[0x80], Some(-128)),
            (&[0x01, 0x00, 0x00], Some(65_536)),
            (&[0xff, 0xfe], Some(-2)),
            (&[0xff; 16], Some(-1)),
            (&[0; 17], None),
        ] {
            assert_eq!(whole_number(bytes), value, "{bytes:x?}");
        }
    }

    #[test]
    fn decimals_round_to_nearest() {
        let floats = |unscaled: &[i128], scale| match scaled(unscaled.to_vec(), scale) {
            Values::Floats(values) => values,
            other => panic!("{other:?}"),
        };
        assert_eq!(floats(&[15, -1, 123_456_789], 1), [1.5, -0.1, 12_345_678.9]);
        assert_eq!(floats(&[10_i128.pow(38) - 1], 38), [1.0]);
        assert_eq!(floats(&[1 << 64], 0), [2_f64.powi(64)]);
        let whole = scaled(vec![1500, i64::MAX.into()], 0);
        assert!(matches!(&whole, Values::Signed(v) if *v == [1500, i64::MAX]));
    }

    #[test]
    fn int96_time_stamps_are_relative_to_1970() {
        let at = |day, ns: u64| {
            let mut value = Int96::new();
            value.set_data(ns as u32, (ns >> 32) as u32, day);
            since_1970(&value)
        };
        assert_eq!(at(2_440_588, 7), Some(7));
        assert_eq!(at(2_440_589, 86_399_999_999_999), Some(172_799_999_999_999));
        assert_eq!(at(u32::MAX, 0), None);
    }
}
