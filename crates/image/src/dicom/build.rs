//! Elements of files that are written.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;

use dicom_core::value::{C, DataSetSequence, PrimitiveValue};
use dicom_core::{DataElement, Length, Tag, VR};
use dicom_object::mem::InMemElement;
use dicom_object::{FileMetaTableBuilder, InMemDicomObject};

use super::DicomCode;
use crate::{ImageError, fs};

/// Longest decimal string.
const DECIMAL: usize = 16;

/// A data set that is filled element by element.
pub(super) struct Set(pub(super) InMemDicomObject);

impl Set {
    pub(super) fn new() -> Self {
        Self(InMemDicomObject::new_empty())
    }

    pub(super) fn text(mut self, tag: Tag, vr: VR, value: &str) -> Self {
        self.0.put(DataElement::new(tag, vr, value));
        self
    }

    /// An element without a value.
    pub(super) fn empty(mut self, tag: Tag, vr: VR) -> Self {
        self.0.put(DataElement::new(tag, vr, PrimitiveValue::Empty));
        self
    }

    pub(super) fn shorts(mut self, tag: Tag, values: &[u16]) -> Self {
        self.0.put(DataElement::new(tag, VR::US, PrimitiveValue::U16(C::from_slice(values))));
        self
    }

    pub(super) fn longs(mut self, tag: Tag, values: &[u32]) -> Self {
        self.0.put(DataElement::new(tag, VR::UL, PrimitiveValue::U32(C::from_slice(values))));
        self
    }

    pub(super) fn decimals(mut self, tag: Tag, values: &[f64]) -> Self {
        let texts: C<String> = values.iter().map(|&value| decimal(value)).collect();
        self.0.put(DataElement::new(tag, VR::DS, PrimitiveValue::Strs(texts)));
        self
    }

    pub(super) fn integers(mut self, tag: Tag, values: &[i64]) -> Self {
        let texts: C<String> = values.iter().map(i64::to_string).collect();
        self.0.put(DataElement::new(tag, VR::IS, PrimitiveValue::Strs(texts)));
        self
    }

    pub(super) fn bytes(mut self, tag: Tag, mut values: Vec<u8>) -> Self {
        if values.len() % 2 == 1 {
            values.push(0);
        }
        self.0.put(DataElement::new(tag, VR::OB, PrimitiveValue::U8(values.into())));
        self
    }

    pub(super) fn items(mut self, tag: Tag, items: Vec<Self>) -> Self {
        let items: Vec<InMemDicomObject> = items.into_iter().map(|item| item.0).collect();
        let element: InMemElement =
            DataElement::new(tag, VR::SQ, DataSetSequence::new(items, Length::UNDEFINED));
        self.0.put(element);
        self
    }

    pub(super) fn item(self, tag: Tag, item: Self) -> Self {
        self.items(tag, vec![item])
    }

    pub(super) fn code(self, tag: Tag, code: &DicomCode) -> Self {
        self.item(tag, coded(code))
    }
}

/// The three elements of a code.
pub(super) fn coded(code: &DicomCode) -> Set {
    use dicom_dictionary_std::tags;
    Set::new()
        .text(tags::CODE_VALUE, VR::SH, &code.value)
        .text(tags::CODING_SCHEME_DESIGNATOR, VR::SH, &code.scheme)
        .text(tags::CODE_MEANING, VR::LO, &code.meaning)
}

/// A number in at most 16 characters, with as many digits as they hold.
pub(super) fn decimal(value: f64) -> String {
    let shortest = value.to_string();
    if shortest.len() <= DECIMAL {
        return shortest;
    }
    for digits in (0..DECIMAL).rev() {
        let text = format!("{value:.digits$}");
        let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
        let text = if text == "-0" { "0" } else { text };
        if text.len() <= DECIMAL {
            return text.to_owned();
        }
    }
    format!("{value:.8e}")
}

/// A UID under 2.25 from whatever makes it different from others; the same parts give the same UID.
pub(super) fn new_uid(parts: &[&dyn AsRef<[u8]>]) -> String {
    let half = |salt: u64| {
        let mut hasher = DefaultHasher::new();
        salt.hash(&mut hasher);
        parts.iter().for_each(|part| part.as_ref().hash(&mut hasher));
        u128::from(hasher.finish())
    };
    format!("2.25.{}", half(0x6e6e_756e) << 64 | half(0x6574_2e64))
}

/// What made the file.
pub(super) fn equipment(set: Set) -> Set {
    use dicom_dictionary_std::tags;
    set.text(tags::MANUFACTURER, VR::LO, "nnunet")
        .text(tags::MANUFACTURER_MODEL_NAME, VR::LO, "nnunet")
        .text(tags::DEVICE_SERIAL_NUMBER, VR::LO, "1")
        .text(tags::SOFTWARE_VERSIONS, VR::LO, env!("CARGO_PKG_VERSION"))
}

/// Writes a data set as a DICOM file, explicit VR and little endian, beside its place.
pub(super) fn write(path: &Path, set: Set) -> Result<(), ImageError> {
    write_as(path, set, dicom_dictionary_std::uids::EXPLICIT_VR_LITTLE_ENDIAN)
}

/// Writes a data set as a DICOM file in a transfer syntax, beside its place.
pub(super) fn write_as(path: &Path, set: Set, syntax: &str) -> Result<(), ImageError> {
    let wrong = |reason: String| ImageError::format(path, format!("cannot be written: {reason}"));
    let meta = FileMetaTableBuilder::new().transfer_syntax(syntax);
    let mut object = set.0;
    object.convert_to_utf8();
    let object = object.with_meta(meta).map_err(|error| wrong(error.to_string()))?;
    let to_io = |error: dicom_object::WriteError| std::io::Error::other(error.to_string());
    fs::write_atomic(path, |file| object.write_all(file).map_err(to_io))
        .map_err(|error| ImageError::io(path, error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_fit_into_sixteen_characters() {
        for value in
            [0.0, 1.0 / 3.0, -0.360_000_000_000_000_04, -1_234.567_890_123_4, 1e-17, -1e-17, 6.5, 1e15]
        {
            let text = decimal(value);
            assert!(text.len() <= 16, "{text}");
            assert!((text.parse::<f64>().unwrap() - value).abs() <= 1e-10 * value.abs().max(1e-3), "{text}");
        }
        assert_eq!(decimal(0.4297), "0.4297");
        assert_eq!(decimal(-1.234_567e-17), "0");
        assert!(decimal(1e300).len() <= 16);
    }

    #[test]
    fn uids_are_sound_and_tell_parts_apart() {
        let uid = new_uid(&[&"a", &"bc"]);
        assert!(uid.len() <= 64 && super::super::uid(&uid) == uid);
        assert_ne!(uid, new_uid(&[&"ab", &"c"]));
    }
}
