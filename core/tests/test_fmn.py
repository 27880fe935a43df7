import itertools
import math

import pytest
import torch
from torch import Tensor, nn

from apx.errors import UserError
from apx.evaluation.fmn import fmn
from apx.evaluation.margins import dlr, logit_margin
from apx.evaluation.minimum_norm import Nearest, annealed
from apx.evaluation.norms import length, mid_point, project

from .small_models import unbiased as linear

NORMS = ("L0", "L1", "L2", "Linf")

# On 2x2 images: z = (x0 + x1, x2 + x3, 0). The Linf distance to the boundary is (z_0 - z_1) / 4, that in L2 twice that.
NEAR, FAR, WRONG = (0.6, 0.6, 0.5, 0.5), (0.9, 0.9, 0.1, 0.1), (0.2, 0.2, 0.8, 0.8)
IMAGES = torch.tensor([NEAR, FAR, WRONG]).view(3, 1, 2, 2)
LABELS = torch.tensor([0, 0, 0])


def random_net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, stride=2), nn.BatchNorm2d(6), nn.Dropout(0.5), nn.ReLU(), nn.Flatten(), nn.Linear(54, 5)
    )


def random_samples(net: nn.Module, n: int = 24) -> tuple[Tensor, Tensor]:
    x = torch.randint(0, 256, (n, 3, 8, 8), generator=torch.Generator().manual_seed(1)).float() / 255
    with torch.no_grad():
        y = net.eval()(x).argmax(dim=1)
    y[0] = (y[0] + 1) % 5
    return x, y


class Constant(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.tensor([1.0, 0.0, 0.0]).repeat(len(x), 1)


def predictions(net: nn.Module, x: Tensor) -> Tensor:
    with torch.no_grad():
        return net.eval()(x).argmax(dim=1)


@pytest.mark.parametrize(
    ("norm", "distances"), [("Linf", (0.05, 0.40)), ("L2", (0.10, 0.80)), ("L1", (0.2, 1.6)), ("L0", (1, 2))]
)
def test_the_linear_net_has_the_known_distances(norm, distances):
    found = fmn(linear(), IMAGES, LABELS, norm=norm, steps=100)
    assert found.distances[:2].tolist() == pytest.approx(distances, rel=0, abs=5e-4)
    assert (found.distances[:2] >= torch.tensor(distances) - 1e-6).all()
    assert found.distances[2] == 0


@pytest.mark.parametrize("norm", NORMS)
def test_the_reported_distance_is_the_norm_of_what_is_returned(norm):
    net = random_net()
    x, y = random_samples(net)
    found = fmn(net, x, y, norm=norm, steps=100)
    order = {"L0": 0, "L1": 1, "L2": 2, "Linf": math.inf}[norm]
    assert found.distances.dtype == torch.float32
    assert torch.equal(found.distances, torch.linalg.vector_norm((found.x_adv - x).flatten(1), ord=order, dim=1))
    assert found.x_adv.min() >= 0
    assert found.x_adv.max() <= 1
    assert (predictions(net, found.x_adv) != y).all()
    assert found.distances[0] == 0
    assert torch.equal(found.x_adv[0], x[0])
    assert (found.distances[1:] > 0).all()


@pytest.mark.parametrize("norm", NORMS)
def test_a_net_blind_to_its_input_is_infinitely_far_unless_it_is_wrong(norm):
    x, y = torch.rand(2, 1, 3, 3, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1])
    found = fmn(Constant(), x, y, norm=norm, steps=5)
    assert found.distances.tolist() == [math.inf, 0.0]
    assert torch.equal(found.x_adv, x)


@pytest.mark.parametrize("norm", NORMS)
def test_more_steps_come_no_less_near_on_the_linear_net(norm):
    tries = [fmn(linear(), IMAGES, LABELS, norm=norm, steps=steps).distances for steps in (5, 10, 20, 50, 100)]
    for fewer, more in itertools.pairwise(tries):
        assert (more <= fewer * (1 + 1e-3)).all()  # the radius changes by a thousandth at the end


def test_the_last_iterate_counts():
    # one step of length 1 overshoots the boundary: only the iterate after it is misclassified
    found = fmn(linear(), IMAGES[:1], LABELS[:1], norm="L2", steps=1)
    assert 0.1 <= found.distances[0] < math.inf


def test_the_model_is_left_as_it_was_and_no_random_state_is_touched():
    net = random_net().train()
    x, y = random_samples(net)
    net.train()
    before, state = {k: v.clone() for k, v in net.state_dict().items()}, torch.get_rng_state()
    first, second = (fmn(net, x, y, steps=10) for _ in range(2))
    assert all(torch.equal(before[k], v) for k, v in net.state_dict().items())
    assert all(module.training for module in net.modules())
    assert all(p.requires_grad and p.grad is None for p in net.parameters())
    assert torch.equal(state, torch.get_rng_state())
    assert torch.equal(first.x_adv, second.x_adv)
    assert torch.equal(first.distances, second.distances)


