import pytest

from apx_taxonomy import leaderboard, leaderboard_names, validate


@pytest.fixture(scope="module")
def cells():
    return [
        (name, row["method"], cell)
        for name in leaderboard_names()
        for row in leaderboard(name)["rows"]
        for cell in row["cells"]
    ]


def test_four_valid_boards():
    assert leaderboard_names() == ["cifar10-us", "cifar10-s", "svhn-us", "svhn-s"]
    for name in leaderboard_names():
        assert validate(leaderboard(name), "leaderboard") == []


def test_154_numbers_and_14_dashes_in_28_rows(cells):
    assert len(cells) == 168
    assert sum(cell["robust"] is not None for _, _, cell in cells) == 154
    assert sum(len(leaderboard(name)["rows"]) for name in leaderboard_names()) == 28


def test_every_row_fills_every_column():
    for name in leaderboard_names():
        board = leaderboard(name)
        columns = {(arch, sparsity) for arch in board["archs"] for sparsity in board["sparsities"]}
        for row in board["rows"]:
            assert len(row["cells"]) == len(columns)
            assert {(cell["arch"], cell["sparsity"]) for cell in row["cells"]} == columns


def test_known_numbers(cells):
    printed = {(n, m, c["arch"], c["sparsity"]): (c["clean"], c["robust"]) for n, m, c in cells}
    assert printed["cifar10-us", "hydra", "vgg16", 99] == (70.59, 35.56)
    assert printed["cifar10-s", "twinrep", "resnet18", 90] == (78.41, 44.30)
    assert printed["svhn-s", "radmm", "resnet18", 50] == (None, None)


def test_unknown_board():
    with pytest.raises(KeyError, match="cifar10-us"):
        leaderboard("cifar100-us")
