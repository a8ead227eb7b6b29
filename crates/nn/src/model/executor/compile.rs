//! From the layers of a network to steps.

use candle_core::{Result, Tensor};

use super::super::layers::{Residual, Unit, spatial};
use super::super::network::{Layer, Network};
use super::program::{Norm, Program, Step, View};
use crate::kernels::{ChannelMap, ConvGeometry, Prepared, Products, Strided, forward_plan, up_plans};
use crate::ops::with_values;

impl Network {
    /// The steps that compute the full-resolution logits of a tile.
    pub(in crate::model) fn compile(
        &self,
        in_channels: usize,
        size: [usize; 3],
        products: Products,
    ) -> Result<Program> {
        let mut compiler = Compiler { products, ..Compiler::default() };
        let input = compiler.tensor(in_channels, size);
        let mut x = input;
        if let Some(stem) = &self.stem {
            x = compiler.unit(stem, x, None)?;
        }
        let mut joined = Vec::new();
        for (number, stage) in self.stages.iter().enumerate() {
            let up = self.decoder.len().checked_sub(number + 1).map(|d| &self.decoder[d]);
            for (i, layer) in stage.iter().enumerate() {
                // The last output of a stage is written beside the place of the decoder's.
                let beside = if i + 1 == stage.len() { up } else { None };
                let beside = beside.map(|up| up.up_weight.dim(1)).transpose()?;
                x = compiler.layer(layer, x, beside, &mut joined)?;
            }
        }
        for stage in &self.decoder {
            let Some((up, both)) = joined.pop() else { break };
            compiler.up(&stage.up_weight, stage.up_bias.as_ref(), x, up)?;
            x = both;
            for unit in &stage.units {
                x = compiler.unit(unit, x, None)?;
            }
        }
        if let Some(stage) = self.decoder.last() {
            x = compiler.head(&stage.head_weight, &stage.head_bias, x)?;
        }
        Ok(Program::new(input.dims(), compiler.steps, compiler.maps, &compiler.lens, x))
    }
}

#[derive(Default)]
struct Compiler {
    products: Products,
    steps: Vec<Step>,
    maps: Vec<ChannelMap>,
    lens: Vec<usize>,
}

/// Where a layer writes, and the maps that take its norm.
struct Target {
    view: View,
    maps: Vec<(usize, usize)>,
}

impl Compiler {
    fn tensor(&mut self, channels: usize, space: [usize; 3]) -> View {
        self.lens.push(channels * space.iter().product::<usize>());
        View { tensor: self.lens.len() - 1, first: 0, channels, pitch: channels, space, map: None }
    }

    fn map(&mut self, channels: usize) -> usize {
        self.maps.push(ChannelMap::identity(channels));
        self.maps.len() - 1
    }

    /// A layer of the encoder; with `beside`, its output lies behind that many channels, and the place of those and the
    /// view of both are added to `joined`.
    fn layer(
        &mut self,
        layer: &Layer,
        x: View,
        beside: Option<usize>,
        joined: &mut Vec<(View, View)>,
    ) -> Result<View> {
        let target = match beside {
            None => None,
            Some(up) => {
                let (channels, space) = layer.output(x.space)?;
                let both = self.tensor(up + channels, space);
                // What a residual block adds up is read as it is.
                let map = matches!(layer, Layer::Unit(_)).then(|| self.map(up + channels));
                joined.push((View { channels: up, ..both }, View { map, ..both }));
                let maps = map.map(|map| (map, up)).into_iter().collect();
                Some(Target { view: View { first: up, channels, ..both }, maps })
            }
        };
        match layer {
            Layer::Unit(unit) => self.unit(unit, x, target),
            Layer::Residual(block) => self.residual(block, x, target),
        }
    }

