"""Image files to uint8 tensors."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from apx.errors import UserError

Shape = tuple[int, int, int]


def image_shape(file: str) -> Shape:
    """Return (3, H, W) of an image file from its header; raise a UserError where it is no square image."""
    with _opened(file) as image:
        width, height = image.size
    if height != width:
        raise UserError(f"'{file}' is {width}x{height}: apx needs square images, all of one size")
    return 3, height, width


def decode(files: Sequence[str], shape: Shape) -> Tensor:
    """Return the images as uint8 [N, *shape] RGB (grey is repeated, transparency dropped), read by one thread per core.

    Raises:
        UserError: a file that is no image, has 16 or more bits per channel, or another size.
    """
    _, height, width = shape
    images = np.empty((len(files), height, width, 3), dtype=np.uint8)

    def fill(positions: range) -> None:
        for position in positions:
            images[position] = _pixels(files[position], (width, height))

    # PIL decodes outside the interpreter lock; a few hundred files a task keep the pool's own work small
    tasks = [range(start, min(start + 256, len(files))) for start in range(0, len(files), 256)]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for _ in pool.map(fill, tasks):
            pass  # taking the result raises what the task raised
    return torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()


def _pixels(file: str, size: tuple[int, int]) -> np.ndarray:
    with _opened(file) as image:
        if image.size != size:
            raise UserError(
                f"'{file}' is {'x'.join(map(str, image.size))}, others are {'x'.join(map(str, size))}: "
                "all images must have one size"
            )
        if image.mode[0] in "IF":
            raise UserError(f"'{file}' has more than 8 bits per channel: convert it to 8 bits")
        try:
            return np.asarray(image.convert("RGB"))
        except OSError as error:  # truncated data
            raise UserError(f"'{file}' cannot be decoded: {error}") from error


def _opened(file: str) -> Image.Image:
    try:
        return Image.open(file)
    except UnidentifiedImageError:
        raise UserError(f"'{file}' is not an image that can be read: remove or replace it") from None
