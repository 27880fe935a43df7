"""A process that runs plugins' code for another one: whatever the code does, it does not do it to the caller."""

from __future__ import annotations

import json
import queue
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from typing import Any

_START = (
    "import json, sys; "
    "task = json.load(sys.stdin); sys.path[:] = task['path']; "
    "from apx.registry._inspector import work; work(task)"
)
_END = b""
_TORCH_PATIENCE = 60.0  # seconds more for a plugin that has begun to import torch: from a cold disk it takes long


class NoAnswerError(Exception):
    """The process did not answer in time, or it has ended; the sentence says which, after the word `it`."""


class CoreError(Exception):
    """What apx itself needs for the step does not import; the sentence is the error."""


class Child:
    """The process of one task. Leaving the `with` block ends it."""

    def __init__(self, task: Mapping[str, Any]) -> None:
        document = {**task, "path": [str(folder) for folder in sys.path]}
        with tempfile.TemporaryFile() as given:
            given.write(json.dumps(document).encode())
            given.seek(0)
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-c", _START],
                stdin=given,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
        self._lines: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read, daemon=True)  # a pipe has no time-out on every system
        self._reader.start()

    def __enter__(self) -> Child:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()

    def answer(self, timeout: float | None, doing: str) -> dict[str, Any]:
        """Return the next answer.

        Raises:
            NoAnswerError: there is none within `timeout` seconds (None: wait for it), or the process has ended.
        """
        try:
            line = self._lines.get(timeout=timeout)
        except queue.Empty:
            raise NoAnswerError(f"did not finish {doing} within {timeout:g} s") from None
        if line == _END:
            raise NoAnswerError(f"{self._end()} while {doing}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _end(self) -> str:
        try:
            return f"ended its process with status {self._process.wait(timeout=1)}"
        except subprocess.TimeoutExpired:
            return "closed the files of its process"

    def _read(self) -> None:
        assert self._process.stdout is not None  # for the type checker: it is a pipe
        with self._process.stdout as pipe:
            for line in pipe:
                self._lines.put(line)
        self._lines.put(_END)


def interrogate(
    step: str, tasks: Sequence[Mapping[str, Any]], *, doing: str, timeout: float
) -> tuple[dict[str, Any], list[dict[str, Any] | NoAnswerError]]:
    """Take a step of the inspector with each plugin; where one hangs or ends its process, a new one takes over.

    Args:
        step: `import` or `ask`.
        tasks: the plugins, as `_inspector` reads them.
        doing: what the step is, for messages.
        timeout: seconds per plugin.

    Returns:
        What the inspector says before the first plugin, and for each plugin its answer or why there is none.

    Raises:
        CoreError: no plugin can take this step, since what apx itself needs does not import.
    """
    header: dict[str, Any] = {}
    answers: list[dict[str, Any] | NoAnswerError] = []
    while len(answers) < len(tasks):
        with Child({"step": step, "plugins": tasks[len(answers) :]}) as child:
            header = _header(child)
            answers += _until_end(child, len(tasks) - len(answers), doing, timeout)
    return header, answers


def _header(child: Child) -> dict[str, Any]:
    try:
        header = child.answer(None, "starting")
    except NoAnswerError as error:
        raise RuntimeError(f"the inspector of plugins {error}") from None
    if "error" in header:
        raise CoreError(header["error"])
    return header


def _until_end(child: Child, count: int, doing: str, timeout: float) -> list[dict[str, Any] | NoAnswerError]:
    """Return the next answers of a process: all, or those up to the plugin after which it is of no more use."""
    answers: list[dict[str, Any] | NoAnswerError] = []
    while len(answers) < count:
        try:
            answer = child.answer(timeout, doing)
            if "wait" in answer:
                answer = child.answer(timeout + _TORCH_PATIENCE, doing)
        except NoAnswerError as error:
            return [*answers, error]
        answers.append(answer)
        if answer.get("torch"):  # who imports it next, this process cannot tell
            break
    return answers
