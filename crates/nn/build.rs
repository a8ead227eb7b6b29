//! Kernels of CUDA devices: for the feature `cuda` the PTX that the program carries, for `emulator` the kernels compiled for
//! the CPU.

use std::path::{Path, PathBuf};
use std::process::Command;

const KERNELS: &str = "src/cuda/kernels";
const PTX: &str = "src/cuda/ptx";

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rustc-check-cfg=cfg(nnunet_emulator)");
    if std::env::var_os("CARGO_FEATURE_CUDA").is_some() {
        ptx();
    }
    #[cfg(feature = "emulator")]
    emulator();
}

/// Copies the PTX that lies in the source tree, or compiles it anew where `NNUNET_NVCC` names an nvcc.
fn ptx() {
    println!("cargo:rerun-if-changed={KERNELS}");
    println!("cargo:rerun-if-changed={PTX}");
    println!("cargo:rerun-if-env-changed=NNUNET_NVCC");
    let out = PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let nvcc = std::env::var_os("NNUNET_NVCC");
    let files = std::fs::read_dir(KERNELS).expect("the kernels are part of the source");
    for file in files.map(|entry| entry.expect("a readable folder").path()) {
        if file.extension().is_none_or(|extension| extension != "cu") {
            continue;
        }
        let stem = file.file_stem().expect("a file has a name");
        let target = out.join(stem).with_extension("ptx");
        match &nvcc {
            None => {
                let ready = Path::new(PTX).join(stem).with_extension("ptx");
                std::fs::copy(&ready, &target).unwrap_or_else(|e| panic!("{}: {e}", ready.display()));
            }
            Some(nvcc) => {
                let mut command = Command::new(nvcc);
                command
                    .args(["-O3", "-std=c++17", "--ptx", "-arch=compute_80", "-o"])
                    .arg(&target)
                    .arg(&file);
                let status =
                    command.status().unwrap_or_else(|e| panic!("NNUNET_NVCC={}: {e}", nvcc.display()));
                assert!(status.success(), "{} cannot compile {}", nvcc.display(), file.display());
            }
        }
    }
}

/// Compiles all kernels for the CPU; without a C++ compiler, the emulator says that it is not there.
#[cfg(feature = "emulator")]
fn emulator() {
    println!("cargo:rerun-if-changed={KERNELS}");
    let mut build = cc::Build::new();
    build
        .cpp(true)
        .std("c++17")
        .opt_level(2)
        .warnings(false)
        .flag_if_supported("-U_FORTIFY_SOURCE")
        .file(format!("{KERNELS}/emulator.cpp"));
    match build.try_compile("nnunet_emulator") {
        Ok(()) => println!("cargo:rustc-cfg=nnunet_emulator"),
        Err(error) => println!("cargo:warning=no emulated device: {error}"),
    }
}
