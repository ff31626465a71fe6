//! Reading numbers and strings from bytes in either byte order, without ever going past the end.

/// The order of the bytes of every number in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ByteOrder {
    /// Least significant byte first: almost every file.
    Little,
    /// Most significant byte first: files made for s390x and the like.
    Big,
}

impl ByteOrder {
    /// The order of this machine, the only one llama.cpp loads.
    pub const fn native() -> Self {
        if cfg!(target_endian = "big") { Self::Big } else { Self::Little }
    }
}

/// How a file writes its numbers and lengths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Encoding {
    /// Byte order of every number.
    pub(crate) order: ByteOrder,
    /// True in version 1, where counts and lengths take 32 bits and not 64.
    pub(crate) short_lengths: bool,
}

impl Encoding {
    /// Bytes that a count or length takes.
    pub(crate) const fn length_bytes(self) -> u64 {
        if self.short_lengths { 4 } else { 8 }
    }
}

/// A position in a slice of bytes; a read past the end returns `None` and does not move it.
///
/// The bytes may be only the beginning of a longer file. Lengths are then compared with the whole file's size, and a read of bytes that
/// the file has but that are not here is remembered in [`Reader::missing`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
    total: u64,
    position: usize,
    missing: Option<u64>,
    encoding: Encoding,
}

macro_rules! number {
    ($($name:ident: $type:ty),+ $(,)?) => {$(
        #[doc = concat!("The next `", stringify!($type), "`.")]
        pub(crate) fn $name(&mut self) -> Option<$type> {
            let raw = self.take(size_of::<$type>() as u64)?.try_into().ok()?;
            Some(match self.encoding.order {
                ByteOrder::Little => <$type>::from_le_bytes(raw),
                ByteOrder::Big => <$type>::from_be_bytes(raw),
            })
        }
    )+};
}

impl<'a> Reader<'a> {
    /// Starts at the first of `bytes`.
    pub(crate) fn new(bytes: &'a [u8], encoding: Encoding) -> Self {
        Self::of_beginning(bytes, bytes.len() as u64, encoding)
    }

    /// Starts at the first of `bytes`, the beginning of a file of `total` bytes.
    pub(crate) fn of_beginning(bytes: &'a [u8], total: u64, encoding: Encoding) -> Self {
        Self { bytes, total: total.max(bytes.len() as u64), position: 0, missing: None, encoding }
    }

    /// How many of the file's first bytes a failed read would have needed, if they are in the file but not here.
    pub(crate) fn missing(&self) -> Option<u64> {
        self.missing
    }

    /// All bytes that are here.
    pub(crate) fn all(&self) -> &'a [u8] {
        self.bytes
    }

    /// Bytes read so far.
    pub(crate) fn position(&self) -> u64 {
        self.position as u64
    }

    /// Bytes of the file not read yet.
    pub(crate) fn remaining(&self) -> u64 {
        self.total - self.position as u64
    }

    /// How this reader decodes numbers.
    pub(crate) fn encoding(&self) -> Encoding {
        self.encoding
    }

    /// From here on, decode numbers as `encoding` says.
    pub(crate) fn set_encoding(&mut self, encoding: Encoding) {
        self.encoding = encoding;
    }

    /// The next `n` bytes.
    pub(crate) fn take(&mut self, n: u64) -> Option<&'a [u8]> {
        if n > self.remaining() {
            return None;
        }
        let needed = self.position as u64 + n;
        let taken = usize::try_from(needed).ok().and_then(|end| self.bytes.get(self.position..end));
        match taken {
            Some(taken) => self.position += taken.len(),
            None => self.missing = self.missing.max(Some(needed)),
        }
        taken
    }

    /// The bytes from `start`, a position read before, up to here.
    pub(crate) fn since(&self, start: u64) -> &'a [u8] {
        self.bytes.get(start as usize..self.position).unwrap_or_default()
    }

    number!(u8: u8, i8: i8, u16: u16, i16: i16, u32: u32, i32: i32, u64: u64, i64: i64, f32: f32, f64: f64);

    /// The next count or length: 32 bits in version 1, else 64.
    pub(crate) fn length(&mut self) -> Option<u64> {
        if self.encoding.short_lengths { self.u32().map(u64::from) } else { self.u64() }
    }
}
