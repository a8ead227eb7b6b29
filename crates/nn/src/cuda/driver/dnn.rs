//! Convolutions by cuDNN: channels-last, sums in f32, deterministic algorithms, chosen once per shape.

use std::collections::HashMap;
use std::ffi::c_int;

use cudarc::cudnn::{result, sys};
use cudarc::driver::CudaStream;

use crate::cuda::engine::{Convolution, Kind, Pass};
use crate::kernels::{ConvGeometry, Dims};

/// Most bytes of an algorithm's workspace.
const WORKSPACE: usize = 2 << 30;
/// Algorithms that are looked at.
const CANDIDATES: usize = 10;

/// What an algorithm is chosen for.
type Key = (Pass, [usize; 5], usize, [[usize; 3]; 3], bool);

/// A handle of cuDNN on the engine's stream, and what was chosen for the shapes so far.
pub(super) struct Dnn {
    handle: sys::cudnnHandle_t,
    plans: HashMap<Key, Option<Plan>>,
}

/// Descriptors of a convolution, its algorithm and the bytes of workspace that it needs.
#[derive(Clone, Copy)]
pub(super) struct Plan {
    x: sys::cudnnTensorDescriptor_t,
    y: sys::cudnnTensorDescriptor_t,
    filter: sys::cudnnFilterDescriptor_t,
    conv: sys::cudnnConvolutionDescriptor_t,
    algorithm: Algorithm,
    pub(super) workspace: usize,
}

#[derive(Clone, Copy)]
enum Algorithm {
    Forward(sys::cudnnConvolutionFwdAlgo_t),
    Data(sys::cudnnConvolutionBwdDataAlgo_t),
    Weights(sys::cudnnConvolutionBwdFilterAlgo_t),
}

// SAFETY: handles of cuDNN may move between threads as long as one uses them at a time, which the engine sees to.
unsafe impl Send for Dnn {}

impl Dnn {
    /// cuDNN on the stream; none where the library is not there, so that convolutions are products of matrices.
    pub(super) fn find(stream: &CudaStream) -> Result<Option<Self>, String> {
        // SAFETY: looks for a library, nothing more.
        if !unsafe { sys::is_culib_present() } {
            return Ok(None);
        }
        let handle = result::create_handle().map_err(|e| format!("cuDNN does not start: {e}"))?;
        // SAFETY: handle and stream are there.
        unsafe { result::set_stream(handle, stream.cu_stream().cast()) }
            .map_err(|e| format!("cuDNN: {e}"))?;
        Ok(Some(Self { handle, plans: HashMap::new() }))
    }

    /// How to run a convolution; none where no deterministic algorithm fits.
    pub(super) fn plan(&mut self, c: &Convolution) -> Result<Option<Plan>, String> {
        let Dims { batch, space: [z, y, x], channels } = c.input;
        let ConvGeometry { kernel, stride, padding } = c.geometry;
        let shape = [batch, z, y, x, channels];
        let key = (c.pass, shape, c.channels, [kernel, stride, padding], c.kind == Kind::Bf16);
        if let Some(plan) = self.plans.get(&key) {
            return Ok(*plan);
        }
        let plan = self.choose(c).map_err(|e| format!("cuDNN, {:?} of {shape:?}: {e}", c.pass))?;
        self.plans.insert(key, plan);
        Ok(plan)
    }

