"""Recorded passes give what plain ones give. Where there is no GPU, a stand-in repeats what it recorded."""

import contextlib
import warnings
from collections.abc import Iterator
from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn

import apx
from apx.cuda_graphs import Pass, RecordedPasses
from apx.datasets import Dataset, Split
from apx.masked_model import MaskedModel
from apx.masks import Masks
from apx.registry import objectives
from apx.reparametrisation import LearnedScores
from apx.training.settings import TrainSettings
from apx.training.trainer import Environment, Hooks, Trainer

BATCH = 8
DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU"))]


class StandIn:
    """Records as a CUDA graph does: inputs are read from, and outputs written to, the same places each time."""

    def __init__(self) -> None:
        self.made = 0

    def __call__(self, compute: Pass, places: tuple[Tensor, ...]) -> Pass:
        self.made += 1
        with torch.no_grad():
            output = compute(*places)  # a warm-up: moves running statistics
        torch.rand(3)
        under_way: list[Any] = []
        gradients = [torch.empty_like(place) for place in places]

        class Repeated(torch.autograd.Function):
            @staticmethod
            def forward(ctx: Any, *inputs: Tensor) -> Tensor:
                moved = [
                    place for place, given in zip(places, inputs, strict=True) if place.data_ptr() != given.data_ptr()
                ]
                assert all(place is places[0] for place in moved)
                places[0].detach().copy_(inputs[0])
                leaves = [place.detach().requires_grad_(place.requires_grad) for place in places]
                with torch.set_grad_enabled(any(leaf.requires_grad for leaf in leaves)):
                    under_way[:] = leaves, compute(*leaves)
                return output.copy_(under_way[1].detach()).detach()

            @staticmethod
            def backward(ctx: Any, gradient: Tensor) -> Any:
                leaves, logits = under_way
                found = iter(torch.autograd.grad(logits, [leaf for leaf in leaves if leaf.requires_grad], gradient))
                pairs = zip(gradients, leaves, strict=True)
                return tuple(place.copy_(next(found)).detach() if leaf.requires_grad else None for place, leaf in pairs)

        return lambda *inputs: cast(Tensor, Repeated.apply(*inputs))


def network() -> nn.Module:
    torch.manual_seed(0)
    return apx.build("resnet18", num_classes=10, image_size=16, width=4)


def masked(module: nn.Module) -> MaskedModel:
    """Return a model with a masked, a learned and many plain weights."""
    model = MaskedModel(module)
    weights = model.prunable()
    masked, learned = list(weights)[2:4]
    torch.manual_seed(1)
    model.reparametrise(learned, LearnedScores(torch.randn_like(weights[learned]), kept=20))
    model.set_masks(Masks({masked: torch.rand_like(weights[masked]) < 0.5}))
    return model


def some_digits(n: int = 2 * BATCH + 3) -> Dataset:
    digits = apx.load_dataset("digits")
    part = Split(digits.train.images[:n], digits.train.labels[:n])
    return Dataset("some", part, part, part, num_classes=10, threat_eps=0.1)


def fit(
    model: MaskedModel, objective: str, device: str = "cpu", precision: str = "fp32", **settings: Any
) -> tuple[list[float], dict[str, Tensor]]:
    """Train for two epochs; return the losses and the state."""
    asked = TrainSettings(
        objective=objective, epochs=2, batch_size=BATCH, steps=2, lr=0.05, handover="best", **settings
    )
    environment = Environment(some_digits(), 0, torch.device(device), precision)
    losses: list[float] = []
    Trainer(
        model, asked, environment, "phase", objectives()[objective](asked, environment.threat(asked)),
        hooks=Hooks(step=lambda *at: losses.append(at[-1])),
    ).fit()  # fmt: skip
    state = model.state()
    return losses, {f"{part}/{name}": tensor.clone() for part in state for name, tensor in state[part].items()}


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> StandIn:
    """Let the trainer record by a stand-in, on any device."""
    made = StandIn()

    @contextlib.contextmanager
    def recorded(model: MaskedModel, batch_size: int, device: torch.device) -> Iterator[None]:
        model.recorded = RecordedPasses(model.module, batch_size, made)
        yield
        model.recorded = None

    monkeypatch.setattr("apx.training.trainer.recorded", recorded)
    return made


