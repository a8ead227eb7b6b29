//! Coded terms.

/// A term of a coding scheme, such as `(5366008, SCT, "Hippocampus")`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct DicomCode {
    /// Code Value, (0008,0100): at most 16 characters.
    pub value: String,
    /// Coding Scheme Designator, (0008,0102), such as `SCT` for SNOMED CT.
    pub scheme: String,
    /// Code Meaning, (0008,0104): at most 64 characters.
    pub meaning: String,
}

impl DicomCode {
    /// A code from its three parts.
    pub fn new(value: &str, scheme: &str, meaning: &str) -> Self {
        Self { value: value.to_owned(), scheme: scheme.to_owned(), meaning: meaning.to_owned() }
    }

    /// What is said of a structure of which nothing else is known.
    pub(super) fn tissue() -> Self {
        Self::new("85756007", "SCT", "Tissue")
    }
}

impl std::fmt::Display for DicomCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "({}, {}, \"{}\")", self.value, self.scheme, self.meaning)
    }
}