    /// Convolution, norm, activation; the last two become a map for whoever reads the output.
    fn unit(&mut self, unit: &Unit, x: View, target: Option<Target>) -> Result<View> {
        let weight = spatial(&unit.weight)?;
        let channels = weight.dim(0)?;
        let space = unit.geometry.output(x.space);
        let mut target = match target {
            Some(target) => target,
            None => Target { view: self.tensor(channels, space), maps: Vec::new() },
        };
        let map = self.map(channels);
        target.maps.push((map, 0));
        for &(map, first) in &target.maps {
            self.maps[map].slope[first..first + channels].fill(unit.slope.unwrap_or(1.0) as f32);
        }
        let norm = match unit.norm {
            None => None,
            Some(norm) => Some(Norm {
                eps: norm.eps,
                gamma: row(unit.gamma.as_ref(), channels, 1.0)?,
                beta: row(unit.beta.as_ref(), channels, 0.0)?,
                targets: target.maps,
            }),
        };
        // A norm takes the bias away again.
        let bias = if norm.is_some() { None } else { unit.bias.as_ref() };
        self.conv(&weight, bias, &unit.geometry, x, target.view, norm)?;
        Ok(View { map: Some(map), ..target.view })
    }

    fn conv(
        &mut self,
        weight: &Tensor,
        bias: Option<&Tensor>,
        geometry: &ConvGeometry,
        input: View,
        output: View,
        norm: Option<Norm>,
    ) -> Result<()> {
        let mut plan = forward_plan(input.dims(), output.channels, geometry);
        plan.pitch = output.pitch;
        let (ci, taps) = (input.channels, geometry.taps());
        let bias = bias.map(Tensor::to_vec1::<f32>).transpose()?;
        let conv = with_values(weight, |w| {
            let weights = Strided::convolution(w, ci, taps);
            Prepared::with(self.products, &[plan], &weights, bias.as_deref())
        })?;
        self.steps.push(Step::Conv { conv: Box::new(conv), input, output, norm });
        Ok(())
    }

    fn residual(&mut self, block: &Residual, x: View, target: Option<Target>) -> Result<View> {
        let first = self.unit(&block.first, x, None)?;
        let values = self.unit(&block.second, first, target)?;
        let mut other = x;
        if let Some(stride) = block.pool {
            let space = std::array::from_fn(|a| x.space[a] / stride[a]);
            other = self.tensor(x.channels, space);
            self.steps.push(Step::Pool { stride, input: x, output: other });
        }
        if let Some(projection) = &block.projection {
            other = self.unit(projection, other, None)?;
        }
        self.steps.push(Step::Merge { values, other, slope: block.slope.unwrap_or(1.0) as f32 });
        Ok(View { map: None, ..values })
    }

    /// Transposed convolution into its place beside the skip connection.
    fn up(&mut self, weight: &Tensor, bias: Option<&Tensor>, input: View, output: View) -> Result<()> {
        let weight = spatial(weight)?;
        let (_, channels, sz, sy, sx) = weight.dims5()?;
        let stride = [sz, sy, sx];
        let boxes: usize = stride.iter().product();
        let plans = up_plans(input.dims(), channels, stride, output.pitch);
        let bias = bias.map(Tensor::to_vec1::<f32>).transpose()?;
        let conv = with_values(&weight, |w| {
            let weights = |r: usize, _: usize, c: usize, o: usize| w[(c * channels + o) * boxes + r];
            Prepared::with(self.products, &plans, &weights, bias.as_deref())
        })?;
        self.steps.push(Step::Conv { conv: Box::new(conv), input, output, norm: None });
        Ok(())
    }

    fn head(&mut self, weight: &Tensor, bias: &Tensor, x: View) -> Result<View> {
        let weight = spatial(weight)?;
        let output = self.tensor(weight.dim(0)?, x.space);
        self.conv(&weight, Some(bias), &ConvGeometry::same([1; 3], [1; 3]), x, output, None)?;
        Ok(output)
    }
}

impl Layer {
    /// Channels and voxels of the output for an input of `space` voxels.
    fn output(&self, space: [usize; 3]) -> Result<(usize, [usize; 3])> {
        match self {
            Self::Unit(unit) => Ok((unit.weight.dim(0)?, unit.geometry.output(space))),
            Self::Residual(block) => {
                let space = block.first.geometry.output(space);
                Ok((block.second.weight.dim(0)?, block.second.geometry.output(space)))
            }
        }
    }
}

fn row(given: Option<&Tensor>, channels: usize, default: f32) -> Result<Vec<f32>> {
    given.map_or_else(|| Ok(vec![default; channels]), Tensor::to_vec1)
}
