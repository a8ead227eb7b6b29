"""Writes strong.json: what batchgeneratorsv2 0.3.6 makes of small arrays for given parameters, for the transforms that
nnU-Net's default training does not have, and for those of cascades.

Run with the Python that has nnunetv2 2.8.1 installed:  python make_strong.py
"""
import json
from pathlib import Path

import numpy as np
import torch
from batchgeneratorsv2.transforms.intensity.brightness import BrightnessAdditiveTransform
from batchgeneratorsv2.transforms.intensity.contrast import ContrastTransform
from batchgeneratorsv2.transforms.local.brightness_gradient import BrightnessGradientAdditiveTransform
from batchgeneratorsv2.transforms.local.local_gamma import LocalGammaTransform
from batchgeneratorsv2.transforms.nnunet.random_binary_operator import (
    ApplyRandomBinaryOperatorTransform, binary_closing_torch, binary_dilation_torch, binary_erosion_torch,
    binary_opening_torch)
from batchgeneratorsv2.transforms.nnunet.remove_connected_components import \
    RemoveRandomConnectedComponentFromOneHotEncodingTransform
from batchgeneratorsv2.transforms.nnunet.seg_to_onehot import MoveSegAsOneHotToDataTransform
from batchgeneratorsv2.transforms.noise.blank_rectangle import BlankRectangleTransform
from batchgeneratorsv2.transforms.noise.median_filter import MedianFilterTransform
from batchgeneratorsv2.transforms.noise.sharpen import SharpeningTransform
from batchgeneratorsv2.transforms.spatial.rot90 import Rot90Transform
from batchgeneratorsv2.transforms.spatial.spatial import (
    SpatialTransform, _convert_my_grid_to_grid_sample_grid, create_affine_matrix_2d, create_affine_matrix_3d)
from batchgeneratorsv2.transforms.spatial.transpose import TransposeAxesTransform
from make import flat, image, labels
from scipy.ndimage import fourier_gaussian


def grid_cases():
    """Nearest neighbours, factors per axis, and elastic offsets given as a smooth function of the voxel's number."""
    settings = [
        # name, loaded, patch, labels, angles, scales, offsets, image mode, label mode
        ('nearest', (11, 12, 13), (7, 8, 9), 4, [0.3, -0.2, 0.45], [0.8] * 3, None, 'nearest', 'nearest'),
        ('nearest labels', (9, 10, 8), (7, 8, 7), 3, [0.1, 0.5, -0.3], [1.4] * 3, None, 'bilinear', 'nearest'),
        ('factors per axis', (11, 12, 13), (7, 8, 9), 4, [0.3, -0.2, 0.45], [0.8, 1.3, 1.1], None, 'bilinear', 'bilinear'),
        ('factors per axis, 2d', (1, 17, 15), (1, 12, 11), 4, [0.4, 0, 0], [1.0, 0.8, 1.2], None, 'bilinear', 'bilinear'),
        ('nearest, 2d', (1, 17, 15), (1, 12, 11), 4, [0.4, 0, 0], [1.0, 0.8, 1.2], None, 'nearest', 'nearest'),
    ]
    for name, loaded, patch, n, angles, scales, _, mode_image, mode_seg in settings:
        img, seg = image((2, *loaded)), labels((2, *loaded), n)
        planar = patch[0] == 1
        size = patch[1:] if planar else patch
        if planar:
            img, seg = img[:, 0], seg[:, 0]
        transform = SpatialTransform(size, 0, False, border_mode_seg='constant', padding_value_seg=-1,
                                     mode_image=mode_image, mode_seg=mode_seg)
        params = transform.get_parameters(image=img)
        affine = create_affine_matrix_2d(angles[0], scales[1:]) if planar else create_affine_matrix_3d(angles, scales)
        grid = torch.matmul(transform._get_base_grid_clone(), torch.from_numpy(affine.T).float())
        params['grid'] = _convert_my_grid_to_grid_sample_grid(grid, img.shape[1:])
        yield dict(name=name, planar=planar, loaded=loaded, patch=patch, n=n, rotation=angles, scaling=scales,
                   nearest=[mode_image == 'nearest', mode_seg == 'nearest'],
                   image=flat(transform._apply_to_image(img, **params)),
                   labels=flat(transform._apply_to_segmentation(seg, **params)))


