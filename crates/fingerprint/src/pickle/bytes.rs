//! Bytes taken one after the other.

/// What is left of the pickle.
pub(super) struct Bytes<'a>(pub(super) &'a [u8]);

impl<'a> Bytes<'a> {
    pub(super) fn take(&mut self, count: usize) -> Result<&'a [u8], String> {
        let Some((head, rest)) = self.0.split_at_checked(count) else {
            return Err(format!("it ends where {count} more bytes are expected, {} are left", self.0.len()));
        };
        self.0 = rest;
        Ok(head)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    pub(super) fn byte(&mut self) -> Result<u8, String> {
        Ok(self.array::<1>()?[0])
    }

    /// A little-endian number of so many bytes, up to eight, without sign.
    pub(super) fn unsigned(&mut self, count: usize) -> Result<u64, String> {
        Ok(self.take(count)?.iter().rev().fold(0, |n, &byte| n << 8 | u64::from(byte)))
    }

    /// As many bytes as the number in the next `width` bytes says.
    pub(super) fn counted(&mut self, width: usize) -> Result<&'a [u8], String> {
        let count = self.unsigned(width)?;
        self.take(usize::try_from(count).unwrap_or(usize::MAX))
    }

    pub(super) fn line(&mut self) -> Result<&'a str, String> {
        let end = self.0.iter().position(|&b| b == b'\n').ok_or("it ends within a line")?;
        let line = self.take(end)?;
        self.take(1)?;
        text(line)
    }
}

pub(super) fn text(bytes: &[u8]) -> Result<&str, String> {
    std::str::from_utf8(bytes).map_err(|e| format!("a text is not UTF-8: {e}"))
}