@pytest.mark.parametrize("norm", NORMS)
def test_a_start_is_followed_to_the_boundary(norm):
    start = torch.tensor([0.0, 0.0, 1.0, 1.0]).view(1, 1, 2, 2).expand(3, -1, -1, -1)
    found = fmn(linear(), IMAGES, LABELS, norm=norm, steps=100, start=start)
    plain = fmn(linear(), IMAGES, LABELS, norm=norm, steps=100)
    assert torch.allclose(found.distances, plain.distances, atol=2e-3)
    assert found.distances[2] == 0


def test_a_start_that_is_classified_correctly_is_the_clean_image():
    found = fmn(linear(), IMAGES, LABELS, norm="Linf", steps=50, start=torch.ones_like(IMAGES) * IMAGES)
    assert torch.equal(found.distances, fmn(linear(), IMAGES, LABELS, norm="Linf", steps=50).distances)


@pytest.mark.parametrize("norm", NORMS)
def test_what_is_found_is_misclassified_by_more_than_rounding(norm):
    net = random_net()
    x, y = random_samples(net)
    found = fmn(net, x, y, norm=norm, steps=100)
    alone = torch.cat([predictions(net, image[None]) for image in found.x_adv])
    assert (alone != y).all()
    with torch.no_grad():
        margins = logit_margin(net(found.x_adv), y)
    assert (margins[1:] < -1e-6).all()


def test_what_is_not_misclassified_at_the_end_is_not_reported():
    nearest = Nearest(IMAGES, "Linf")
    nearest.update(IMAGES + 0.01, torch.tensor([True, True, True]))
    found = nearest.result(linear(), LABELS)
    assert found.distances[:2].tolist() == [math.inf, math.inf]
    assert torch.equal(found.x_adv[:2], IMAGES[:2])


@pytest.mark.parametrize(
    ("logits", "margin", "ratio"), [((3.0, 1.0, 0.0, -1.0), 2.0, -2 / 3), ((1.0, 3.0, 2.0, 0.0), -2.0, 1.0)]
)
def test_the_losses_have_the_known_values(logits, margin, ratio):
    z, y = torch.tensor([logits]), torch.tensor([0])
    assert logit_margin(z, y).item() == pytest.approx(margin)
    assert dlr(z, y).item() == pytest.approx(ratio, abs=1e-6)


def test_the_cosine_has_the_known_values():
    gammas = [annealed(step, 100, 0.05, 0.001) for step in (0, 50, 99)]
    assert gammas == pytest.approx([0.05, 0.0255, 0.001012], abs=1e-6)


def test_projection_to_l0_keeps_as_many_as_allowed_and_the_first_of_equals():
    delta = torch.tensor([[1.0, -1.0, 1.0, 0.5], [0.1, -3.0, 2.0, 1.0]])
    projected = project(delta, torch.tensor([2.0, 1.9]), "L0")
    assert projected.tolist() == [[1.0, -1.0, 0.0, 0.0], [0.0, -3.0, 0.0, 0.0]]


def test_projection_to_l0_keeps_the_weightier_of_equals():
    delta, weights = torch.tensor([[1.0, -1.0, 1.0, 2.0]]), torch.tensor([[0.1, 0.3, 0.2, 0.0]])
    projected = project(delta, torch.tensor([2.0]), "L0", weights=weights)
    assert projected.tolist() == [[0.0, -1.0, 0.0, 2.0]]


@pytest.mark.parametrize("norm", ["L1", "L2", "Linf"])
def test_projection_moves_outer_points_to_the_sphere_and_leaves_inner_ones(norm):
    delta = torch.randn(4, 1, 3, 3, generator=torch.Generator().manual_seed(0))
    size = length(delta, norm)
    eps = size * torch.tensor([0.5, 2.0, 0.0, 1.0]) + torch.tensor([0.0, 0.0, 0.0, 1e-3])
    projected = project(delta, eps, norm)
    assert torch.allclose(length(projected, norm), torch.minimum(size, eps), atol=1e-6)
    assert torch.equal(projected[[1, 3]], delta[[1, 3]])
    assert torch.equal(project(delta, torch.full((4,), math.inf), norm), delta)


def test_projection_to_l1_is_the_nearest_point_of_the_ball():
    projected = project(torch.tensor([[3.0, -2.0, 0.5]]), torch.tensor([3.0]), "L1")
    assert torch.allclose(projected, torch.tensor([[2.0, -1.0, 0.0]]))


@pytest.mark.parametrize("norm", NORMS)
def test_the_way_to_a_start_begins_at_the_image_and_ends_at_the_start(norm):
    x, start = torch.rand(2, 2, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    ends = [mid_point(x, start, torch.full((2,), share), norm) for share in (0.0, 1.0)]
    assert torch.allclose(ends[0], x)
    assert torch.allclose(ends[1], start)
    sizes = [length(mid_point(x, start, torch.full((2,), s / 8), norm) - x, norm) for s in range(9)]
    assert all((small <= large + 1e-6).all() for small, large in itertools.pairwise(sizes))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"norm": "L3"}, "unknown norm 'L3'"),
        ({"steps": 0}, "steps must be at least 1"),
        ({"y": torch.tensor([0])}, "the shapes must be"),
    ],
)
def test_mistakes_are_named(change, sentence):
    request = {"x": IMAGES, "y": LABELS, "norm": "L2", "steps": 3, **change}
    with pytest.raises(UserError, match=sentence):
        fmn(linear(), **request)
