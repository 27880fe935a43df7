"""VGG-16 with batch norm for small images, with the five heads that the published networks have."""

from typing import Literal

from torch import Tensor, nn
from torch.nn import functional

from apx.architectures.convolution import Conv2d
from apx.errors import UserError

_GROUPS = ((1, 1), (2, 2), (4, 4, 4), (8, 8, 8), (8, 8, 8))  # output channels of each convolution, in base widths


class VGG16(nn.Module):
    """Thirteen convolutions, four max pools, an average pool to 2x2, and the head 2048-256-256-classes.

    The benchmark's `vgg16_bn`. The convolutions sit at `features.{0,3,7,...,40}`, each followed by its batch norm.
    """

    def __init__(self, num_classes: int, in_channels: int, width: int) -> None:
        super().__init__()
        self.features = _features(in_channels, width)
        hidden = 4 * width
        self.classifier = nn.Sequential(
            nn.Linear(4 * 8 * width, hidden),
            nn.ReLU(),
            nn.Linear(hidden, hidden),
            nn.ReLU(),
            nn.Linear(hidden, num_classes),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map images [B, C, H, W] in [0, 1] to logits [B, num_classes]."""
        return self.classifier(_average_to_2x2(self.features(x)).flatten(1))


class VGG16Pooled(nn.Module):
    """The same thirteen convolutions, a last pool (max or average) to 1x1, and a head for its 8 widths.

    At 32x32 the last pool is a fifth 2x2 one; larger maps are averaged down to 1x1.
    """

    def __init__(self, in_channels: int, width: int, last_pool: Literal["max", "average"], head: nn.Module) -> None:
        super().__init__()
        self.features = _features(in_channels, width)
        self.classifier = head
        self.last_pool = last_pool

    def forward(self, x: Tensor) -> Tensor:
        """Map images [B, C, H, W] in [0, 1] to logits [B, num_classes]."""
        out = self.features(x)
        if self.last_pool == "max":
            out = functional.max_pool2d(out, 2)
        return self.classifier(functional.adaptive_avg_pool2d(out, 1).flatten(1))


def _features(c_in: int, width: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for group in _GROUPS:
        if layers:
            layers.append(nn.MaxPool2d(2))
        for factor in group:
            c_out = factor * width
            layers += [Conv2d(c_in, c_out, 3, padding=1, bias=False), nn.BatchNorm2d(c_out), nn.ReLU()]
            c_in = c_out
    return nn.Sequential(*layers)


def _average_to_2x2(x: Tensor) -> Tensor:
    """Equal `adaptive_avg_pool2d(x, 2)`, whose CUDA backward is not deterministic; [B, C, H, W] -> [B, C, 2, 2].

    Two windows of ceil(n/2) pixels, floor(n/2) apart, are what the adaptive pool uses; a single pixel is repeated.
    """
    height, width = x.shape[-2:]
    if (height, width) != (2, 2):
        kernel = ((height + 1) // 2, (width + 1) // 2)
        x = functional.avg_pool2d(x, kernel, stride=(max(1, height // 2), max(1, width // 2)))
    return x.expand(-1, -1, 2, 2)


def vgg16(*, num_classes: int, in_channels: int = 3, image_size: int = 32, width: int | None = None) -> nn.Module:
    """Return the benchmark's VGG-16: 84 tensors, 15,311,818 parameters at width 64 (the default).

    Initialised by PyTorch's defaults. Raises UserError for images below 16x16.
    """
    _need("vgg16", image_size, 16)
    return VGG16(num_classes, in_channels, 64 if width is None else width)


def vgg16_bn_linear(
    *, num_classes: int, in_channels: int = 3, image_size: int = 32, width: int | None = None
) -> nn.Module:
    """Return the VGG-16 with one linear layer behind a max pool (TwinRep, R-ADMM, RobustBird, FlyingBird, RST).

    80 tensors, 14,724,042 parameters at width 64 (the default). Raises UserError for images below 32x32.
    """
    _need("vgg16_bn_linear", image_size, 32)
    width = 64 if width is None else width
    return VGG16Pooled(in_channels, width, "max", nn.Linear(8 * width, num_classes))


def vgg16_bn_linear_avg(
    *, num_classes: int, in_channels: int = 3, image_size: int = 32, width: int | None = None
) -> nn.Module:
    """Return the VGG-16 with one linear layer behind an average pool (MAD): tensors as those of `vgg16_bn_linear`.

    80 tensors, 14,724,042 parameters at width 64 (the default). Raises UserError for images below 16x16.
    """
    _need("vgg16_bn_linear_avg", image_size, 16)
    width = 64 if width is None else width
    return VGG16Pooled(in_channels, width, "average", nn.Linear(8 * width, num_classes))


def vgg16_bn_mlp512(
    *, num_classes: int, in_channels: int = 3, image_size: int = 32, width: int | None = None
) -> nn.Module:
    """Return the VGG-16 with an average pool and the head 512-512-classes, batch norm between (boosting tickets).

    87 tensors, 14,987,722 parameters at width 64 (the default). Raises UserError for images below 16x16.
    """
    _need("vgg16_bn_mlp512", image_size, 16)
    width = 64 if width is None else width
    hidden = 8 * width
    head = nn.Sequential(
        nn.Linear(8 * width, hidden), nn.BatchNorm1d(hidden), nn.ReLU(), nn.Linear(hidden, num_classes)
    )
    return VGG16Pooled(in_channels, width, "average", head)


def vgg16_bn_fc4096(
    *, num_classes: int, in_channels: int = 3, image_size: int = 32, width: int | None = None
) -> nn.Module:
    """Return the VGG-16 with a max pool and the head 512-4096-4096-classes, batch norms between (PwoA's own code).

    94 tensors, 33,658,826 parameters at width 64 (the default). Raises UserError for images below 32x32.
    """
    _need("vgg16_bn_fc4096", image_size, 32)
    width = 64 if width is None else width
    hidden = 64 * width
    head = nn.Sequential(
        *(nn.Linear(8 * width, hidden), nn.BatchNorm1d(hidden), nn.ReLU()),
        *(nn.Linear(hidden, hidden), nn.BatchNorm1d(hidden), nn.ReLU()),
        nn.Linear(hidden, num_classes),
    )
    return VGG16Pooled(in_channels, width, "max", head)


def _need(name: str, image_size: int, least: int) -> None:
    if image_size < least:
        raise UserError(
            f"{name} needs images of at least {least}x{least} pixels, these have {image_size}x{image_size}: "
            "take another architecture, such as resnet18"
        )
