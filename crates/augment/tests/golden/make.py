"""Writes golden.json: what batchgeneratorsv2 0.3.6 makes of small arrays for given parameters.

Run with the Python that has nnunetv2 2.8.1 installed:  python make.py
"""
import json
from pathlib import Path

import numpy as np
import torch
from batchgeneratorsv2.transforms.intensity.brightness import MultiplicativeBrightnessTransform
from batchgeneratorsv2.transforms.intensity.contrast import ContrastTransform
from batchgeneratorsv2.transforms.intensity.gamma import GammaTransform
from batchgeneratorsv2.transforms.noise.gaussian_blur import GaussianBlurTransform
from batchgeneratorsv2.transforms.spatial.low_resolution import SimulateLowResolutionTransform
from batchgeneratorsv2.transforms.spatial.mirroring import MirrorTransform
from batchgeneratorsv2.transforms.spatial.spatial import (
    SpatialTransform, _convert_my_grid_to_grid_sample_grid, create_affine_matrix_2d, create_affine_matrix_3d)
from batchgeneratorsv2.transforms.utils.deep_supervision_downsampling import DownsampleSegForDSTransform
from batchgeneratorsv2.transforms.utils.nnunet_masking import MaskImageTransform
from batchgeneratorsv2.transforms.utils.pseudo2d import Convert2DTo3DTransform, Convert3DTo2DTransform
from batchgeneratorsv2.transforms.utils.remove_label import RemoveLabelTansform


def image(shape):
    """A smooth but asymmetric pattern; the tests compute the same."""
    i = np.arange(int(np.prod(shape)), dtype=np.float64).reshape(shape)
    return torch.from_numpy((np.sin(0.37 * i) * 2 + np.cos(0.011 * i)).astype(np.float32))


