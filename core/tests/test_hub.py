"""The zoo in a Hugging Face repository: `huggingface_hub` itself, in front of a hub that runs in this process."""

import hashlib
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants
from torch import nn

from apx.architectures import Normalisation, build
from apx.errors import UserError
from apx.export import export_state
from apx.masks import weight_names
from apx.zoo import HubSource, kept_files, load_distances, load_model, publish, verify

KEY, MISSING = "HYDRA_Sehwag2020Hydra_R18_CIFAR10_US_90", "TwinRep_Li2023Learning_R18_CIFAR10_US_90"
FILES = [f"{KEY}.json", f"{KEY}.safetensors", f"{KEY}.distances.safetensors"]
ZOO = "hf:some/zoo@v1"
X = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
_FILE = re.compile(r"/(?P<repository>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<name>.+)")


class FalseHub(ThreadingHTTPServer):
    """Serves the files of a folder as revision v1 of some/zoo, in the hub's own protocol."""

    daemon_threads = True

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.folder = folder
        self.sent: list[str] = []
        self.cuts: list[int] = []
        """After how many bytes the next bodies break off; each cut happens once."""

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Answer(BaseHTTPRequestHandler):
    """One request for `/owner/name/resolve/revision/file`: HEAD for what it is, GET for (a range of) its bytes."""

    protocol_version = "HTTP/1.1"
    server: FalseHub

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, *, body: bool) -> None:
        asked = _FILE.fullmatch(self.path)
        if asked is None or asked["repository"] != "some/zoo":
            return self._refuse("RepoNotFound", "Repository not found")
        if asked["revision"] != "v1":
            return self._refuse("RevisionNotFound", f"Invalid rev id: {asked['revision']}")
        if not (self.server.folder / asked["name"]).is_file():
            return self._refuse("EntryNotFound", "Entry not found")
        content = (self.server.folder / asked["name"]).read_bytes()
        start = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").removesuffix("-"))
        self.send_response(206 if "Range" in self.headers else 200)
        self.send_header("ETag", f'"{hashlib.sha1(content, usedforsecurity=False).hexdigest()}"')
        self.send_header("X-Repo-Commit", "0123456789abcdef0123456789abcdef01234567")
        self.send_header("Content-Length", str(len(content) - start))
        if "Range" in self.headers:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.end_headers()
        if body:
            self._send(asked["name"], content[start:])

    def _send(self, name: str, content: bytes) -> None:
        self.server.sent.append(name)
        if self.server.cuts and len(content) > self.server.cuts[0]:
            content = content[: self.server.cuts.pop(0)]
            self.close_connection = True
        self.wfile.write(content)

    def _refuse(self, code: str, message: str) -> None:
        self.send_response(404)
        self.send_header("X-Error-Code", code)
        self.send_header("X-Error-Message", message)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *arguments: object) -> None:
        """Print nothing."""


@pytest.fixture(scope="module")
def network() -> nn.Module:
    torch.manual_seed(0)
    module = build("resnet18", num_classes=10, normalisation=Normalisation((0.25,) * 3, (0.5,) * 3)).eval()
    with torch.no_grad():
        for name in weight_names(module):
            weight = module.get_parameter(name)
            weight.view(-1)[: round(0.9 * weight.numel())] = 0
    return module


@pytest.fixture
def hub(network: nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FalseHub]:
    folder = tmp_path / "zoo"
    publish(folder, KEY, network, "resnet18", distances=[0.5, float("inf"), 0.0])
    monkeypatch.setenv("APX_HOME", str(tmp_path / "home"))
    with FalseHub(folder) as server:
        monkeypatch.setattr(constants, "ENDPOINT", server.address)
        template = "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", server.address + template)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the library try again without waiting."""
    monkeypatch.setattr(time, "sleep", lambda seconds: None)


def kept() -> list[str]:
    return [file.path.name for file in kept_files()]


def test_a_repository_is_a_zoo_and_each_file_is_downloaded_once(hub: FalseHub, network: nn.Module) -> None:
    assert torch.equal(load_model(KEY, zoo=ZOO)(X), network(X))
    assert load_distances(KEY, zoo=ZOO).tolist() == [0.5, float("inf"), 0.0]
    assert hub.sent == FILES
    load_model(KEY, zoo=ZOO)
    load_distances(KEY, zoo=ZOO)
    assert hub.sent == FILES
    assert [verdict.fault for verdict in verify([KEY])] == [None] * 3


@pytest.mark.parametrize(
    ("key", "zoo", "why"),
    [
        (MISSING, ZOO, f"the Hugging Face repository some/zoo has no {MISSING}.json"),
        (KEY, "hf:some/other@v1", "the Hugging Face Hub shows you no repository some/other: correct --zoo"),
        (KEY, "hf:some--one/zoo", "the Hugging Face Hub shows you no repository some--one/zoo: correct --zoo"),
        (KEY, "hf:some/zoo", "the Hugging Face repository some/zoo has no revision 'main': name another"),
    ],
    ids=["key", "repository", "repository's name", "revision"],
)
def test_what_a_repository_does_not_have(key: str, zoo: str, why: str, hub: FalseHub) -> None:
    with pytest.raises(UserError, match=f"^{why}"):
        load_model(key, zoo=zoo)
    assert kept() == hub.sent == []


@pytest.mark.usefixtures("at_once")
def test_a_transfer_that_breaks_off_is_resumed(hub: FalseHub, network: nn.Module) -> None:
    hub.cuts = [10_000_000, 5_000_000]
    assert torch.equal(load_model(KEY, zoo=ZOO)(X), network(X))
    assert hub.sent == [FILES[0], *[FILES[1]] * 3]


@pytest.mark.usefixtures("at_once")
def test_a_transfer_that_never_ends_leaves_nothing(hub: FalseHub) -> None:
    hub.cuts = [10_000_000, *[0] * 6]
    with pytest.raises(UserError, match=f"{KEY}.safetensors could not be fetched .*connect to the internet"):
        load_model(KEY, zoo=ZOO)
    assert kept() == [FILES[0]]
    assert [path for path in hub.folder.parent.joinpath("home").rglob("*.safetensors*") if path.is_file()] == []


def test_a_file_that_its_record_does_not_name_is_refused(hub: FalseHub) -> None:
    (hub.folder / FILES[1]).unlink()
    export_state(hub.folder / FILES[1], nn.Linear(2, 2))
    with pytest.raises(UserError, match=r"its SHA-256 is .*, not the published .*nothing was kept"):
        load_model(KEY, zoo=ZOO)
    assert kept() == [FILES[0]]


@pytest.mark.usefixtures("at_once")
def test_the_hub_out_of_reach(hub: FalseHub) -> None:
    hub.shutdown()
    hub.server_close()
    with pytest.raises(
        UserError, match=r"could not be fetched from the Hugging Face repository.*connect to the internet"
    ):
        load_model(KEY, zoo=HubSource("some/zoo"))
    assert kept() == []


def test_the_hub_is_the_one_of_the_environment(hub: FalseHub) -> None:
    code = f"import apx; print(apx.load_distances({KEY!r}, zoo={ZOO!r}).tolist())"
    environment = os.environ | {"HF_ENDPOINT": hub.address}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert (done.stdout, hub.sent) == ("[0.5, inf, 0.0]\n", [FILES[0], FILES[2]])
