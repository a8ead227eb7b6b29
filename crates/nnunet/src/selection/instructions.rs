//! The commands that predict with the best model.

use std::path::Path;

use nnunet_fingerprint::Fold;

use super::{Model, previous_stage, quoted};
use crate::Error;

/// The text of `inference_instructions.txt`. `stage` finds the model of a previous stage.
pub(super) fn instructions(
    members: &[Model],
    source: &Path,
    folds: &[Fold],
    stage: impl Fn(&Model, &str) -> Result<Model, Error>,
) -> Result<String, Error> {
    let several = members.len() > 1;
    let mut text = String::from("***Run inference like this:***\n\n");
    if several {
        text += "An ensemble is best. Predict with each of its members:\n\n";
    }
    let mut outputs = Vec::new();
    for (number, model) in members.iter().enumerate() {
        let output =
            if several { format!("OUTPUT_FOLDER_MODEL_{}", number + 1) } else { "OUTPUT_FOLDER".to_owned() };
        let mut command = predict(&model.folder, &output, folds);
        if let Some(previous) = previous_stage(model)? {
            let folder = if several {
                format!("OUTPUT_FOLDER_PREV_STAGE_{}", number + 1)
            } else {
                "OUTPUT_FOLDER_PREV_STAGE".to_owned()
            };
            text += &format!("{}\n", predict(&stage(model, &previous)?.folder, &folder, folds));
            command += &format!(" --previous-stage {folder}");
        }
        if several {
            command += " --save-probabilities";
        }
        text += &format!("{command}\n");
        outputs.push(output);
    }
    if several {
        text += "\nThen combine them:\n\n";
        text += &format!("nnunet ensemble -i {} -o OUTPUT_FOLDER\n", outputs.join(" "));
    }
    text += "\n***Once inference is completed, run postprocessing like this:***\n\n";
    text += &format!(
        "nnunet apply-postprocessing -i OUTPUT_FOLDER -o OUTPUT_FOLDER_PP --postprocessing {} --plans {} --dataset-json {}\n",
        quoted(&source.join("postprocessing.json")),
        quoted(&source.join("plans.json")),
        quoted(&source.join("dataset.json"))
    );
    Ok(text)
}

fn predict(model: &Path, output: &str, folds: &[Fold]) -> String {
    let folds: Vec<String> =
        folds.iter().map(|fold| fold.folder_name().trim_start_matches("fold_").to_owned()).collect();
    format!("nnunet predict -i INPUT_FOLDER -o {output} -m {} -f {}", quoted(model), folds.join(" "))
}
