//! BloscLZ, in which Blosc2 keeps the table of a file's chunks.

/// From this distance on, it is written in 16 bits.
const FAR: usize = 8191;

/// Decodes into `out` and gives the number of bytes; none if the data are damaged.
pub(super) fn decode(stream: &[u8], out: &mut [u8]) -> Option<usize> {
    let mut stream = stream.iter().copied();
    let mut done = 0;
    let mut control = stream.next()? & 31;
    loop {
        if control < 32 {
            for _ in 0..=control {
                *out.get_mut(done)? = stream.next()?;
                done += 1;
            }
        } else {
            let mut length = usize::from(control >> 5) + 2;
            let high = usize::from(control & 31) << 8;
            if control >> 5 == 7 {
                loop {
                    let more = stream.next()?;
                    length += usize::from(more);
                    if more != 255 {
                        break;
                    }
                }
            }
            let low = usize::from(stream.next()?);
            let distance = if low == 255 && high == 31 << 8 {
                let far = [stream.next()?, stream.next()?];
                usize::from(u16::from_be_bytes(far)) + FAR + 1
            } else {
                high + low + 1
            };
            let from = done.checked_sub(distance)?;
            if length > out.len() - done {
                return None;
            }
            for at in from..from + length {
                out[done] = out[at];
                done += 1;
            }
        }
        match stream.next() {
            Some(next) => control = next,
            None => return Some(done),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::decode;

    #[test]
    fn literals_matches_and_runs() {
        // Three literals, a match of 4 from 3 back, a run of 9 + 1 from 1 back (its length in another byte).
        let stream = [2, b'a', b'b', b'c', 2 << 5, 2, 7 << 5, 1, 0, 0, b'!'];
        let mut out = [0; 18];
        assert_eq!(decode(&stream, &mut out), Some(18));
        assert_eq!(&out, b"abcabcaaaaaaaaaaa!");
        for length in 0..stream.len() {
            let _ = decode(&stream[..length], &mut out);
        }
        assert_eq!(decode(&stream, &mut [0; 17]), None);
        assert_eq!(decode(&[0, 1, 1 << 5, 5], &mut out), None, "before the beginning");
    }
}
