//! What compressed frames say about their size, known before a decoder takes memory for it.

/// Rows and columns of a JPEG or JPEG 2000 image, if these bytes begin one.
pub(super) fn size(bytes: &[u8]) -> Option<[u32; 2]> {
    match bytes {
        [0xff, 0xd8, rest @ ..] => jpeg(rest),
        // Start of the code stream, then the segment with the size: its length, capabilities, width and height.
        [0xff, 0x4f, 0xff, 0x51, _, _, _, _, rest @ ..] => {
            let number = |at: usize| Some(u32::from_be_bytes(*rest.get(at..)?.first_chunk()?));
            Some([number(4)?, number(0)?])
        }
        _ => None,
    }
}

/// The frame header behind the start of an image.
fn jpeg(mut bytes: &[u8]) -> Option<[u32; 2]> {
    loop {
        let marker = loop {
            let (&byte, rest) = bytes.split_first()?;
            bytes = rest;
            if byte == 0xff {
                let fill = bytes.iter().position(|&byte| byte != 0xff)?;
                let marker = bytes[fill];
                bytes = &bytes[fill + 1..];
                break marker;
            }
        };
        match marker {
            // Without content.
            0x00 | 0x01 | 0xd0..=0xd8 => continue,
            0xd9 | 0xda => return None,
            _ => {}
        }
        let length = usize::from(u16::from_be_bytes(*bytes.first_chunk()?));
        let is_frame = matches!(marker, 0xc0..=0xcf) && !matches!(marker, 0xc4 | 0xc8 | 0xcc);
        if is_frame {
            let short = |at: usize| Some(u32::from(u16::from_be_bytes(*bytes.get(at..)?.first_chunk()?)));
            return Some([short(3)?, short(5)?]);
        }
        bytes = bytes.get(length.max(2)..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::size;

    #[test]
    fn sizes_are_found_behind_other_segments() {
        let jpeg = [
            &[0xff, 0xd8, 0xff, 0xe0, 0, 4, 1, 2][..],
            &[0xff, 0xff, 0xc4, 0, 3, 9],
            &[0xff, 0xc3, 0, 11, 16, 1, 2, 3, 4, 1, 0, 0x11, 0],
        ];
        let jpeg = jpeg.concat();
        assert_eq!(size(&jpeg), Some([0x102, 0x304]));
        (0..jpeg.len() - 5).for_each(|length| assert_eq!(size(&jpeg[..length]), None, "{length}"));
        let stream = [0xff, 0x4f, 0xff, 0x51, 0, 41, 0, 0, 0, 0, 0, 7, 0, 0, 1, 0];
        assert_eq!(size(&stream), Some([256, 7]));
        assert_eq!(size(&[0xff, 0xd8, 0xff, 0xda, 0, 3, 0]), None);
        assert_eq!(size(b"other"), None);
    }
}
