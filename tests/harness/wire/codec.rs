//! How values become bytes and bytes values: the encoding rules of docs/protocol.md, by hand.
//!
//! A message says once in which order its fields come ([`Coded::walk`]). The [`Writer`] goes that
//! way to write them, the [`Reader`] to read them; the reader keeps a line for each field, so that
//! bytes can be shown with what they say.

use std::fmt;

/// Something that is made of fields.
pub trait Coded: Sized {
    /// A value to read into.
    fn blank() -> Self;

    /// Visits all fields in the order of the format.
    fn walk(&mut self, visitor: &mut impl Visitor) -> Result<(), Wrong>;
}

/// Why bytes are not what they should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrong(pub String);

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whoever goes from field to field.
pub trait Visitor {
    /// Bytes of a fixed number, as they are.
    fn bytes(&mut self, name: &str, value: &mut [u8]) -> Result<(), Wrong>;
    /// One byte, as it is.
    fn byte(&mut self, name: &str, value: &mut u8) -> Result<(), Wrong>;
    /// An unsigned integer of so many bits.
    fn unsigned(&mut self, name: &str, bits: u32, value: &mut u64) -> Result<(), Wrong>;
    /// A signed integer of 64 bits.
    fn signed(&mut self, name: &str, value: &mut i64) -> Result<(), Wrong>;
    /// Text.
    fn text(&mut self, name: &str, value: &mut String) -> Result<(), Wrong>;
    /// Yes or no, or whether there is a value.
    fn flag(&mut self, name: &str, value: &mut bool) -> Result<(), Wrong>;
    /// How many elements follow.
    fn count(&mut self, name: &str, value: &mut usize) -> Result<(), Wrong>;
    /// Which of these it is.
    fn variant(&mut self, name: &str, names: &[&str], value: &mut usize) -> Result<(), Wrong>;

    /// An unsigned integer of 16 bits.
    fn short(&mut self, name: &str, value: &mut u16) -> Result<(), Wrong> {
        let mut wide = u64::from(*value);
        self.unsigned(name, 16, &mut wide)?;
        *value = u16::try_from(wide).unwrap();
        Ok(())
    }

    /// An unsigned integer of 32 bits.
    fn long(&mut self, name: &str, value: &mut u32) -> Result<(), Wrong> {
        let mut wide = u64::from(*value);
        self.unsigned(name, 32, &mut wide)?;
        *value = u32::try_from(wide).unwrap();
        Ok(())
    }

    /// 32 bytes, or nothing.
    fn perhaps(&mut self, name: &str, value: &mut Option<[u8; 32]>) -> Result<(), Wrong> {
        let mut there = value.is_some();
        self.flag(name, &mut there)?;
        if there {
            let mut bytes = value.unwrap_or_default();
            self.bytes(name, &mut bytes)?;
            *value = Some(bytes);
        } else {
            *value = None;
        }
        Ok(())
    }

    /// A number, or nothing.
    fn perhaps_number(&mut self, name: &str, value: &mut Option<u64>) -> Result<(), Wrong> {
        let mut there = value.is_some();
        self.flag(name, &mut there)?;
        if there {
            let mut number = value.unwrap_or_default();
            self.unsigned(name, 64, &mut number)?;
            *value = Some(number);
        } else {
            *value = None;
        }
        Ok(())
    }
}

/// The message as bytes.
pub fn encode<M: Coded + Clone>(message: &M) -> Vec<u8> {
    let mut writer = Writer(Vec::new());
    message.clone().walk(&mut writer).unwrap();
    writer.0
}

/// The message that takes up all of `bytes`.
pub fn decode<M: Coded>(bytes: &[u8]) -> Result<M, Wrong> {
    let mut reader = Reader::new(bytes);
    let message = reader.message()?;
    reader.end()?;
    Ok(message)
}

/// The bytes of a message, a line or more for each field, each with what it says.
pub fn dump<M: Coded>(bytes: &[u8]) -> Result<String, Wrong> {
    let mut reader = Reader::new(bytes);
    reader.message::<M>()?;
    reader.end()?;
    Ok(reader.lines)
}

