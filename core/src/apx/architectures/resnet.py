"""ResNet-18 for small images, post-activation (He et al., CVPR 2016), with the benchmark's parameter names."""

from torch import Tensor, nn
from torch.nn import functional

from apx.architectures.convolution import Conv2d


class BasicBlock(nn.Module):
    """conv-bn-relu-conv-bn plus the shortcut, then relu; [B, c_in, H, W] -> [B, c_out, H/stride, W/stride]."""

    def __init__(self, c_in: int, c_out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = Conv2d(c_in, c_out, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(c_out)
        self.conv2 = Conv2d(c_out, c_out, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(c_out)
        self.shortcut = nn.Sequential()
        if stride != 1 or c_in != c_out:
            self.shortcut = nn.Sequential(Conv2d(c_in, c_out, 1, stride=stride, bias=False), nn.BatchNorm2d(c_out))

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's output."""
        out = functional.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        return functional.relu(out + self.shortcut(x))


class ResNet(nn.Module):
    """A 3x3 stem, four stages of two blocks (widths w, 2w, 4w, 8w), a global average pool and a linear layer."""

    def __init__(self, num_classes: int, in_channels: int, width: int) -> None:
        super().__init__()
        self.conv1 = Conv2d(in_channels, width, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.layer1 = _stage(width, width, 1)
        self.layer2 = _stage(width, 2 * width, 2)
        self.layer3 = _stage(2 * width, 4 * width, 2)
        self.layer4 = _stage(4 * width, 8 * width, 2)
        self.linear = nn.Linear(8 * width, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Map images [B, C, H, W] in [0, 1] to logits [B, num_classes]."""
        out = functional.relu(self.bn1(self.conv1(x)))
        out = self.layer4(self.layer3(self.layer2(self.layer1(out))))
        # the original's fixed 4x4 pool is this at 32x32, and this takes any size
        return self.linear(functional.adaptive_avg_pool2d(out, 1).flatten(1))


def _stage(c_in: int, c_out: int, stride: int) -> nn.Sequential:
    return nn.Sequential(BasicBlock(c_in, c_out, stride), BasicBlock(c_out, c_out, 1))


def resnet18(*, num_classes: int, in_channels: int = 3, width: int | None = None) -> nn.Module:
    """Return the benchmark's ResNet-18: 122 tensors, 11,173,962 parameters at width 64 (the default).

    Initialised by PyTorch's defaults, as the official code of most methods does; a method whose paper initialises
    otherwise does so itself.
    """
    return ResNet(num_classes, in_channels, 64 if width is None else width)
