"""A version that answers inside the gateway: a verified graph in onnxruntime, asked in place of a worker process.

No pickle is executed. The files are hashed first, and the golden rows must come out before it says that it is ready.
"""

from __future__ import annotations

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING

from afterfit.adapters.lane import ONNX, read_lane
from afterfit.adapters.model_folder import ChangedError
from afterfit.errors import StoreError, WorkerError
from afterfit.gateway.breaker import Breaker
from afterfit.gateway.memory import give_back
from afterfit.gateway.signature import Columns
from afterfit.gateway.workers import MOST_ROWS, SERVED, AbsentError, Answer, joined, pieces
from afterfit.records import Target

if TYPE_CHECKING:
    from afterfit.adapters.onnx_session import GraphScorer

log = logging.getLogger("afterfit.gateway")
MOST_INLINE = 200  # rows answered at once, in a few milliseconds; of more, so many at a time by a thread


def has_graph(target: Target) -> bool:
    """Whether a version has a graph, and this machine can run it."""
    try:
        return read_lane(target.folder).lane == ONNX and find_spec("onnxruntime") is not None
    except StoreError:
        return False  # its worker says what is wrong


class Local:
    """One version in this process, with what a :class:`Worker` has.

    Args:
        name: `model/version`, for messages.
        target: folder and hash of the version.
    """

    pid: int | None = None  # it has no process of its own
    breaker: Breaker | None = None  # it answers or refuses at once, so nobody need be kept from waiting for it
    deaths = 0

    def __init__(self, name: str, target: Target) -> None:
        self.name = name
        self.target = target
        self.problem = "is starting"  # empty while it answers
        self.changed = False  # the files are not the ones that were registered: no other lane may load them either
        self._scorer: GraphScorer | None = None
        self._large = 0  # batches with the thread
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"local {name}")
        self._task = asyncio.create_task(self._start(), name=f"local {name}")

    async def settled(self) -> None:
        """Wait until it answers or has failed."""
        await asyncio.wait({self._task})

    @property
    def complaint(self) -> str:
        """Why nobody should count on this version; empty while it answers."""
        return self.problem

    @property
    def busy(self) -> bool:
        """Whether somebody waits for it."""
        return self._large > 0

    @property
    def waiting(self) -> int:
        """Calls with its thread, or before it."""
        return self._large

    def now(self, columns: Columns, n_rows: int) -> Answer | None:
        """(predictions, scores) of few rows at once; None where it must be asked by :meth:`predict`.

        Raises:
            WorkerError: the model has no answer to a row.
        """
        if self._scorer is None or n_rows > MOST_INLINE:
            return None
        return self._scorer.answer(columns)

    async def predict(
        self,
        columns: Columns,
        timeout: float,
        *,
        patience: float | None = None,
        priority: int = SERVED,
        alone: bool = False,
    ) -> Answer:
        """(predictions, scores) of the rows. `patience`, `priority` and `alone` are a worker's: nobody waits here.

        Args:
            columns: one list a feature, all of one length.
            timeout: seconds that MOST_ROWS rows may take.

        Raises:
            AbsentError: it is not there.
            WorkerError: the model has no answer to a row, or was too busy.
        """
        if self._scorer is None:
            raise AbsentError(f"{self.name} is not there: {self.problem}")
        n_rows = len(next(iter(columns.values()), ()))
        answer = self.now(columns, n_rows)
        if answer is not None:
            return answer
        self._large += 1
        try:
            asked = asyncio.get_running_loop().run_in_executor(self._thread, _answered, self._scorer, columns, n_rows)
            return await asyncio.wait_for(asked, max(patience or 0.0, timeout * -(-n_rows // MOST_ROWS)))
        except TimeoutError as error:
            raise WorkerError(f"timeout: {self.name} did not answer {n_rows} rows within its time") from error
        finally:
            self._large -= 1

    async def stop(self) -> None:
        """Let the graph go, and its memory."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        self._scorer, self.problem = None, "was stopped"
        self._thread.shutdown(wait=False, cancel_futures=True)
        await asyncio.to_thread(give_back)

    async def _start(self) -> None:
        try:
            self._scorer = await asyncio.get_running_loop().run_in_executor(self._thread, partial(_load, self.target))
            self.problem = ""
        except ChangedError as error:
            self.problem, self.changed = str(error), True
        except Exception as error:  # noqa: BLE001  another onnxruntime may refuse the graph in any way; a worker answers then
            self.problem = f"its graph can't be used here: {error}"
        if self.problem:
            log.warning("%s: %s", self.name, self.problem)


def _load(target: Target) -> GraphScorer:
    from afterfit.adapters.onnx_session import open_graph  # here: a machine without onnxruntime has other lanes

    scorer = open_graph(target.folder, target.sha256)
    give_back()  # three quarters of what opening trees takes
    return scorer


def _answered(scorer: GraphScorer, columns: Columns, n_rows: int) -> Answer:
    """In pieces, for what is under way in a graph grows with the rows, in the memory that all versions here share."""
    return joined([scorer.answer(piece) for _, piece in pieces(columns, n_rows, MOST_INLINE)])
