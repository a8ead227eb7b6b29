//! Serves the page that segments in the browser, and its module; the images stay where they are.
//!
//! `cargo run --release -p nnunet-examples --example browser -- nnunet_capi.wasm [ADDRESS]` listens at `127.0.0.1:8081`.
//! `docs/embedding.md` tells how the module is built.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};

#[tokio::main]
async fn main() -> Result<()> {
    let mut arguments = std::env::args_os().skip(1);
    let Some(wasm) = arguments.next().map(PathBuf::from) else {
        bail!("name the module nnunet_capi.wasm; docs/embedding.md tells how it is built");
    };
    if !wasm.is_file() {
        bail!("{} is not there; docs/embedding.md tells how it is built", wasm.display());
    }
    let address =
        arguments.next().map_or_else(|| "127.0.0.1:8081".into(), |a| a.to_string_lossy().into_owned());
    let listener = tokio::net::TcpListener::bind(&address)
        .await
        .with_context(|| format!("cannot listen at {address}"))?;
    println!("open http://{}/ in a browser; Ctrl-C ends the program", listener.local_addr()?);
    let stop = async { drop(tokio::signal::ctrl_c().await) };
    Ok(axum::serve(listener, nnunet_examples::pages::browser(wasm)).with_graceful_shutdown(stop).await?)
}