def labels(shape, n):
    """Blocks of n labels from -1 on; the tests compute the same."""
    c, z, y, x = np.indices(shape)
    return torch.from_numpy((((z // 3) * 5 + (y // 4) * 3 + (x // 3) * 7 + (y * x) // 17 + c) % n - 1).astype(np.int16))


def geometry(img, seg, patch, angles, scale):
    """The spatial transform with these angles and scale; 2-D where img has two spatial axes."""
    dim = len(patch)
    transform = SpatialTransform(patch, 0, False, border_mode_seg='constant', padding_value_seg=-1)
    params = transform.get_parameters(image=img)
    if angles is not None or scale is not None:
        angles = angles or [0, 0, 0]
        scales = [scale or 1] * dim
        affine = create_affine_matrix_3d(angles, scales) if dim == 3 else create_affine_matrix_2d(angles[0], scales)
        grid = torch.matmul(transform._get_base_grid_clone(), torch.from_numpy(affine.T).float())
        params['grid'] = _convert_my_grid_to_grid_sample_grid(grid, img.shape[1:])
    return transform._apply_to_image(img, **params), transform._apply_to_segmentation(seg, **params)


def flat(tensor):
    return [round(float(v), 7) for v in tensor.numpy().ravel()] if tensor.is_floating_point() else tensor.numpy().ravel().tolist()


def spatial_cases():
    settings = [
        # name, mode, loaded, patch, labels, angles about z y x, scale
        ('rotation and scaling', '3d', (11, 12, 13), (7, 8, 9), 4, [0.3, -0.2, 0.45], 0.8),
        ('zoomed out beyond the loaded patch', '3d', (9, 10, 8), (7, 8, 7), 3, [0.1, 0.5, -0.3], 1.4),
        ('scaling only', '3d', (9, 9, 10), (6, 7, 8), 4, None, 1.17),
        ('rotation only, even and odd margins', '3d', (10, 9, 12), (6, 6, 7), 5, [0.5, 0.0, 0.0], None),
        ('two labels', '3d', (10, 10, 10), (8, 8, 8), 2, [-0.2, 0.3, 0.1], 1.2),
        ('crop', '3d', (9, 8, 7), (6, 5, 4), 4, None, None),
        ('2d', '2d', (1, 17, 15), (1, 12, 11), 4, [2.1, 0.0, 0.0], 0.9),
        ('2d crop', '2d', (1, 9, 8), (1, 6, 5), 4, None, None),
        ('quarter turn', '2d', (1, 9, 9), (1, 9, 9), 4, [float(np.pi / 2), 0.0, 0.0], None),
        ('twice as coarse, ties everywhere', '2d', (1, 16, 16), (1, 8, 8), 3, None, 2.0),
        ('dummy 2d', 'dummy', (3, 14, 13), (3, 10, 11), 4, [-0.7, 0.0, 0.0], 1.25),
        ('dummy 2d crop', 'dummy', (3, 14, 13), (3, 10, 11), 4, None, None),
    ]
    for name, mode, loaded, patch, n, angles, scale in settings:
        img, seg = image((2, *loaded)), labels((2, *loaded), n)
        if mode == '3d':
            img, seg = geometry(img, seg, patch, angles, scale)
        elif mode == '2d':
            img, seg = geometry(img[:, 0], seg[:, 0], patch[1:], angles, scale)
        else:
            folded = Convert3DTo2DTransform()(image=img, segmentation=seg)
            folded['image'], folded['segmentation'] = geometry(
                folded['image'], folded['segmentation'], patch[1:], angles, scale)
            unfolded = Convert2DTo3DTransform()(**folded)
            img, seg = unfolded['image'], unfolded['segmentation']
        yield dict(name=name, mode=mode, loaded=loaded, patch=patch, n=n, rotation=angles, scaling=scale,
                   image=flat(img), labels=flat(seg))


def intensity_cases():
    shape = (2, 7, 9, 8)
    channels = torch.arange(2)
    blur = [[0.5, 0.75, 0.99], [0.6, 1.0, 0.92]]

    def gamma(values, inverted):
        transform = GammaTransform((0.7, 1.5), float(inverted), False, 1, 1)
        return transform._apply_to_image(image(shape), apply_to_channel=channels, retain_stats=torch.ones(2, dtype=torch.bool),
                                         invert_image=torch.full((2,), inverted), gamma=torch.Tensor(values))

    yield dict(name='blur', values=blur, image=flat(GaussianBlurTransform((0.5, 1.), False, False, 0.5, True)._apply_to_image(
        image(shape), apply_to_channel=torch.ones(2, dtype=torch.bool), sigmas=blur)))
    yield dict(name='brightness', values=[0.8, 1.2], image=flat(MultiplicativeBrightnessTransform((0.7, 1.3), False)._apply_to_image(
        image(shape), apply_to_channel=channels, multipliers=torch.Tensor([0.8, 1.2]))))
    yield dict(name='contrast', values=[0.8, 1.2], image=flat(ContrastTransform((0.7, 1.3), True, False)._apply_to_image(
        image(shape), apply_to_channel=channels, multipliers=torch.Tensor([0.8, 1.2]))))
    yield dict(name='low_resolution', values=[0.57, 0.81], image=flat(SimulateLowResolutionTransform((0.5, 1), False, True, None)._apply_to_image(
        image(shape), apply_to_channel=channels, scales=torch.Tensor([[0.57] * 3, [0.81] * 3]))))
    yield dict(name='low_resolution', dummy=True, values=[0.57, 0.81], image=flat(SimulateLowResolutionTransform((0.5, 1), False, True, (0,))._apply_to_image(
        image(shape), apply_to_channel=channels, scales=torch.Tensor([[1, 0.57, 0.57], [1, 0.81, 0.81]]))))
    yield dict(name='gamma_inverted', values=[0.75, 1.45], image=flat(gamma([0.75, 1.45], True)))
    yield dict(name='gamma', values=[0.75, 1.45], image=flat(gamma([0.75, 1.45], False)))


def whole_pipeline():
    """Several transforms in the order of the trainer, with mirroring, mask and removal of -1."""
    patch, loaded = (6, 8, 7), (9, 12, 11)
    img, seg = geometry(image((2, *loaded)), labels((1, *loaded), 4), patch, [0.2, 0.1, -0.4], 1.1)
    all_channels = torch.arange(2)
    img = GaussianBlurTransform((0.5, 1.), False, False, 0.5, True)._apply_to_image(
        img, apply_to_channel=torch.tensor([False, True]), sigmas=[[0.7, 0.8, 0.9]])
    img = MultiplicativeBrightnessTransform((0.7, 1.3), False)._apply_to_image(
        img, apply_to_channel=all_channels, multipliers=torch.Tensor([1.1, 0.9]))
    img = ContrastTransform((0.7, 1.3), True, False)._apply_to_image(
        img, apply_to_channel=all_channels, multipliers=torch.Tensor([0.9, 1.25]))
    img = SimulateLowResolutionTransform((0.5, 1), False, True, None)._apply_to_image(
        img, apply_to_channel=torch.tensor([0]), scales=torch.Tensor([[0.7] * 3]))
    for inverted, values in [(True, [1.3, 0.8]), (False, [0.9, 1.2])]:
        img = GammaTransform((0.7, 1.5), float(inverted), False, 1, 1)._apply_to_image(
            img, apply_to_channel=all_channels, retain_stats=torch.ones(2, dtype=torch.bool),
            invert_image=torch.full((2,), inverted), gamma=torch.Tensor(values))
    mirror = MirrorTransform((0, 1, 2))
    img, seg = mirror._apply_to_image(img, axes=[0, 2]), mirror._apply_to_segmentation(seg, axes=[0, 2])
    result = MaskImageTransform([1])(image=img, segmentation=seg)
    result = RemoveLabelTansform(-1, 0)(**result)
    return dict(patch=patch, loaded=loaded, image=flat(result['image']), labels=flat(result['segmentation']))


def deep_supervision():
    scales = [[1, 1, 1], [1, 0.5, 0.5], [0.5, 0.25, 0.25], [0.25, 0.125, 0.125]]
    seg = labels((1, 6, 12, 10), 5)
    return dict(shape=(1, 6, 12, 10), n=5, scales=scales,
                targets=[dict(shape=tuple(t.shape), labels=flat(t)) for t in DownsampleSegForDSTransform(scales)._apply_to_segmentation(seg)])


def nearest_indices():
    """Sum over i of (i+1)*index of nearest-exact sampling for every pair of lengths up to 160."""
    sums = []
    for source in range(1, 161):
        ramp = torch.arange(source, dtype=torch.float32)[None, None]
        for target in range(1, source + 1):
            index = torch.nn.functional.interpolate(ramp, target, mode='nearest-exact')[0, 0].long()
            sums.append(int((index * torch.arange(1, target + 1)).sum()))
    return sums


if __name__ == '__main__':
    torch.set_num_threads(1)
    np.random.seed(0)
    content = dict(spatial=list(spatial_cases()), intensity=list(intensity_cases()), pipeline=whole_pipeline(),
                   deep_supervision=deep_supervision(), nearest=nearest_indices())
    Path(__file__).with_name('golden.json').write_text(json.dumps(content, separators=(',', ':')) + '\n')
