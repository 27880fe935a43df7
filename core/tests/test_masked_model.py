"""MaskedModel: the module stays plain, copies do not follow, the dense gradient survives."""

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from apx.attacks import frozen, pgd
from apx.errors import ApxError
from apx.masked_model import MaskedModel, Storage
from apx.masks import Masks
from apx.reparametrisation import LearnedScores


def small_net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1, bias=False),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(64, 3),
    )


def half_masks(net: nn.Module) -> Masks:
    generator = torch.Generator().manual_seed(1)
    names = [name for name, p in net.named_parameters() if p.dim() > 1]
    return Masks({n: torch.rand(net.get_parameter(n).shape, generator=generator) > 0.5 for n in names})


@pytest.fixture
def data() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(2)
    return torch.rand(8, 1, 4, 4, generator=generator), torch.arange(8) % 3


def sgd_step(model: MaskedModel, optimizer: torch.optim.Optimizer, x: Tensor, y: Tensor) -> None:
    optimizer.zero_grad()
    functional.cross_entropy(model(x), y).backward()
    model.pull_back()
    model.mask_gradients()
    optimizer.step()
    model.enforce(optimizer)
    model.refresh()


@pytest.mark.parametrize("storage", ["reparametrised", "inplace"])
def test_masked_entries_stay_zero_through_training(storage: Storage, data: tuple[Tensor, Tensor]) -> None:
    model = MaskedModel(small_net(), storage=storage)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-2)
    sgd_step(model, optimizer, *data)
    masks = half_masks(model.module)
    model.set_masks(masks)
    for _ in range(3):
        sgd_step(model, optimizer, *data)
    state = model.folded_state()
    for name, mask in masks.items():
        assert (state[name][~mask] == 0).all()
        assert (state[name][mask] != 0).all()


def test_reparametrised_storage_keeps_hidden_weights_and_inplace_does_not(
    data: tuple[Tensor, Tensor],
) -> None:
    for storage, survives in (("reparametrised", True), ("inplace", False)):
        model = MaskedModel(small_net(), storage=storage)  # type: ignore[arg-type]
        masks = half_masks(model.module)
        model.set_masks(masks)
        hidden = model.module.get_parameter("0.weight")[~masks["0.weight"]]
        assert bool((hidden != 0).any()) is survives


def test_in_place_momentum_is_zero_where_masked(data: tuple[Tensor, Tensor]) -> None:
    model = MaskedModel(small_net(), storage="inplace")
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    sgd_step(model, optimizer, *data)
    masks = half_masks(model.module)
    model.set_masks(masks)
    sgd_step(model, optimizer, *data)
    momentum = optimizer.state[model.module.get_parameter("0.weight")]["momentum_buffer"]
    assert (momentum[~masks["0.weight"]] == 0).all()


def test_gradients_equal_those_of_the_textbook_product(data: tuple[Tensor, Tensor]) -> None:
    x, y = data
    net = small_net()
    masks = half_masks(net)
    textbook = copy.deepcopy(net)
    weights = {name: textbook.get_parameter(name) for name in masks}
    logits = torch.func.functional_call(textbook, {name: w * masks[name] for name, w in weights.items()}, (x,))
    functional.cross_entropy(logits, y).backward()

    model = MaskedModel(net)
    model.set_masks(masks)
    functional.cross_entropy(model(x), y).backward()
    model.pull_back()
    for name, parameter in net.named_parameters():
        torch.testing.assert_close(parameter.grad, textbook.get_parameter(name).grad)


@pytest.mark.parametrize("storage", ["reparametrised", "inplace"])
def test_dense_gradient_reaches_pruned_entries(storage: Storage, data: tuple[Tensor, Tensor]) -> None:
    model = MaskedModel(small_net(), storage=storage)
    masks = half_masks(model.module)
    model.set_masks(masks)
    functional.cross_entropy(model(data[0]), data[1]).backward()
    gradient = model.dense_gradient("0.weight")
    assert gradient is not None
    assert (gradient[~masks["0.weight"]] != 0).any()


