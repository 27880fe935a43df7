"""A prepared network answers as the given one does, and says what was done to it."""

import copy

import pytest
import torch
from torch import Tensor, nn

from apx import MaskedModel, Masks
from apx.architectures import BUILTIN, Normalisation, build
from apx.coupling import couple_filters
from apx.errors import UserError
from apx.evaluation.prepared import prepare

X = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
NORMALISATION = Normalisation((0.5, 0.4, 0.3), (0.2, 0.3, 0.2))


def network(arch: str, width: int = 2) -> nn.Module:
    """Return a network that normalises its inputs, its batch norms fed a few images."""
    torch.manual_seed(0)
    net = build(arch, num_classes=10, width=width, normalisation=NORMALISATION)
    with torch.no_grad():
        for _ in range(3):
            net(torch.rand(8, 3, 32, 32))
    return net


def halved(net: nn.Module) -> nn.Module:
    """Mask every other filter of each convolution."""
    masks = {}
    for name, layer in net.named_modules():
        if isinstance(layer, nn.Conv2d):
            masks[f"{name}.weight"] = torch.ones_like(layer.weight, dtype=torch.bool)
            masks[f"{name}.weight"][::2] = False
    tensors = {**dict(net.named_parameters()), **dict(net.named_buffers())}
    with torch.no_grad():
        for name, mask in couple_filters(net, masks, X).items():
            tensors[name].mul_(mask)
    return net


@torch.no_grad()
def alike(a: nn.Module, b: nn.Module, x: Tensor = X) -> bool:
    expected = a.eval()(x)
    return torch.allclose(b(x), expected, rtol=0, atol=1e-4 * float(expected.abs().max()))


def small_net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(3600, 5))


@pytest.mark.parametrize("arch", sorted(set(BUILTIN) - {"wrn-28-10"}))
def test_every_architecture_answers_alike_whole_and_with_half_of_its_filters(arch):
    for net in (network(arch), halved(network(arch))):
        prepared = prepare(net, X)
        assert alike(net, prepared.module)
        assert {"frozen", "channels-last"} <= set(prepared.steps)


@pytest.mark.parametrize(
    ("arch", "step"),
    [
        ("resnet18", "folded 20 batch norms"),
        ("vgg16", "folded 13 batch norms"),
        ("vgg16_bn_mlp512", "folded 14 batch norms"),
        ("preact_resnet18", "folded 8 batch norms (9 follow no layer of their own and stay)"),
    ],
)
def test_the_steps_tell_what_was_folded(arch, step):
    assert prepare(network(arch), X).steps == ("frozen", step, "channels-last")


def test_dead_filters_are_gone_and_counted():
    net = halved(network("vgg16", width=4))
    prepared = prepare(net, X)
    kept = [layer.out_channels for layer in prepared.module.modules() if isinstance(layer, nn.Conv2d)]
    assert kept == [layer.out_channels // 2 for layer in net.modules() if isinstance(layer, nn.Conv2d)]
    assert prepared.steps[1].startswith(f"removed {sum(kept)} filters")


def test_input_gradients_agree():
    net = halved(network("resnet18", width=4))
    gradients = []
    for module in (net.eval(), prepare(net, X).module):
        x = X.clone().requires_grad_(True)
        gradients += torch.autograd.grad(module(x).logsumexp(1).sum(), x)
    assert torch.allclose(*gradients, rtol=0, atol=1e-4 * float(gradients[0].abs().max()))


def test_the_given_network_is_untouched():
    net = network("resnet18").train()
    before = copy.deepcopy(net.state_dict())
    prepared = prepare(net, X)
    assert net.training
    assert all(parameter.requires_grad for parameter in net.parameters())
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())
    assert not {id(p) for p in net.parameters()} & {id(p) for p in prepared.module.parameters()}


def test_the_prepared_network_is_frozen_in_eval_mode_and_channels_last():
    module = prepare(small_net().train(), X).module
    assert not any(part.training for part in module.modules())
    assert not any(parameter.requires_grad for parameter in module.parameters())
    assert module[0].weight.is_contiguous(memory_format=torch.channels_last)


def test_no_random_number_is_consumed():
    class Drawing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = small_net()

        def forward(self, x: Tensor) -> Tensor:
            torch.rand(1)
            return self.net(x)

    for net in (Drawing(), halved(network("vgg16"))):
        state = torch.get_rng_state()
        prepare(net, X, precision="bf16")
        assert torch.equal(torch.get_rng_state(), state)


def test_masks_are_folded_in():
    model = MaskedModel(small_net().eval())
    mask = torch.ones(4, 3, 3, 3, dtype=torch.bool)
    mask[1] = False
    model.set_masks(Masks({"0.weight": mask}))
    prepared = prepare(model, X)
    assert alike(model, prepared.module)


def test_a_network_that_answers_at_random_is_left_as_it_is():
    class Noisy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = small_net()

        def forward(self, x: Tensor) -> Tensor:
            return self.net(x + torch.rand_like(x))

    prepared = prepare(Noisy(), X)
    assert any(step.startswith("batch norms not folded: logits would move by") for step in prepared.steps)
    assert isinstance(prepared.module.net[1], nn.BatchNorm2d)


def test_a_network_that_looks_at_its_batch_norm_is_left_as_it_is():
    class Looking(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = small_net()

        def forward(self, x: Tensor) -> Tensor:
            return self.net(x) * self.net[1].running_var.mean()

    net = Looking().eval()
    prepared = prepare(net, X)
    assert any(step.startswith("batch norms not folded: AttributeError") for step in prepared.steps)
    assert alike(net, prepared.module)


def test_a_network_that_cannot_be_shrunk_says_why_and_is_folded_all_the_same():
    class Split(nn.Module):
        """Its filters are counted by the forward pass, so none can go."""

        def __init__(self) -> None:
            super().__init__()
            self.net = small_net()

        def forward(self, x: Tensor) -> Tensor:
            return self.net[4](self.net[:3](x).reshape(len(x), 3600))

    net = Split().eval()
    with torch.no_grad():
        net.net[0].weight[1] = 0
        for tensor in (net.net[1].weight, net.net[1].bias):
            tensor[1] = 0
    prepared = prepare(net, X)
    assert prepared.steps[1].startswith("no filters removed: cannot shrink Split")
    assert prepared.steps[2] == "folded 1 batch norms"
    assert alike(net, prepared.module)


def test_a_network_that_cannot_be_copied_is_returned_itself():
    net = small_net()
    net.cache = net[0].weight * 2  # a graph tensor
    prepared = prepare(net, X)
    assert prepared.module is net
    assert prepared.steps[0].startswith("not prepared: Sequential cannot be copied")


def test_bf16_is_said_and_returns_float32_logits_with_a_gradient():
    net = small_net().eval()
    prepared = prepare(net, X, precision="bf16")
    assert prepared.steps[-1] == "bf16"
    x = X.clone().requires_grad_(True)
    logits = prepared.module(x)
    (gradient,) = torch.autograd.grad(logits.sum(), x)
    assert logits.dtype == gradient.dtype == torch.float32
    assert torch.allclose(logits, net(X), atol=0.05)
    assert not torch.equal(logits, prepare(net, X).module(X))


def test_an_unknown_precision_is_refused():
    with pytest.raises(UserError, match="unknown precision 'fp16': choose fp32 or bf16"):
        prepare(small_net(), X, precision="fp16")
