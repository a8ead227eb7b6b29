//! The service and the page that segments in the browser, used as people use them.

mod browser;
mod chromium;
mod client;
#[path = "../../../crates/capi/tests/common/mod.rs"]
mod drawn;
mod service;

use std::path::{Path, PathBuf};

use candle_core::Device;
use ndarray::Array4;
use nnunet::image::{Geometry, Image, LabelMap, reader_by_name, write_image};
use nnunet::infer::{Predictor, PredictorOptions};

/// A model, an image and its native segmentation: drawn ones, or those of a finished quickstart whose folder
/// `NNUNET_QUICKSTART` names, which make better pictures.
struct Subject {
    folder: tempfile::TempDir,
    model: PathBuf,
    image: PathBuf,
    reference: Option<PathBuf>,
}

impl Subject {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        if let Some(root) = std::env::var_os("NNUNET_QUICKSTART").map(PathBuf::from) {
            let name = "Dataset900_Drawn";
            let model = root.join("nnUNet_results").join(name).join("nnUNetTrainer__nnUNetPlans__3d_fullres");
            let raw = root.join("nnUNet_raw").join(name);
            let labels = std::fs::read_dir(raw.join("labelsTs")).unwrap().next().unwrap().unwrap();
            let case = labels.file_name().to_string_lossy().replace(".nii.gz", "");
            let image = raw.join(format!("imagesTs/{case}_0000.nii.gz"));
            return Self { folder, model, image, reference: Some(labels.path()) };
        }
        let model = folder.path().join("model");
        drawn::write_model(&model);
        let image = folder.path().join("image.nii.gz");
        write(&image, drawn::image());
        Self { folder, model, image, reference: None }
    }

    fn predictor(&self) -> Predictor {
        Predictor::open(&self.model, None, None, PredictorOptions::default(), Device::Cpu).unwrap()
    }

    /// What the library makes of an image.
    fn expected(&self, image: &Path) -> LabelMap {
        let image = reader_by_name("SimpleITKIO").unwrap().read_images(&[image.to_owned()]).unwrap();
        self.predictor().predict_image(image, false, &|_| {}).unwrap().labels
    }
}

fn write(path: &Path, data: Array4<f32>) {
    let geometry = Geometry { spacing: [2.0, 1.0, 1.0], origin: [5.0, -3.0, 7.0], ..Geometry::default() };
    write_image(path, &Image { data, geometry }).unwrap();
}

/// Labels from the bytes of a NIfTI file.
fn labels_of(bytes: &[u8]) -> LabelMap {
    let image = reader_by_name("SimpleITKIO").unwrap().read_bytes(&[("labels.nii", bytes)]).unwrap();
    let data = image.data.index_axis(ndarray::Axis(0), 0).mapv(|v| v as i16);
    LabelMap { data, geometry: image.geometry }
}

/// Fails if the picture of the page does not show as many labelled voxels as its slice has.
fn assert_overlay(browser: &mut chromium::Browser, labels: &LabelMap) {
    let shown = browser.evaluate(
        "(() => { const canvas = document.querySelector('.picture');
            const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
            let tinted = 0;
            for (let i = 0; i < data.length; i += 4) tinted += data[i] !== data[i + 1] || data[i] !== data[i + 2];
            return { tinted, slice: Number(document.querySelector('.slice').value), width: canvas.width }; })()",
    );
    let slice = shown["slice"].as_u64().unwrap() as usize;
    let plane = labels.data.index_axis(ndarray::Axis(0), slice);
    let labelled = plane.iter().filter(|&&label| label > 0).count();
    assert!(labelled > 0, "nothing to see in slice {slice}");
    assert_eq!(shown["tinted"].as_u64().unwrap() as usize, labelled, "{shown}");
    assert_eq!(shown["width"].as_u64().unwrap() as usize, plane.ncols());
}

/// Takes a picture for the docs, where one is asked for by `NNUNET_SCREENSHOTS`, a folder.
fn picture(browser: &mut chromium::Browser, name: &str) {
    if let Some(folder) = std::env::var_os("NNUNET_SCREENSHOTS").map(PathBuf::from) {
        browser.screenshot(&folder.join(name));
    }
}
