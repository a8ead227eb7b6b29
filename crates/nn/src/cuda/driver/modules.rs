//! The kernels, loaded.

use std::collections::HashMap;
use std::ffi::CString;

use cudarc::driver::{result, sys};

/// The PTX of a file of kernels, as the build left it.
macro_rules! ptx {
    ($($name:literal),*) => {
        &[$(($name, include_str!(concat!(env!("OUT_DIR"), "/", $name, ".ptx")))),*]
    };
}

/// File and text.
const TEXTS: &[(&str, &str)] =
    ptx!["augment", "boxes", "columns", "layout", "loss", "norm", "optimiser", "sums", "window"];

/// Modules of a context, and the kernels that were asked for.
pub(super) struct Modules {
    modules: Vec<sys::CUmodule>,
    functions: HashMap<String, sys::CUfunction>,
}

// SAFETY: handles of the driver, which may be used from any thread; the engine hands them to one at a time.
unsafe impl Send for Modules {}

impl Modules {
    /// Loads all kernels into the calling thread's context.
    pub(super) fn load() -> Result<Self, String> {
        let mut modules = Vec::new();
        for (name, text) in TEXTS {
            let text = CString::new(*text).map_err(|e| format!("kernels {name}: {e}"))?;
            // SAFETY: text that ends with a zero byte, as the driver wants it.
            let module = unsafe { result::module::load_data(text.as_ptr().cast()) };
            modules
                .push(module.map_err(|e| format!("kernels {name}: {e}; an older driver may not know them"))?);
        }
        Ok(Self { modules, functions: HashMap::new() })
    }

    /// The kernel of this name.
    pub(super) fn function(&mut self, name: &str) -> Result<sys::CUfunction, String> {
        if let Some(&function) = self.functions.get(name) {
            return Ok(function);
        }
        let text = CString::new(name).map_err(|e| format!("kernel {name}: {e}"))?;
        // SAFETY: modules are loaded once and never unloaded.
        let found = self
            .modules
            .iter()
            .find_map(|&module| unsafe { result::module::get_function(module, text.clone()).ok() });
        let function = found.ok_or_else(|| format!("no kernel {name}"))?;
        self.functions.insert(name.to_owned(), function);
        Ok(function)
    }
}