    fn choose(&self, c: &Convolution) -> Result<Option<Plan>, result::CudnnError> {
        let output = Dims { space: c.geometry.output(c.input.space), channels: c.channels, ..c.input };
        let planar = c.input.space[0] == 1 && c.geometry.kernel[0] == 1;
        let (x, y) = (tensor(c.input, planar, c.kind)?, tensor(output, planar, c.kind)?);
        let (filter, conv) = (filter(c, planar)?, convolution(c, planar)?);
        let mut found = Found::default();
        let (count, number) = (CANDIDATES as c_int, std::ptr::from_mut(&mut found.count));
        macro_rules! pick {
            ($get:ident, $first:expr, $second:expr, $third:expr, $fourth:expr, $perf:ty, $wrap:expr) => {{
                let mut results = [std::mem::MaybeUninit::<$perf>::zeroed(); CANDIDATES];
                let to = results.as_mut_ptr().cast();
                // SAFETY: descriptors made above, room for as many results as are asked for.
                unsafe { result::$get(self.handle, $first, $second, $third, $fourth, count, number, to) }?;
                let known = usize::try_from(found.count).unwrap_or(0).min(CANDIDATES);
                // SAFETY: cuDNN filled this many; all bytes zero are a value as well.
                let results = results[..known].iter().map(|result| unsafe { result.assume_init() });
                let fits = |perf: &$perf| {
                    perf.status == sys::cudnnStatus_t::CUDNN_STATUS_SUCCESS
                        && perf.determinism == sys::cudnnDeterminism_t::CUDNN_DETERMINISTIC
                        && perf.memory <= WORKSPACE
                };
                results.into_iter().find(fits).map(|perf| ($wrap(perf.algo), perf.memory))
            }};
        }
        let picked = match c.pass {
            Pass::Forward => pick!(
                get_convolution_forward_algorithm,
                x,
                filter,
                conv,
                y,
                sys::cudnnConvolutionFwdAlgoPerf_t,
                Algorithm::Forward
            ),
            Pass::BackwardData => pick!(
                get_convolution_backward_data_algorithm,
                filter,
                y,
                conv,
                x,
                sys::cudnnConvolutionBwdDataAlgoPerf_t,
                Algorithm::Data
            ),
            Pass::BackwardWeights => pick!(
                get_convolution_backward_filter_algorithm,
                x,
                y,
                conv,
                filter,
                sys::cudnnConvolutionBwdFilterAlgoPerf_t,
                Algorithm::Weights
            ),
        };
        Ok(picked.map(|(algorithm, workspace)| Plan { x, y, filter, conv, algorithm, workspace }))
    }

    /// Runs a convolution with a workspace of the size that the plan asks for.
    pub(super) fn run(&self, c: &Convolution, plan: &Plan, workspace: u64) -> Result<(), String> {
        let (alpha, beta) = (1.0f32, f32::from(u8::from(c.add)));
        let (alpha, beta) = (std::ptr::from_ref(&alpha).cast(), std::ptr::from_ref(&beta).cast());
        let (x, weight, y) = (c.x as *mut _, c.weight as *mut _, c.y as *mut _);
        let (handle, space, bytes) = (self.handle, workspace as *mut _, plan.workspace);
        // SAFETY: descriptors tell the shapes of the arrays that `ops` checked; the scalars live until the call returns.
        let done = unsafe {
            match plan.algorithm {
                Algorithm::Forward(algorithm) => result::convolution_forward(
                    handle,
                    alpha,
                    plan.x,
                    x,
                    plan.filter,
                    weight,
                    plan.conv,
                    algorithm,
                    space,
                    bytes,
                    beta,
                    plan.y,
                    y,
                ),
                Algorithm::Data(algorithm) => result::convolution_backward_data(
                    handle,
                    alpha,
                    plan.filter,
                    weight,
                    plan.y,
                    y,
                    plan.conv,
                    algorithm,
                    space,
                    bytes,
                    beta,
                    plan.x,
                    x,
                ),
                Algorithm::Weights(algorithm) => result::convolution_backward_filter(
                    handle,
                    alpha,
                    plan.x,
                    x,
                    plan.y,
                    y,
                    plan.conv,
                    algorithm,
                    space,
                    bytes,
                    beta,
                    plan.filter,
                    weight,
                ),
            }
        };
        done.map_err(|e| format!("cuDNN, {:?}: {e}", c.pass))
    }
}

