"""The two plain networks of verified training (Wong et al., NeurIPS 2018), used by HYDRA on small images."""

from torch import nn

from apx.errors import UserError


def cnn_small(*, num_classes: int, in_channels: int = 3, image_size: int = 32, width: int | None = None) -> nn.Module:
    """Return conv(w, 4x4, /2) - conv(2w, 4x4, /2) - linear(100) - linear, with w = 16 by default.

    Raises UserError for images below 4x4.
    """
    _need("cnn-small", image_size)
    w = 16 if width is None else width
    hidden = max(1, round(100 * w / 16))
    return nn.Sequential(
        nn.Conv2d(in_channels, w, 4, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(w, 2 * w, 4, stride=2, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(2 * w * (image_size // 4) ** 2, hidden),
        nn.ReLU(),
        nn.Linear(hidden, num_classes),
    )


def cnn_large(*, num_classes: int, in_channels: int = 3, image_size: int = 32, width: int | None = None) -> nn.Module:
    """Return four convolutions (w, w, 2w, 2w; the second and fourth halve the map) and three linear layers, w = 32.

    Raises UserError for images below 4x4.
    """
    _need("cnn-large", image_size)
    w = 32 if width is None else width
    return nn.Sequential(
        nn.Conv2d(in_channels, w, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(w, w, 4, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(w, 2 * w, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(2 * w, 2 * w, 4, stride=2, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(2 * w * (image_size // 4) ** 2, 16 * w),
        nn.ReLU(),
        nn.Linear(16 * w, 16 * w),
        nn.ReLU(),
        nn.Linear(16 * w, num_classes),
    )


def _need(name: str, image_size: int) -> None:
    if image_size < 4:
        raise UserError(f"{name} needs images of at least 4x4 pixels, these have {image_size}x{image_size}")