@pytest.mark.parametrize("objective", ["nat", "pgd", "fgsm-rs", "trades", "mart"])
def test_training_from_recordings_ends_where_training_ends(objective: str, request: pytest.FixtureRequest) -> None:
    losses, state = fit(masked(network()), objective)
    made: StandIn = request.getfixturevalue("stand_in")
    again, recorded = fit(masked(network()), objective)
    assert made.made > 0
    assert losses == again
    assert state.keys() == recorded.keys()
    assert all(torch.equal(state[name], recorded[name]) for name in state)


@pytest.fixture
def casts_of_its_own() -> Iterator[None]:
    """Let each pass cast the weights by itself, as a recorded one does: gradients are then summed in float32."""
    before = torch.is_autocast_cache_enabled()
    torch.set_autocast_cache_enabled(False)
    yield
    torch.set_autocast_cache_enabled(before)


@pytest.mark.usefixtures("casts_of_its_own")
def test_bf16_differs_by_the_casts_that_plain_passes_share_and_by_nothing_else(request: pytest.FixtureRequest) -> None:
    losses, state = fit(masked(network()), "trades", precision="bf16")
    made: StandIn = request.getfixturevalue("stand_in")
    again, recorded = fit(masked(network()), "trades", precision="bf16")
    assert made.made > 0
    assert losses == again
    assert all(torch.equal(state[name], recorded[name]) for name in state)


def test_each_pass_that_waits_has_a_recording_and_nothing_is_recorded_twice(stand_in: StandIn) -> None:
    fit(masked(network()), "trades")
    assert stand_in.made == 5  # eval mode with and without a gradient; train mode: clean, adversarial, clean


def model_with_recordings() -> tuple[MaskedModel, StandIn, Tensor]:
    model, made = masked(network()), StandIn()
    model.recorded = RecordedPasses(model.module, BATCH, made)
    model.refresh()
    return model, made, torch.rand(BATCH, 3, 16, 16)


def test_logits_and_gradients_are_those_of_the_model() -> None:
    model, made, x = model_with_recordings()
    model.eval()
    plain = masked(network()).eval()
    for images in (x, 1 - x):
        given, other = images.clone().requires_grad_(), images.clone().requires_grad_()
        logits, expected = model(given), plain(other)
        assert torch.equal(logits, expected)
        logits.square().sum().backward(), expected.square().sum().backward()
        assert torch.equal(cast(Tensor, given.grad), cast(Tensor, other.grad))
    assert made.made == 1


def test_gradients_add_up_over_backward_passes() -> None:
    model, made, x = model_with_recordings()
    plain = masked(network())
    for one in (model.eval(), plain.eval()):
        for images in (x, 1 - x, x / 2):
            one(images).square().sum().backward()
    assert made.made == 1
    name = next(name for name, weight in model.module.named_parameters() if weight.grad is not None)
    ours, theirs = (cast(Tensor, one.module.get_parameter(name).grad) for one in (model, plain))
    torch.testing.assert_close(ours, theirs)


def test_gradients_stay_what_they_are_when_the_pass_is_repeated() -> None:
    model, made, x = model_with_recordings()
    model.eval()
    leaf = x.clone().requires_grad_()
    (first,) = torch.autograd.grad(model(leaf).square().sum(), leaf)
    before = first.clone()
    other = (1 - x).requires_grad_()
    torch.autograd.grad(model(other).square().sum(), other)
    assert made.made == 1
    assert torch.equal(first, before)


