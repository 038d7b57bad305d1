//! Units stored only in Arrow's schema of a Parquet file.
//!
//! Parquet has no type for durations. Writers that use Arrow store them as plain
//! integers, with their unit in the metadata `ARROW:schema`: base64 of an encapsulated
//! message (Arrow's columnar format, "IPC"), which is a FlatBuffers table. This reads
//! only the necessary part; Arrow's own crates would add a compute engine for one
//! number.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::values::Unit;

/// Maximum size of a schema: a thousand columns take about 100 kB.
const LONGEST: usize = 1 << 24;

/// The unit of a top-level duration column.
pub(super) fn duration(encoded: &str, column: &str) -> Option<Unit> {
    (encoded.len() <= LONGEST).then_some(())?;
    let bytes = STANDARD.decode(encoded).ok()?;
    // A marker, the length, and then the table's offset; before Arrow 0.15 without the
    // marker.
    let message = match bytes.strip_prefix(&[0xff; 4]) {
        Some(rest) => rest.get(4..)?,
        None => bytes.get(4..)?,
    };
    let message = Table::root(message)?;
    const SCHEMA: u8 = 1;
    (message.byte(1)? == SCHEMA).then_some(())?;
    let fields = message.table(2)?.vector(1)?;
    let field = fields
        .into_iter()
        .find(|field| field.text(0) == Some(column.as_bytes()))?;
    const DURATION: u8 = 18;
    (field.byte(2)? == DURATION).then_some(())?;
    // The default is the millisecond.
    match field.table(3)?.short(0).unwrap_or(1) {
        0 => Some(Unit::Second),
        1 => Some(Unit::Milli),
        2 => Some(Unit::Micro),
        3 => Some(Unit::Nano),
        _ => None,
    }
}

/// A FlatBuffers table, with field offsets in a vtable.
#[derive(Clone, Copy)]
struct Table<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Table<'a> {
    fn root(bytes: &'a [u8]) -> Option<Table<'a>> {
        let at = u32_at(bytes, 0)?;
        Some(Table { bytes, at })
    }

    /// Position of a field; `None` if it has its default.
    fn field(self, number: usize) -> Option<usize> {
        let back = i32::from_le_bytes(self.bytes.get(self.at..self.at + 4)?.try_into().ok()?);
        let places = usize::try_from(i64::try_from(self.at).ok()? - i64::from(back)).ok()?;
        let size = u16_at(self.bytes, places)?;
        let entry = 4 + 2 * number;
        (entry + 2 <= usize::from(size)).then_some(())?;
        match u16_at(self.bytes, places.checked_add(entry)?)? {
            0 => None,
            place => self.at.checked_add(place.into()),
        }
    }

    fn byte(self, number: usize) -> Option<u8> {
        self.bytes.get(self.field(number)?).copied()
    }

    fn short(self, number: usize) -> Option<u16> {
        u16_at(self.bytes, self.field(number)?)
    }

    /// Target of a field.
    fn target(self, number: usize) -> Option<usize> {
        let at = self.field(number)?;
        at.checked_add(u32_at(self.bytes, at)?)
    }

    fn table(self, number: usize) -> Option<Table<'a>> {
        let at = self.target(number)?;
        Some(Table { at, ..self })
    }

    fn text(self, number: usize) -> Option<&'a [u8]> {
        let at = self.target(number)?;
        let length = u32_at(self.bytes, at)?;
        let start = at.checked_add(4)?;
        self.bytes.get(start..start.checked_add(length)?)
    }

    fn vector(self, number: usize) -> Option<Vec<Table<'a>>> {
        let at = self.target(number)?;
        let length = u32_at(self.bytes, at)?;
        (length <= self.bytes.len() / 4).then_some(())?;
        let element = |i| {
            let place = at.checked_add(4 + 4 * i)?;
            let at = place.checked_add(u32_at(self.bytes, place)?)?;
            Some(Table { at, ..self })
        };
        (0..length).map(element).collect()
    }
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    let bytes = bytes.get(at..at.checked_add(2)?)?;
    Some(u16::from_le_bytes(bytes.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<usize> {
    let bytes = bytes.get(at..at.checked_add(4)?)?;
    usize::try_from(u32::from_le_bytes(bytes.try_into().ok()?)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of pyarrow 26: `s: duration[s], ms: duration[ms], us: duration[us],
    /// ns: duration[ns], episode: int64`.
    const SCHEMA: &str = "\
        /////zABAAAQAAAAAAAKAAwABgAFAAgACgAAAAABBAAMAAAACAAIAAAABAAIAAAABAAAAAUAAADUAAAA\
        mAAAAGwAAABAAAAABAAAAFD///8AAAECEAAAACAAAAAEAAAAAAAAAAcAAABlcGlzb2RlAAgADAAIAAcA\
        CAAAAAAAAAFAAAAAiP///wAAARIQAAAAFAAAAAQAAAAAAAAAAgAAAG5zAAB6////AAADALD///8AAAES\
        EAAAABQAAAAEAAAAAAAAAAIAAAB1cwAAov///wAAAgDY////AAABEhAAAAAYAAAABAAAAAAAAAACAAAA\
        bXMAAAQABAAEAAAAEAAUAAgABgAHAAwAAAAQABAAAAAAAAESEAAAABgAAAAEAAAAAAAAAAEAAABzAAYA\
        CAAGAAYAAAAAAAAA";

    #[test]
    fn units_of_durations() {
        for (column, unit) in [
            ("s", Some(Unit::Second)),
            ("ms", Some(Unit::Milli)),
            ("us", Some(Unit::Micro)),
            ("ns", Some(Unit::Nano)),
            ("episode", None),
            ("none", None),
        ] {
            assert_eq!(duration(SCHEMA, column), unit, "{column}");
        }
    }

    #[test]
    fn arbitrary_bytes_do_not_panic() {
        let whole = STANDARD.decode(SCHEMA).unwrap();
        for at in 0..whole.len() {
            for value in [0, 1, 0x7f, 0xff] {
                let mut bytes = whole.clone();
                bytes[at] = value;
                duration(&STANDARD.encode(&bytes), "us");
            }
            duration(&STANDARD.encode(&whole[..at]), "us");
        }
        assert_eq!(duration("no base64", "us"), None);
    }
}
