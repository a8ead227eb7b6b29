//! The page that segments in the browser. `NNUNET_WASM` names its module.

use std::path::PathBuf;

use super::{Subject, assert_overlay, chromium::Browser, labels_of, picture};

/// The page, served as the example serves it.
fn serve(wasm: PathBuf) -> (String, tokio::runtime::Runtime) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
    let address = format!("http://{}/", listener.local_addr().unwrap());
    runtime.spawn(async move { axum::serve(listener, nnunet_examples::pages::browser(wasm)).await });
    (address, runtime)
}

#[test]
fn the_page_segments_as_the_library_does() {
    let Some(wasm) = std::env::var_os("NNUNET_WASM").map(PathBuf::from) else {
        println!("skipped: NNUNET_WASM does not name the module nnunet_capi.wasm");
        return;
    };
    let Some(mut browser) = Browser::start() else { return };
    let subject = Subject::new();
    let (address, _runtime) = serve(wasm);
    browser.open(&address);

    browser.evaluate("document.querySelector('#segment').click()");
    let (state, text) = browser.finished();
    assert!(state == "error" && text.contains("plans.json"), "{text}");

    let checkpoint = ["fold_0/checkpoint_final.safetensors", "fold_0/checkpoint_final.pth"];
    let checkpoint =
        checkpoint.map(|name| subject.model.join(name)).into_iter().find(|path| path.is_file()).unwrap();
    let files = [subject.model.join("plans.json"), subject.model.join("dataset.json"), checkpoint];
    browser.choose("#model", &files.each_ref().map(|path| path.as_path()));
    browser.choose("#image", &[&subject.image]);
    if let Some(reference) = &subject.reference {
        browser.choose("#reference", &[reference]);
    }
    browser.evaluate("document.querySelector('#segment').click()");
    browser.wait("document.body.dataset.state === 'busy'");
    let (state, text) = browser.finished();
    assert_eq!(state, "done", "{text}");
    println!("in the browser: {text}");

    let (found, expected) = (labels_of(&browser.download()), subject.expected(&subject.image));
    let other = found.data.iter().zip(&expected.data).filter(|(a, b)| a != b).count();
    assert_eq!(other, 0, "of {} labels", found.data.len());
    assert_eq!(found.geometry.spacing, expected.geometry.spacing);
    assert_overlay(&mut browser, &expected);
    let rows = browser.evaluate("document.querySelectorAll('#table tbody tr').length");
    assert!(rows.as_u64().unwrap() >= 2, "{rows}");
    picture(&mut browser, "browser.png");

    let broken = subject.folder.path().join("broken.nii");
    std::fs::write(&broken, vec![0; 400]).unwrap();
    browser.choose("#image", &[&broken]);
    browser.evaluate("document.querySelector('#segment').click()");
    browser.wait("document.body.dataset.state === 'error'");
    let (_, text) = browser.finished();
    assert!(text.contains("NIfTI"), "{text}");
}