def test_two_backwards_per_batch_accumulate(data: tuple[Tensor, Tensor]) -> None:
    x, y = data
    model = MaskedModel(small_net().eval())
    model.set_masks(half_masks(model.module))
    model.eval()
    functional.cross_entropy(model(x), y).backward()
    model.pull_back()
    once = model.module.get_parameter("0.weight").grad
    assert once is not None
    expected = 2 * once
    model.zero_grad()
    model.refresh()
    for _ in range(2):
        functional.cross_entropy(model(x), y).backward()
    model.pull_back()
    torch.testing.assert_close(model.module.get_parameter("0.weight").grad, expected)


def test_a_copied_teacher_does_not_follow_the_student(data: tuple[Tensor, Tensor]) -> None:
    student = MaskedModel(small_net())
    student.set_masks(half_masks(student.module))
    student(data[0])
    teacher = copy.deepcopy(student).eval()
    before = teacher(data[0]).detach().clone()
    optimizer = torch.optim.SGD(student.parameters(), lr=0.5)
    sgd_step(student, optimizer, *data)
    torch.testing.assert_close(teacher(data[0]), before)
    assert not torch.allclose(student.eval()(data[0]), before)


def test_the_plain_state_dict_loads_strictly_at_any_time(data: tuple[Tensor, Tensor]) -> None:
    model = MaskedModel(small_net())
    small_net().load_state_dict(model.module.state_dict(), strict=True)
    model.reparametrise("0.weight", LearnedScores(torch.rand(4, 1, 3, 3), 18))
    model(data[0])
    small_net().load_state_dict(model.module.state_dict(), strict=True)
    model.drop_reparametrisations()
    model.set_masks(half_masks(model.module))
    folded = small_net()
    folded.load_state_dict(model.folded_state(), strict=True)
    torch.testing.assert_close(folded.eval()(data[0]), model.eval()(data[0]))


def test_in_place_changes_of_hidden_weights_are_seen(data: tuple[Tensor, Tensor]) -> None:
    model = MaskedModel(small_net()).eval()
    model.set_masks(half_masks(model.module))
    before = model(data[0]).detach().clone()
    with torch.no_grad():
        model.module.get_parameter("0.weight").mul_(2.0)
    assert not torch.equal(model(data[0]), before)


def test_attacks_leave_no_gradient_and_restore_the_modes(data: tuple[Tensor, Tensor]) -> None:
    x, y = data
    model = MaskedModel(small_net())
    model.set_masks(half_masks(model.module))
    model.train()
    model.module[1].eval()  # a frozen batch norm stays as the caller set it
    before = {name: tensor.clone() for name, tensor in model.module.state_dict().items()}
    x_adv = pgd(model, x, y, eps=0.1, alpha=0.05, steps=3)
    assert (x_adv - x).abs().max() <= 0.1 + 1e-6
    assert x_adv.min() >= 0
    assert x_adv.max() <= 1
    assert model.training
    assert not model.module[1].training
    assert all(parameter.grad is None and parameter.requires_grad for parameter in model.parameters())
    assert all(torch.equal(before[name], tensor) for name, tensor in model.module.state_dict().items())


def test_training_mode_attacks_move_the_running_statistics(data: tuple[Tensor, Tensor]) -> None:
    model = MaskedModel(small_net()).train()
    before = model.module[1].running_mean.clone()  # type: ignore[union-attr, operator]
    with frozen(model, "train"):
        model(data[0])
    assert not torch.equal(before, model.module[1].running_mean)  # type: ignore[arg-type]


def test_attack_and_loss_share_the_effective_weights(data: tuple[Tensor, Tensor]) -> None:
    model = MaskedModel(small_net())
    scores = LearnedScores(torch.rand(4, 1, 3, 3), 18)
    calls = []
    scores.register_forward_hook(lambda *_: calls.append(1))
    model.reparametrise("0.weight", scores)
    model.refresh()
    x_adv = pgd(model, *data, eps=0.1, alpha=0.05, steps=5)
    functional.cross_entropy(model(x_adv), data[1]).backward()
    model.pull_back()
    assert len(calls) == 1
    assert scores.scores.grad is not None


@pytest.mark.parametrize(
    ("masks", "message"),
    [
        ({"nowhere.weight": torch.ones(2, dtype=torch.bool)}, "names no parameter"),
        ({"0.weight": torch.ones(2, dtype=torch.bool)}, "has shape"),
    ],
)
def test_masks_that_do_not_fit_are_refused(masks: dict[str, Tensor], message: str) -> None:
    with pytest.raises(ApxError, match=message):
        MaskedModel(small_net()).set_masks(Masks(masks))