def displacement_cases():
    noise = (np.sin(0.37 * np.arange(240)) * 2).astype(np.float32).reshape(5, 6, 8)
    for sigma, magnitude in ((0.4, 0.5), (1.3, 2.0), (4.0, 0.2)):
        field = np.fft.ifftn(fourier_gaussian(np.fft.fftn(noise), sigma)).real
        field = field / (np.abs(field).max() / magnitude)
        yield dict(sigma=sigma, magnitude=magnitude, values=[float(f"{v:.9g}") for v in field.ravel()])


def elastic_cases():
    """Deformed and turned patches; the noise of the offsets is a given pattern."""
    for loaded, patch, sigma, magnitude, angles, scales in (
        ((11, 12, 13), (7, 8, 9), [0.9, 1.4, 2.0], [1.5, 2.0, 0.8], [0.3, -0.2, 0.45], [0.9] * 3),
        ((1, 17, 15), (1, 12, 11), [0, 1.4, 2.0], [0, 2.0, 1.0], [0.4, 0, 0], [1.0] * 3),
    ):
        planar = patch[0] == 1
        size = patch[1:] if planar else patch
        axes = (1, 2) if planar else (0, 1, 2)
        img, seg = image((1, *loaded)), labels((1, *loaded), 4)
        if planar:
            img, seg = img[:, 0], seg[:, 0]
        offsets = []
        for axis in axes:
            noise = np.sin((0.37 + 0.1 * axis) * np.arange(int(np.prod(size)))).astype(np.float32).reshape(size)
            field = np.fft.ifftn(fourier_gaussian(np.fft.fftn(noise), sigma[axis])).real
            offsets.append(torch.from_numpy((field / (np.abs(field).max() / magnitude[axis])).astype(np.float32)))
        transform = SpatialTransform(size, 0, False, border_mode_seg='constant', padding_value_seg=-1)
        params = transform.get_parameters(image=img)
        affine = create_affine_matrix_2d(angles[0], scales[1:]) if planar else create_affine_matrix_3d(angles, scales)
        grid = transform._get_base_grid_clone() + torch.stack(offsets, -1)
        grid = torch.matmul(grid, torch.from_numpy(affine.T).float())
        grid -= grid.mean(dim=list(range(len(size))))
        params['grid'] = _convert_my_grid_to_grid_sample_grid(grid, img.shape[1:])
        yield dict(loaded=loaded, patch=patch, sigma=sigma, magnitude=magnitude, rotation=angles, scaling=scales,
                   image=flat(transform._apply_to_image(img, **params)),
                   labels=flat(transform._apply_to_segmentation(seg, **params)))


def orientation_cases():
    shape = (1, 4, 4, 4)
    for count in range(4):
        for axes in ((0, 1), (0, 2), (1, 2)):
            params = dict(num_rot_per_combination=[count], axis_combinations=[[a + 1 for a in axes]])
            yield dict(turns=[*axes, count], image=flat(Rot90Transform(1)._apply_to_image(image(shape), **params)))
    for order in ([0, 2, 1], [1, 2, 0], [2, 0, 1], [2, 1, 0]):
        out = TransposeAxesTransform({0, 1, 2})._apply_to_image(image(shape), axis_order=[0, *[a + 1 for a in order]])
        yield dict(order=order, image=flat(out))


def bump(shape, centre, sigma):
    """A kernel of the reference with its draws replaced."""
    draws = iter([v for pair in zip(centre, sigma) for v in pair])
    transform = BrightnessGradientAdditiveTransform(lambda *_: next(draws), lambda s, d: next(draws) / s[d])
    return transform._generate_kernel(shape)


