//! `include/nnunet.h` is what the source says.

use std::path::Path;

const GUARD: &str = "NNUNET_H";
const ABOUT: &str = "/* nnU-Net inference for C. Made from the Rust source by cbindgen; `NNUNET_WRITE_HEADER=1 cargo test -p \
                     nnunet-capi --test header` writes it anew. */";

const NAMES: [(&str, &str); 11] = [
    ("Status", "nnunet_status"),
    ("Options", "nnunet_options"),
    ("Model", "nnunet_model"),
    ("Outcome", "nnunet_result"),
    ("Cancel", "nnunet_cancel"),
    ("ImageArray", "nnunet_image"),
    ("Bytes", "nnunet_bytes"),
    ("Progress", "nnunet_progress"),
    ("PRECISION_AUTO", "NNUNET_PRECISION_AUTO"),
    ("PRECISION_F32", "NNUNET_PRECISION_F32"),
    ("PRECISION_BF16", "NNUNET_PRECISION_BF16"),
];

fn header() -> String {
    let mut config = cbindgen::Config {
        language: cbindgen::Language::C,
        include_guard: Some(GUARD.to_owned()),
        header: Some(ABOUT.to_owned()),
        cpp_compat: true,
        documentation: true,
        style: cbindgen::Style::Type,
        no_includes: true,
        sys_includes: vec!["stddef.h".to_owned(), "stdint.h".to_owned()],
        usize_is_size_t: true,
        ..cbindgen::Config::default()
    };
    config.enumeration.rename_variants = cbindgen::RenameRule::QualifiedScreamingSnakeCase;
    config.export.rename = NAMES.iter().map(|(rust, c)| ((*rust).to_owned(), (*c).to_owned())).collect();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let files = ["edge", "options", "cancel", "model", "predict", "result"];
    let builder = files.iter().fold(cbindgen::Builder::new().with_config(config), |builder, file| {
        builder.with_src(root.join(format!("{file}.rs")))
    });
    let mut text = Vec::new();
    builder.generate().expect("the source is Rust").write(&mut text);
    String::from_utf8(text).expect("headers are text")
}

#[test]
fn the_header_is_current() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("include/nnunet.h");
    let expected = header();
    if std::env::var_os("NNUNET_WRITE_HEADER").is_some() {
        std::fs::write(&path, &expected).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap();
    assert!(
        found == expected,
        "include/nnunet.h is not current; NNUNET_WRITE_HEADER=1 writes it anew:\n{expected}"
    );
}
