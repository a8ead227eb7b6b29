//! What is said of the labels of a segmentation.

use std::path::Path;

use serde_json::Value;

use super::DicomCode;
use crate::ImageError;

/// Colours of segments for which none is given.
const COLOURS: [[u8; 3]; 8] = [
    [230, 75, 53],
    [77, 187, 213],
    [0, 160, 135],
    [243, 155, 127],
    [60, 84, 136],
    [145, 209, 194],
    [126, 97, 72],
    [220, 180, 0],
];

/// A segment of a DICOM SEG file or a region of interest of an RTSTRUCT file, and the label that stands for it in label maps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DicomSegment {
    /// The label.
    pub label: i16,
    /// Segment Label, (0062,0005).
    pub name: String,
    /// Segment Description, (0062,0006); may be empty.
    pub description: String,
    /// Segmented Property Category, (0062,0003).
    pub category: DicomCode,
    /// Segmented Property Type, (0062,000F).
    pub kind: DicomCode,
    /// Its modifier, (0062,0011), such as left or right.
    pub modifier: Option<DicomCode>,
    /// Anatomic Region, (0008,2218).
    pub region: Option<DicomCode>,
    /// Colour as red, green and blue.
    pub colour: [u8; 3],
    /// Segment Algorithm Type, (0062,0008): `AUTOMATIC`, `SEMIAUTOMATIC` or `MANUAL`.
    pub algorithm_type: String,
    /// Segment Algorithm Name, (0062,0009).
    pub algorithm: String,
    /// RT ROI Interpreted Type, (3006,00A4), of RTSTRUCT files, such as `ORGAN` or `GTV`. Where it is empty, `ORGAN` is written for
    /// what is of the category Anatomical Structure, and nothing for other things.
    pub interpreted_type: String,
}

impl DicomSegment {
    /// A segment of which nothing but label and name is known: tissue, made automatically.
    pub fn new(label: i16, name: &str) -> Self {
        Self {
            label,
            name: name.to_owned(),
            description: String::new(),
            category: DicomCode::tissue(),
            kind: DicomCode::tissue(),
            modifier: None,
            region: None,
            colour: COLOURS[usize::from(label.unsigned_abs()).saturating_sub(1) % COLOURS.len()],
            algorithm_type: "AUTOMATIC".to_owned(),
            algorithm: "nnU-Net".to_owned(),
            interpreted_type: String::new(),
        }
    }
}

/// Reads coded terms per label from a JSON file in dcmqi's form: `segmentAttributes`, lists of lists of objects with `labelID`,
/// `SegmentLabel`, `SegmentedPropertyCategoryCodeSequence`, `SegmentedPropertyTypeCodeSequence` and, where wanted,
/// `SegmentDescription`, `SegmentedPropertyTypeModifierCodeSequence`, `AnatomicRegionSequence`, `recommendedDisplayRGBValue`,
/// `SegmentAlgorithmType`, `SegmentAlgorithmName` and `RTROIInterpretedType`. Codes have `CodeValue`, `CodingSchemeDesignator` and `CodeMeaning`.
///
/// # Errors
/// A file that cannot be read, is not JSON, or lacks a key; the message names the key.
pub fn segment_terms(path: &Path) -> Result<Vec<DicomSegment>, ImageError> {
    let bytes = std::fs::read(path).map_err(|error| ImageError::io(path, error))?;
    let json: Value = serde_json::from_slice(&bytes)
        .map_err(|error| ImageError::format(path, format!("expected JSON: {error}")))?;
    let wrong = |reason: String| ImageError::format(path, reason);
    let lists = json.get("segmentAttributes").and_then(Value::as_array);
    let lists = lists.ok_or_else(|| wrong("key segmentAttributes: expected a list of lists".to_owned()))?;
    let mut segments: Vec<DicomSegment> = Vec::new();
    for (number, item) in lists.iter().flat_map(|l| l.as_array().map_or(&[][..], Vec::as_slice)).enumerate() {
        let place = format!("segmentAttributes, item {number}");
        let segment = segment(item).map_err(|reason| wrong(format!("{place}: {reason}")))?;
        if segments.iter().any(|other| other.label == segment.label) {
            return Err(wrong(format!("{place}: key labelID: {} is there twice", segment.label)));
        }
        segments.push(segment);
    }
    if segments.is_empty() {
        return Err(wrong("key segmentAttributes: expected at least one segment".to_owned()));
    }
    Ok(segments)
}

fn segment(item: &Value) -> Result<DicomSegment, String> {
    let label = item.get("labelID").and_then(Value::as_i64);
    let label = label.and_then(|label| i16::try_from(label).ok()).filter(|&label| label > 0);
    let label = label.ok_or("key labelID: expected a number from 1 to 32767")?;
    let text = |key: &str, most: usize| match item.get(key) {
        None => Ok(None),
        Some(Value::String(text)) if text.chars().count() <= most => Ok(Some(text.clone())),
        Some(_) => Err(format!("key {key}: expected a text of at most {most} characters")),
    };
    let fallback = DicomSegment::new(label, &format!("label {label}"));
    let category = code(item, "SegmentedPropertyCategoryCodeSequence")?;
    let kind = code(item, "SegmentedPropertyTypeCodeSequence")?;
    let kinds = ["AUTOMATIC", "SEMIAUTOMATIC", "MANUAL"];
    let algorithm_type = text("SegmentAlgorithmType", 16)?.unwrap_or(fallback.algorithm_type);
    if !kinds.contains(&algorithm_type.as_str()) {
        return Err(format!("key SegmentAlgorithmType: expected one of {kinds:?}, found {algorithm_type:?}"));
    }
    Ok(DicomSegment {
        label,
        name: text("SegmentLabel", 64)?.unwrap_or(fallback.name),
        description: text("SegmentDescription", 1024)?.unwrap_or_default(),
        category: category.ok_or("key SegmentedPropertyCategoryCodeSequence is missing")?,
        kind: kind.ok_or("key SegmentedPropertyTypeCodeSequence is missing")?,
        modifier: code(item, "SegmentedPropertyTypeModifierCodeSequence")?,
        region: code(item, "AnatomicRegionSequence")?,
        colour: colour(item)?.unwrap_or(fallback.colour),
        algorithm_type,
        algorithm: text("SegmentAlgorithmName", 64)?.unwrap_or(fallback.algorithm),
        interpreted_type: text("RTROIInterpretedType", 16)?.unwrap_or_default(),
    })
}

fn code(item: &Value, key: &str) -> Result<Option<DicomCode>, String> {
    let Some(value) = item.get(key) else { return Ok(None) };
    let part = |name: &str, most: usize| {
        let text =
            value.get(name).and_then(Value::as_str).filter(|t| !t.is_empty() && t.chars().count() <= most);
        text.ok_or_else(|| format!("key {key}: {name}: expected a text of 1 to {most} characters"))
    };
    let (scheme, meaning) = (part("CodingSchemeDesignator", 16)?, part("CodeMeaning", 64)?);
    Ok(Some(DicomCode::new(part("CodeValue", 16)?, scheme, meaning)))
}

fn colour(item: &Value) -> Result<Option<[u8; 3]>, String> {
    let Some(value) = item.get("recommendedDisplayRGBValue") else { return Ok(None) };
    let parts: Option<Vec<u8>> =
        value.as_array().and_then(|l| l.iter().map(|v| v.as_u64().and_then(|v| v.try_into().ok())).collect());
    let colour = parts.and_then(|parts| <[u8; 3]>::try_from(parts).ok());
    colour.map(Some).ok_or_else(|| "key recommendedDisplayRGBValue: expected three numbers to 255".to_owned())
}
