"""Data: reading, scaling and splitting examples, and drawing and augmenting batches of them.

`open` reads labelled examples from built-in sets, .npz files, tables and folders of images into a `Dataset`;
`hold_out` and `split` hold examples out for validation and test; `batches` draws the batches of an epoch;
`random_shift`, `random_flip`, `random_crop`, `cutout`, `mixup`, `jitter` and `random_scale` augment a batch at random,
by a key; `Examplewise` declares that a function of your own treats examples one by one. `pad_series` makes one array of
series of unequal length. A `Source` is read in parts, such as a memory map; `Mapped` prepares its rows when they are
read, and `Selected` is some of them. Only image files (Pillow) and the built-in sets (scikit-learn) need more than
NumPy.
"""

from funcnn.data.augmentation import (
    cutout,
    jitter,
    mixup,
    one_hot,
    random_crop,
    random_flip,
    random_scale,
    random_shift,
)
from funcnn.data.batches import batches
from funcnn.data.builtin import BUILTIN, breast_cancer, digits, iris, wine
from funcnn.data.examples import find_full_scale, to_examples, warn_of_other_range
from funcnn.data.examplewise import Examplewise
from funcnn.data.folders import image_files
from funcnn.data.images import describe_shape, open_images, resize, to_channels
from funcnn.data.lazy import Mapped, Selected, Source, take
from funcnn.data.scaling import mean_and_std, standardize
from funcnn.data.series import pad_series
from funcnn.data.sources import Dataset, match_classes, open, open_array
from funcnn.data.splits import Splits, hold_out, split
from funcnn.sharding import batch_rows

__all__ = [
    "BUILTIN",
    "Dataset",
    "Examplewise",
    "Mapped",
    "Selected",
    "Source",
    "Splits",
    "batch_rows",
    "batches",
    "breast_cancer",
    "cutout",
    "describe_shape",
    "digits",
    "find_full_scale",
    "hold_out",
    "image_files",
    "iris",
    "jitter",
    "match_classes",
    "mean_and_std",
    "mixup",
    "one_hot",
    "open",
    "open_array",
    "open_images",
    "pad_series",
    "random_crop",
    "random_flip",
    "random_scale",
    "random_shift",
    "resize",
    "split",
    "standardize",
    "take",
    "to_channels",
    "to_examples",
    "warn_of_other_range",
    "wine",
]