/// Writes an integer of up to 64 bits in as few bytes as it takes.
pub fn varint(value: u64) -> Vec<u8> {
    let little = value.to_le_bytes();
    match value {
        0..=250 => vec![little[0]],
        251..=0xffff => [&[251], &little[..2]].concat(),
        0x1_0000..=0xffff_ffff => [&[252], &little[..4]].concat(),
        _ => [&[253], &little[..]].concat(),
    }
}

/// The place of a signed integer in the order 0, −1, 1, −2, 2 …
pub fn zigzag(value: i64) -> u64 {
    if value < 0 {
        (value.unsigned_abs() - 1) * 2 + 1
    } else {
        value.unsigned_abs() * 2
    }
}

/// The integer whose place in that order this is.
pub fn unzigzag(place: u64) -> i64 {
    let half = i64::try_from(place / 2).unwrap();
    if place.is_multiple_of(2) {
        half
    } else {
        -half - 1
    }
}

/// Writes fields one behind the other.
pub struct Writer(Vec<u8>);

impl Visitor for Writer {
    fn bytes(&mut self, _: &str, value: &mut [u8]) -> Result<(), Wrong> {
        self.0.extend_from_slice(value);
        Ok(())
    }

    fn byte(&mut self, _: &str, value: &mut u8) -> Result<(), Wrong> {
        self.0.push(*value);
        Ok(())
    }

    fn unsigned(&mut self, _: &str, _: u32, value: &mut u64) -> Result<(), Wrong> {
        self.0.extend(varint(*value));
        Ok(())
    }

    fn signed(&mut self, _: &str, value: &mut i64) -> Result<(), Wrong> {
        self.0.extend(varint(zigzag(*value)));
        Ok(())
    }

    fn text(&mut self, _: &str, value: &mut String) -> Result<(), Wrong> {
        self.0.extend(varint(value.len() as u64));
        self.0.extend_from_slice(value.as_bytes());
        Ok(())
    }

    fn flag(&mut self, _: &str, value: &mut bool) -> Result<(), Wrong> {
        self.0.push(u8::from(*value));
        Ok(())
    }

    fn count(&mut self, _: &str, value: &mut usize) -> Result<(), Wrong> {
        self.0.extend(varint(*value as u64));
        Ok(())
    }

    fn variant(&mut self, _: &str, _: &[&str], value: &mut usize) -> Result<(), Wrong> {
        self.0.extend(varint(*value as u64));
        Ok(())
    }
}

/// Reads fields one behind the other, and keeps a line for each.
pub struct Reader<'a> {
    rest: &'a [u8],
    lines: String,
}

/// Bytes on a line.
const WIDTH: usize = 16;

impl<'a> Reader<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self {
            rest: bytes,
            lines: String::new(),
        }
    }

    /// Reads one message.
    pub fn message<M: Coded>(&mut self) -> Result<M, Wrong> {
        let mut message = M::blank();
        message.walk(self)?;
        Ok(message)
    }

    /// Makes sure that nothing is left.
    pub fn end(&self) -> Result<(), Wrong> {
        match self.rest.len() {
            0 => Ok(()),
            left => Err(Wrong(format!("{left} bytes left over"))),
        }
    }

    /// The lines so far.
    pub fn into_lines(self) -> String {
        self.lines
    }

    /// So many bytes, without a line.
    pub fn take(&mut self, count: usize, name: &str) -> Result<&'a [u8], Wrong> {
        let Some((taken, rest)) = self.rest.split_at_checked(count) else {
            return Err(Wrong(format!("{name}: the message ends early")));
        };
        self.rest = rest;
        Ok(taken)
    }

    /// A line that says what these bytes are.
    pub fn say(&mut self, bytes: &[u8], says: &str) {
        for (index, line) in bytes.chunks(WIDTH).enumerate() {
            let hex: Vec<_> = line.iter().map(|byte| format!("{byte:02x}")).collect();
            let hex = hex.join(" ");
            if index == 0 {
                let width = WIDTH * 3;
                self.lines += &format!("{hex:<width$} {says}\n");
            } else {
                self.lines += &format!("{hex}\n");
            }
        }
    }

    /// An integer of up to `bits` bits, and the bytes it took.
    fn integer(&mut self, name: &str, bits: u32) -> Result<(u64, Vec<u8>), Wrong> {
        let first = self.take(1, name)?[0];
        let width = match first {
            0..=250 => return Ok((first.into(), vec![first])),
            251 => 2,
            252 if bits >= 32 => 4,
            253 if bits >= 64 => 8,
            _ => {
                return Err(Wrong(format!("{name}: marker {first} in {bits} bits")));
            }
        };
        let bytes = self.take(width, name)?;
        let mut little = [0; 8];
        little[..width].copy_from_slice(bytes);
        Ok((u64::from_le_bytes(little), [&[first], bytes].concat()))
    }
}

