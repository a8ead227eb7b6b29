"""Makes orders.tsv beside it: one volume resized by scikit-image 0.26 with every order, to three shapes, with and without clipping.

    python make_orders.py

The volume is v = (7·i² + 3·i) mod 41 - 11 over the voxels of a (5, 6, 7) array in C order. A row has order, clip (0 or 1), the new shape
and the values of the result in C order.
"""

from pathlib import Path

import numpy as np
from skimage.transform import resize

i = np.arange(5 * 6 * 7)
volume = ((7 * i * i + 3 * i) % 41 - 11.0).reshape(5, 6, 7)
rows = []
for order in range(6):
    for clip in (1, 0):
        for shape in ((4, 9, 5), (8, 6, 3), (2, 3, 11)):
            out = resize(volume, shape, order=order, mode="edge", clip=bool(clip), anti_aliasing=False)
            rows.append("\t".join(map(str, [order, clip, *shape, *(f"{v:.7g}" for v in out.ravel())])))
(Path(__file__).parent / "orders.tsv").write_text("\n".join(rows) + "\n")
