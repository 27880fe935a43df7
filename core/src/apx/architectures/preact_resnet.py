"""ResNet-18 with pre-activation blocks (He et al., ECCV 2016), the network of RobustBird and FlyingBird."""

from torch import Tensor, nn
from torch.nn import functional

from apx.architectures.convolution import Conv2d


class PreActBlock(nn.Module):
    """bn-relu-conv-bn-relu-conv plus the shortcut; [B, c_in, H, W] -> [B, c_out, H/stride, W/stride].

    A projection sees the activated tensor, an identity shortcut the raw input. Blocks without projection have no
    `shortcut` at all.
    """

    def __init__(self, c_in: int, c_out: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(c_in)
        self.conv1 = Conv2d(c_in, c_out, 3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(c_out)
        self.conv2 = Conv2d(c_out, c_out, 3, padding=1, bias=False)
        self.projects = stride != 1 or c_in != c_out
        if self.projects:
            self.shortcut = nn.Sequential(Conv2d(c_in, c_out, 1, stride=stride, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's output, not activated."""
        activated = functional.relu(self.bn1(x))
        out = self.conv2(functional.relu(self.bn2(self.conv1(activated))))
        return out + (self.shortcut(activated) if self.projects else x)


class PreActResNet(nn.Module):
    """A 3x3 stem without batch norm, four stages of two blocks, bn-relu, a global average pool, a linear layer."""

    def __init__(self, num_classes: int, in_channels: int, width: int) -> None:
        super().__init__()
        self.conv1 = Conv2d(in_channels, width, 3, padding=1, bias=False)
        self.layer1 = _stage(width, width, 1)
        self.layer2 = _stage(width, 2 * width, 2)
        self.layer3 = _stage(2 * width, 4 * width, 2)
        self.layer4 = _stage(4 * width, 8 * width, 2)
        self.bn = nn.BatchNorm2d(8 * width)
        self.linear = nn.Linear(8 * width, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Map images [B, C, H, W] in [0, 1] to logits [B, num_classes]."""
        out = self.layer4(self.layer3(self.layer2(self.layer1(self.conv1(x)))))
        return self.linear(functional.adaptive_avg_pool2d(functional.relu(self.bn(out)), 1).flatten(1))


def _stage(c_in: int, c_out: int, stride: int) -> nn.Sequential:
    return nn.Sequential(PreActBlock(c_in, c_out, stride), PreActBlock(c_out, c_out, 1))


def preact_resnet18(*, num_classes: int, in_channels: int = 3, width: int | None = None) -> nn.Module:
    """Return the pre-activation ResNet-18: 107 tensors, 11,172,170 parameters at width 64 (the default)."""
    return PreActResNet(num_classes, in_channels, 64 if width is None else width)