impl Visitor for Reader<'_> {
    fn bytes(&mut self, name: &str, value: &mut [u8]) -> Result<(), Wrong> {
        let taken = self.take(value.len(), name)?;
        value.copy_from_slice(taken);
        self.say(taken, &format!("{name}: {} bytes", taken.len()));
        Ok(())
    }

    fn byte(&mut self, name: &str, value: &mut u8) -> Result<(), Wrong> {
        let taken = self.take(1, name)?;
        *value = taken[0];
        self.say(taken, &format!("{name} = {value}"));
        Ok(())
    }

    fn unsigned(&mut self, name: &str, bits: u32, value: &mut u64) -> Result<(), Wrong> {
        let (number, bytes) = self.integer(name, bits)?;
        *value = number;
        self.say(&bytes, &format!("{name} = {value}"));
        Ok(())
    }

    fn signed(&mut self, name: &str, value: &mut i64) -> Result<(), Wrong> {
        let (place, bytes) = self.integer(name, 64)?;
        *value = unzigzag(place);
        self.say(&bytes, &format!("{name} = {value}"));
        Ok(())
    }

    fn text(&mut self, name: &str, value: &mut String) -> Result<(), Wrong> {
        let (length, bytes) = self.integer(name, 64)?;
        self.say(&bytes, &format!("{name}: {length} bytes of text"));
        let taken = self.take(usize::try_from(length).unwrap(), name)?;
        *value = String::from_utf8(taken.to_vec())
            .map_err(|error| Wrong(format!("{name}: not UTF-8: {error}")))?;
        self.say(taken, &format!("{name} = {value:?}"));
        Ok(())
    }

    fn flag(&mut self, name: &str, value: &mut bool) -> Result<(), Wrong> {
        let taken = self.take(1, name)?;
        *value = match taken[0] {
            0 => false,
            1 => true,
            other => return Err(Wrong(format!("{name}: {other} is neither 0 nor 1"))),
        };
        let says = if *value { "yes" } else { "no" };
        self.say(taken, &format!("{name}: {says}"));
        Ok(())
    }

    fn count(&mut self, name: &str, value: &mut usize) -> Result<(), Wrong> {
        let (number, bytes) = self.integer(name, 64)?;
        *value = usize::try_from(number).unwrap();
        if *value > self.rest.len() {
            return Err(Wrong(format!("{name}: {value} elements do not fit")));
        }
        self.say(&bytes, &format!("{name}: {value} elements"));
        Ok(())
    }

    fn variant(&mut self, name: &str, names: &[&str], value: &mut usize) -> Result<(), Wrong> {
        let (number, bytes) = self.integer(name, 32)?;
        *value = usize::try_from(number).unwrap();
        let Some(variant) = names.get(*value) else {
            return Err(Wrong(format!("{name}: there is no variant {value}")));
        };
        self.say(&bytes, &format!("{name} = {variant}"));
        Ok(())
    }
}
