"""Batch norms go into the layers before them exactly where the output goes nowhere else."""

import pytest
import torch
from torch import Tensor, nn

from apx.architectures.convolution import Conv2d
from apx.folding import batch_norms, fold_batch_norms

X = torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def trained(net: nn.Module) -> nn.Module:
    """Give the batch norms weights and statistics that are not the identity."""
    generator = torch.Generator().manual_seed(1)
    for layer in batch_norms(net):
        for tensor in (layer.weight, layer.bias, layer.running_mean, layer.running_var):
            if tensor is not None:
                tensor.data.uniform_(0.5, 1.5, generator=generator)
    return net.eval()


@torch.no_grad()
def folded_alike(net: nn.Module, x: Tensor = X) -> int:
    before = net(x)
    count = fold_batch_norms(net, x)
    assert torch.allclose(net(x), before, rtol=1e-5, atol=1e-5)
    return count


class Branch(nn.Module):
    """A convolution and its batch norm, with a second use of one of the two tensors."""

    def __init__(self, second: str) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3)
        self.second = second

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        if y.shape[-1] < 2:  # reading a shape is no use of the values
            return y
        z = self.norm(y)
        match self.second:
            case "add":
                z = z + y
            case "view":
                z = z + y.detach()
            case "inplace":
                z = self.norm(self.conv(x).relu_())
            case "again":
                z = self.norm(self.conv(z))
            case "twice":
                z = self.norm(y)
            case "output":
                return y
        return z


def test_the_folded_weights_worked_by_hand():
    net = nn.Sequential(nn.Conv2d(3, 1, 1, bias=False), nn.BatchNorm2d(1, eps=0.0)).eval()
    with torch.no_grad():
        net[0].weight.copy_(torch.tensor([1.0, 2.0, 3.0]).view(1, 3, 1, 1))
        for tensor, value in zip(
            (net[1].weight, net[1].bias, net[1].running_mean, net[1].running_var), (6.0, 1.0, 5.0, 4.0), strict=True
        ):
            tensor.fill_(value)
    assert fold_batch_norms(net, X) == 1
    assert net[0].weight.flatten().tolist() == [3.0, 6.0, 9.0]
    assert net[0].bias.tolist() == [-14.0]
    assert isinstance(net[1], nn.Identity)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("layer", [nn.Conv2d, Conv2d])
def test_convolutions_fold_with_and_without_bias_and_affine_part(layer, affine, bias):
    net = nn.Sequential(layer(3, 6, 3, bias=bias), nn.BatchNorm2d(6, affine=affine), nn.ReLU(), nn.Flatten())
    assert folded_alike(trained(net)) == 1
    assert batch_norms(net) == []


def test_grouped_convolutions_and_linear_layers_fold():
    net = nn.Sequential(
        nn.Conv2d(3, 6, 3, groups=3, padding=1, padding_mode="reflect"), nn.BatchNorm2d(6), nn.Flatten(),
        nn.Linear(384, 5, bias=False), nn.BatchNorm1d(5),
    )  # fmt: skip
    assert folded_alike(trained(net)) == 2


@pytest.mark.parametrize("second", ["add", "view", "inplace", "again", "twice", "output"])
def test_a_layer_whose_output_has_another_use_is_left_alone(second):
    assert folded_alike(trained(Branch(second))) == 0


def test_control_flow_on_shapes_is_no_obstacle():
    assert folded_alike(trained(Branch("none"))) == 1


def test_a_batch_norm_before_its_convolution_stays():
    assert folded_alike(trained(nn.Sequential(nn.BatchNorm2d(3), nn.ReLU(), nn.Conv2d(3, 4, 3)))) == 0


def test_hooked_and_parametrised_layers_stay():
    hooked = trained(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)))
    hooked[0].register_forward_hook(lambda layer, inputs, output: 2 * output)
    assert folded_alike(hooked) == 0
    normed = trained(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)))
    nn.utils.parametrizations.weight_norm(normed[0])
    assert folded_alike(normed) == 0


def test_a_batch_norm_without_running_statistics_stays():
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, track_running_stats=False))
    assert folded_alike(trained(net)) == 0


def test_a_linear_layer_on_sequences_stays_since_its_batch_norm_counts_positions():
    net = nn.Sequential(nn.Flatten(2), nn.Linear(64, 3), nn.BatchNorm1d(3), nn.Flatten())
    assert folded_alike(trained(net)) == 0


def test_a_weight_shared_with_another_layer_keeps_its_values_there():
    net = trained(nn.Sequential(nn.Conv2d(3, 3, 3), nn.BatchNorm2d(3), nn.Conv2d(3, 3, 3)))
    net[2].weight = net[0].weight
    assert folded_alike(net) == 1