impl Drop for Dnn {
    fn drop(&mut self) {
        for plan in self.plans.values().flatten() {
            // SAFETY: made by `choose`, destroyed once.
            unsafe {
                let _ = result::destroy_tensor_descriptor(plan.x);
                let _ = result::destroy_tensor_descriptor(plan.y);
                let _ = result::destroy_filter_descriptor(plan.filter);
                let _ = result::destroy_convolution_descriptor(plan.conv);
            }
        }
        // SAFETY: made by `find`, destroyed once.
        let _ = unsafe { result::destroy_handle(self.handle) };
    }
}

#[derive(Default)]
struct Found {
    count: c_int,
}

fn data_type(kind: Kind) -> sys::cudnnDataType_t {
    match kind {
        Kind::Bf16 => sys::cudnnDataType_t::CUDNN_DATA_BFLOAT16,
        _ => sys::cudnnDataType_t::CUDNN_DATA_FLOAT,
    }
}

/// The axes that cuDNN is told of: without z where there is but one plane.
fn axes(values: [usize; 3], planar: bool) -> Vec<c_int> {
    values[usize::from(planar)..].iter().map(|&n| n as c_int).collect()
}

/// A channels-last activation; cuDNN names the axes in the order batch, channel, z, y, x.
fn tensor(dims: Dims, planar: bool, kind: Kind) -> Result<sys::cudnnTensorDescriptor_t, result::CudnnError> {
    let space = axes(dims.space, planar);
    let channels = dims.channels as c_int;
    let mut sizes = vec![dims.batch as c_int, channels];
    sizes.extend(&space);
    let mut strides = vec![0; sizes.len()];
    let mut step = channels;
    for (axis, size) in space.iter().enumerate().rev() {
        strides[2 + axis] = step;
        step *= size;
    }
    (strides[0], strides[1]) = (step, 1);
    let descriptor = result::create_tensor_descriptor()?;
    // SAFETY: the descriptor was just made; both lists have a number per axis.
    unsafe {
        result::set_tensornd_descriptor(
            descriptor,
            data_type(kind),
            sizes.len() as c_int,
            sizes.as_ptr(),
            strides.as_ptr(),
        )?;
    }
    Ok(descriptor)
}

fn filter(c: &Convolution, planar: bool) -> Result<sys::cudnnFilterDescriptor_t, result::CudnnError> {
    let mut sizes = vec![c.channels as c_int, c.input.channels as c_int];
    sizes.extend(axes(c.geometry.kernel, planar));
    let descriptor = result::create_filter_descriptor()?;
    let format = sys::cudnnTensorFormat_t::CUDNN_TENSOR_NHWC;
    // SAFETY: the descriptor was just made; the list has a number per axis.
    unsafe {
        result::set_filternd_descriptor(
            descriptor,
            data_type(c.kind),
            format,
            sizes.len() as c_int,
            sizes.as_ptr(),
        )?;
    }
    Ok(descriptor)
}

fn convolution(
    c: &Convolution,
    planar: bool,
) -> Result<sys::cudnnConvolutionDescriptor_t, result::CudnnError> {
    let (pads, strides) = (axes(c.geometry.padding, planar), axes(c.geometry.stride, planar));
    let dilations = vec![1; pads.len()];
    let descriptor = result::create_convolution_descriptor()?;
    let math = match c.kind {
        Kind::Bf16 => sys::cudnnMathType_t::CUDNN_TENSOR_OP_MATH,
        _ => sys::cudnnMathType_t::CUDNN_FMA_MATH,
    };
    // SAFETY: the descriptor was just made; all lists have a number per axis.
    unsafe {
        result::set_convolutionnd_descriptor(
            descriptor,
            pads.len() as c_int,
            pads.as_ptr(),
            strides.as_ptr(),
            dilations.as_ptr(),
            sys::cudnnConvolutionMode_t::CUDNN_CROSS_CORRELATION,
            sys::cudnnDataType_t::CUDNN_DATA_FLOAT,
        )?;
        result::set_convolution_math_type(descriptor, math)?;
    }
    Ok(descriptor)
}
