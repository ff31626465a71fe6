//! The wire format of protocol buffers, as much of it as `tokenizer.model` uses
//! (<https://protobuf.dev/programming-guides/encoding/>).

/// A field's value as stored.
#[derive(Debug, PartialEq)]
pub(super) enum Field<'a> {
    Varint(u64),
    Fixed64(u64),
    Bytes(&'a [u8]),
    Fixed32(u32),
}

/// The fields of a message with their numbers; `None` at the first byte that is not of the format, after which nothing follows.
pub(super) fn fields(mut bytes: &[u8]) -> impl Iterator<Item = Option<(u64, Field<'_>)>> {
    std::iter::from_fn(move || {
        if bytes.is_empty() {
            return None;
        }
        let field = field(&mut bytes);
        if field.is_none() {
            bytes = &[];
        }
        Some(field)
    })
}

fn field<'a>(bytes: &mut &'a [u8]) -> Option<(u64, Field<'a>)> {
    let tag = varint(bytes)?;
    let value = match tag & 7 {
        0 => Field::Varint(varint(bytes)?),
        1 => {
            let (number, rest) = bytes.split_first_chunk()?;
            *bytes = rest;
            Field::Fixed64(u64::from_le_bytes(*number))
        }
        2 => {
            let len = usize::try_from(varint(bytes)?).ok()?;
            let (value, rest) = bytes.split_at_checked(len)?;
            *bytes = rest;
            Field::Bytes(value)
        }
        5 => {
            let (number, rest) = bytes.split_first_chunk()?;
            *bytes = rest;
            Field::Fixed32(u32::from_le_bytes(*number))
        }
        _ => return None,
    };
    Some((tag >> 3, value))
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_read_and_cuts_are_noticed() {
        let message = [0x08, 0x96, 0x01, 0x12, 2, b'a', b'b', 0x1d, 0, 0, 0x80, 0x3f];
        let read: Option<Vec<_>> = fields(&message).collect();
        let expected =
            [(1, Field::Varint(150)), (2, Field::Bytes(b"ab")), (3, Field::Fixed32(1.0_f32.to_bits()))];
        assert_eq!(read.unwrap(), expected);
        for len in [1, 2, 4, 5, 6, 8, 11] {
            assert_eq!(fields(&message[..len]).collect::<Option<Vec<_>>>(), None, "{len}");
        }
        assert_eq!(fields(&[0x0b]).collect::<Option<Vec<_>>>(), None);
        assert_eq!(fields(&[0xff; 11]).collect::<Option<Vec<_>>>(), None);
    }
}