def channel_cases():
    """Each entry: parameters of two channels, None where a channel stays."""
    shapes = dict(cube=(2, 7, 9, 8), plane=(2, 1, 11, 9))
    for name, shape in shapes.items():
        img = image(shape)
        space = shape[1:] if name == 'cube' else shape[2:]
        work = img if name == 'cube' else img[:, 0]
        lift = (lambda t: t) if name == 'cube' else (lambda t: t[:, None])

        def out(kind, values, result):
            return dict(kind=kind, shape=shape, values=values, image=flat(lift(result)))

        for sizes in ([2, 3], [4, 5], [7, None]):
            yield out('median', sizes, MedianFilterTransform((2, 8))._apply_to_image(
                work.clone(), apply_channel=[s is not None for s in sizes], filter_sizes=[s or 1 for s in sizes]))
        yield out('shift', [0.3, None], BrightnessAdditiveTransform(0, 0.5, False)._apply_to_image(
            work.clone(), apply_to_channel=torch.tensor([0]), shift=torch.tensor([0.3, 9.0])))
        for keeps in (True, False):
            case = out('contrast', [0.6, 1.7], ContrastTransform((0.5, 2), keeps, False)._apply_to_image(
                work.clone(), apply_to_channel=torch.arange(2), multipliers=torch.tensor([0.6, 1.7])))
            yield dict(case, keeps_range=keeps)
        boxes = [[([1, 2, 0], [3, 3, 2]), ([0, 3, 1], [2, 2, 4])], []]
        if name == 'plane':
            boxes = [[([0, 2, 0], [1, 3, 2]), ([0, 3, 1], [1, 2, 4])], []]
        cut = slice(None) if name == 'cube' else slice(1, None)
        yield out('rectangles', boxes, BlankRectangleTransform(3, torch.mean, 1)._apply_to_image(
            work.clone(), apply_channel=[True, False],
            rectangles=[[(s[cut], [a + b for a, b in zip(s, l)][cut]) for s, l in c] for c in boxes]))
        centre, sigma = [-2.5, 4.0, 9.3], [3.0, 2.2, 6.5]
        kernel = bump(space, centre[cut], sigma[cut])
        tall = kernel / np.abs(kernel).max() * -3.2
        yield out('gradient', [[centre, sigma, -3.2], None],
                  BrightnessGradientAdditiveTransform(1.0)._apply_to_image(work.clone(), kernels=[tall, None]))
        for gamma in (0.05, 3.1):
            yield out('local_gamma', [None, [centre, sigma, gamma]], LocalGammaTransform(1.0)._apply_to_image(
                work.clone(), kernels=[None, kernel], gammas=[None, gamma]))
        yield out('sharpen', [0.7, None], SharpeningTransform((0.1, 1))._apply_to_image(
            work.clone(), apply_channel=[True, False], strengths=[0.7, 0.0], clamp_intensities=[False, False]))


def cascade_cases():
    operators = dict(dilate=binary_dilation_torch, erode=binary_erosion_torch, close=binary_closing_torch,
                     open=binary_opening_torch)
    for shape in ((2, 12, 14, 11), (2, 1, 20, 17)):
        seg = labels(shape, 5)
        base = image((1, *shape[1:]))
        if shape[1] == 1:
            seg, base = seg[:, 0], base[:, 0]
        seg[seg < 0] = 0
        for operations in ([], [(0, 'dilate', 1.3)], [(1, 'erode', 1.5)], [(2, 'close', 2.0), (0, 'open', 1.2)],
                           [(1, 'dilate', 2.7), (2, 'erode', 1.9), (0, 'dilate', 3.6)], [(2, 'open', 1.0)]):
            data = MoveSegAsOneHotToDataTransform(1, [1, 2, 3])(image=base.clone(), segmentation=seg.clone())
            transform = ApplyRandomBinaryOperatorTransform([-3, -2, -1])
            img = transform._apply_to_image(
                data['image'], apply_to_channels=[c - 3 for c, _, _ in operations],
                operators=[operators[o] for _, o, _ in operations], strel_size=[r for _, _, r in operations])
            yield dict(shape=shape, operations=operations, channels=flat(img[1:].to(torch.int16)))


def removal_sizes():
    """Size of what remains after the removal of each component that may go, sorted; the choice is the reference's own."""
    shape = (1, 8, 9, 10)
    channel = (labels(shape, 5) == 2).float()
    img = torch.cat([channel, channel * 0])
    transform = RemoveRandomConnectedComponentFromOneHotEncodingTransform([0, 1], 0, 0.15)
    rest = set()
    np.random.seed(1)
    for _ in range(200):
        rest.add(int(transform._apply_to_image(img.clone(), apply_to_channels=[0])[0].sum()))
    return dict(shape=shape, rest=sorted(rest))


if __name__ == '__main__':
    torch.set_num_threads(1)
    np.random.seed(0)
    content = dict(grid=list(grid_cases()), displacement=list(displacement_cases()), elastic=list(elastic_cases()),
                   orientation=list(orientation_cases()), channels=list(channel_cases()),
                   cascade=list(cascade_cases()), removal=removal_sizes())
    Path(__file__).with_name('strong.json').write_text(json.dumps(content, separators=(',', ':')) + '\n')
