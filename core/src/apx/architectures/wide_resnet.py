"""Wide residual networks (Zagoruyko and Komodakis, BMVC 2016), as adversarial training uses them on small images."""

from torch import Tensor, nn
from torch.nn import functional

from apx.architectures.convolution import Conv2d


class WideBlock(nn.Module):
    """bn-relu-conv-bn-relu-conv plus the shortcut; [B, c_in, H, W] -> [B, c_out, H/stride, W/stride].

    A projection sees the activated tensor, an identity shortcut the raw input. Blocks without projection have no
    `convShortcut` at all; the name is that of the published checkpoints.
    """

    def __init__(self, c_in: int, c_out: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(c_in)
        self.conv1 = Conv2d(c_in, c_out, 3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(c_out)
        self.conv2 = Conv2d(c_out, c_out, 3, padding=1, bias=False)
        self.projects = c_in != c_out
        if self.projects:
            self.convShortcut = Conv2d(c_in, c_out, 1, stride=stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's output, not activated."""
        activated = functional.relu(self.bn1(x))
        out = self.conv2(functional.relu(self.bn2(self.conv1(activated))))
        return out + (self.convShortcut(activated) if self.projects else x)


class Stage(nn.Module):
    """Blocks one after the other, the first of which may widen and halve the map."""

    def __init__(self, c_in: int, c_out: int, stride: int, blocks: int) -> None:
        super().__init__()
        later = (WideBlock(c_out, c_out, 1) for _ in range(blocks - 1))
        self.layer = nn.Sequential(WideBlock(c_in, c_out, stride), *later)

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, c_in, H, W] to [B, c_out, H/stride, W/stride]."""
        return self.layer(x)


class WideResNet(nn.Module):
    """A 3x3 stem, three stages of (depth - 4) / 6 blocks (widths kw, 2kw, 4kw), bn-relu, a global average pool, linear.

    Convolutions are initialised by He's rule over what they feed (fan-out), and the last bias is zero, as published.
    """

    def __init__(self, depth: int, factor: int, num_classes: int, in_channels: int, width: int) -> None:
        super().__init__()
        blocks, widest = (depth - 4) // 6, 4 * factor * width
        self.conv1 = Conv2d(in_channels, width, 3, padding=1, bias=False)
        self.block1 = Stage(width, factor * width, 1, blocks)
        self.block2 = Stage(factor * width, 2 * factor * width, 2, blocks)
        self.block3 = Stage(2 * factor * width, widest, 2, blocks)
        self.bn1 = nn.BatchNorm2d(widest)
        self.fc = nn.Linear(widest, num_classes)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
        nn.init.zeros_(self.fc.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Map images [B, C, H, W] in [0, 1] to logits [B, num_classes]."""
        out = self.block3(self.block2(self.block1(self.conv1(x))))
        # the original's fixed 8x8 pool is this at 32x32, and this takes any size
        return self.fc(functional.adaptive_avg_pool2d(functional.relu(self.bn1(out)), 1).flatten(1))


def wrn_28_4(*, num_classes: int, in_channels: int = 3, width: int | None = None) -> nn.Module:
    """Return WRN-28-4, HYDRA's and TwinRep's wide network: 155 tensors, 5,849,050 parameters at width 16 (the default).

    HYDRA's code registers a second copy of the first stage (`sub_block1`) that no forward pass reads: it is left out.
    """
    return WideResNet(28, 4, num_classes, in_channels, 16 if width is None else width)


def wrn_28_10(*, num_classes: int, in_channels: int = 3, width: int | None = None) -> nn.Module:
    """Return WRN-28-10: 155 tensors, 36,479,194 parameters at width 16 (the default); as WRN-28-4 otherwise."""
    return WideResNet(28, 10, num_classes, in_channels, 16 if width is None else width)
