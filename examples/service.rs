//! A service that segments uploads with a trained model, and a page for it.
//!
//! `cargo run --release -p nnunet-examples --example service -- MODEL_FOLDER [ADDRESS]` listens at `127.0.0.1:8080`.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use nnunet::infer::{Predictor, PredictorOptions};
use nnunet_examples::service::{Limits, Service};

#[tokio::main]
async fn main() -> Result<()> {
    let mut arguments = std::env::args_os().skip(1);
    let Some(folder) = arguments.next().map(PathBuf::from) else {
        bail!(
            "name the folder of a trained model, such as nnunet-quickstart/nnUNet_results/…/nnUNetTrainer__nnUNetPlans__3d_fullres"
        );
    };
    let address =
        arguments.next().map_or_else(|| "127.0.0.1:8080".into(), |a| a.to_string_lossy().into_owned());
    let found = nnunet::nn::device(&nnunet::nn::DeviceSpec::Auto)?;
    let about = found.message;
    let options = PredictorOptions { accelerator: found.accelerator, ..PredictorOptions::default() };
    let predictor = Predictor::open(&folder, None, None, options, found.device)
        .with_context(|| format!("cannot load the model {}", folder.display()))?;
    let listener = tokio::net::TcpListener::bind(&address)
        .await
        .with_context(|| format!("cannot listen at {address}"))?;
    println!("{about}\nopen http://{}/ in a browser; Ctrl-C ends the service", listener.local_addr()?);
    let stop = async { drop(tokio::signal::ctrl_c().await) };
    Ok(Service::new(predictor, Limits::default())?.serve(listener, stop).await?)
}