def test_recording_leaves_statistics_and_random_numbers_alone() -> None:
    model, made, x = model_with_recordings()
    torch.manual_seed(3)
    model.train()(x)
    after = torch.rand(1)
    plain = masked(network()).train()
    torch.manual_seed(3)
    plain(x)
    assert made.made == 1
    assert torch.equal(after, torch.rand(1))
    assert all(
        torch.equal(own, other) for own, other in zip(model.module.buffers(), plain.module.buffers(), strict=True)
    )


def test_a_pass_cannot_be_differentiated_twice_or_too_late() -> None:
    model, _, x = model_with_recordings()
    loss = model(x).sum()
    loss.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="APX_CUDA_GRAPHS=0"):
        loss.backward()
    first = model(x).sum()
    model.refresh()
    model(x)
    with pytest.raises(RuntimeError, match="APX_CUDA_GRAPHS=0"):
        first.backward()


def test_hooks_and_other_batch_sizes_see_plain_passes() -> None:
    model, made, x = model_with_recordings()
    model(x[1:])
    seen: list[Tensor] = []
    handle = next(layer for layer in model.module.modules() if isinstance(layer, nn.Conv2d)).register_forward_hook(
        lambda _, inputs, output: seen.append(output)
    )
    model(x)
    assert made.made == 0
    assert len(seen) == 1
    handle.remove()
    model(x), model(x)
    assert made.made == 2  # both wait
    assert len(seen) == 1


def test_weights_that_become_masked_keep_their_hidden_values() -> None:
    model, made, x = model_with_recordings()
    model(x).sum().backward()
    name = list(model.prunable())[5]
    before = model.module.get_parameter(name).detach().clone()
    model.set_masks(model.masks.merged({name: torch.zeros_like(before, dtype=torch.bool)}))
    model.refresh()
    logits = model(x)
    assert torch.equal(model.module.get_parameter(name), before)
    assert made.made == 2
    model.recorded = None
    model.refresh()
    assert torch.equal(model(x), logits)


def test_what_cannot_be_recorded_is_computed_as_usual_and_said_once() -> None:
    def refuse(compute: Pass, places: tuple[Tensor, ...]) -> Pass:
        raise RuntimeError("operation not permitted when stream is capturing")

    model, _, x = model_with_recordings()
    model.recorded = RecordedPasses(model.module, BATCH, refuse)
    expected = masked(network())(x)
    with pytest.warns(UserWarning, match="ResNet cannot be recorded as a CUDA graph"):
        logits = model(x)
    assert torch.equal(logits, expected)
    with warnings.catch_warnings(action="error"):
        model(x)


def test_recordings_are_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("apx.cuda_graphs._MOST", 2)
    model, made, x = model_with_recordings()
    waiting = [model(x) for _ in range(4)]
    assert made.made == 2
    assert all(logits.requires_grad for logits in waiting)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("arch", ["resnet18", "vgg16"])
def test_a_device_trains_the_same_with_and_without_graphs(
    monkeypatch: pytest.MonkeyPatch, device: str, precision: str, arch: str
) -> None:
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    results = []
    torch.use_deterministic_algorithms(True)
    try:
        for switch in ("1", "0"):
            monkeypatch.setenv("APX_CUDA_GRAPHS", switch)
            torch.manual_seed(0)
            module = apx.build(arch, num_classes=10, image_size=16, width=4).to(device)
            results.append(fit(MaskedModel(module), "trades", device, precision))
    finally:
        torch.use_deterministic_algorithms(False)
    (losses, state), (plain_losses, plain_state) = results
    if device == "cpu":  # which has no graphs
        assert losses == plain_losses
        assert all(torch.equal(state[name], plain_state[name]) for name in state)
    elif precision == "fp32":
        assert losses == pytest.approx(plain_losses, rel=1e-3)
    else:  # plain passes share the casts of the weights to bf16, and so round the sum of their gradients
        assert losses[0] == pytest.approx(plain_losses[0], rel=0.03)
