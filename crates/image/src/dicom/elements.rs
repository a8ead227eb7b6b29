//! Elements of files that are read.

use dicom_core::Tag;
use dicom_dictionary_std::tags;
use dicom_object::InMemDicomObject;

use super::{DicomCode, text};

/// The items of a sequence; none if it is not there.
pub(super) fn items(object: &InMemDicomObject, tag: Tag) -> &[InMemDicomObject] {
    object.get(tag).and_then(|element| element.items()).unwrap_or_default()
}

/// The first code of a sequence.
pub(super) fn code(object: &InMemDicomObject, tag: Tag) -> Option<DicomCode> {
    items(object, tag).first().map(|code| {
        let part = |tag: Tag| text(code, tag);
        DicomCode::new(
            &part(tags::CODE_VALUE),
            &part(tags::CODING_SCHEME_DESIGNATOR),
            &part(tags::CODE_MEANING),
        )
    })
}
