"""Follows the board: takes over routes that were published, tries again what failed, and says what is in force."""

from __future__ import annotations

import asyncio
import logging
import traceback
from collections.abc import Callable

from afterfit.adapters.routes_board import NO_ROUTES, FileRoutesBoard, GatewayDesk
from afterfit.errors import AfterfitError
from afterfit.gateway.fleet import Fleet
from afterfit.records import Acknowledgement, Routes

log = logging.getLogger("afterfit.gateway")
LOOK_EVERY = 0.05  # seconds between two looks for new routes (a stat of one file)
REPORT_EVERY = 2.0  # seconds between two reports without news
RETRY_EVERY = 10.0  # seconds until routes that could not be taken over are tried again


class Follower:
    """Keeps a fleet on the published routes, and the board informed.

    Args:
        acknowledgement: what to report, given the problem with the routes themselves ("" when there is none).
    """

    def __init__(
        self,
        board: FileRoutesBoard,
        desk: GatewayDesk,
        fleet: Fleet,
        acknowledgement: Callable[[str], Acknowledgement],
    ) -> None:
        self._board, self._desk, self._fleet = board, desk, fleet
        self._acknowledgement = acknowledgement
        self._trouble = ""
        self._good: Routes | None = None
        self._retry_at = float("inf")

    async def start(self) -> None:
        """Take over the published routes, or the last good ones when those can't be read."""
        try:
            self._good = self._desk.last_good()
        except AfterfitError as error:
            log.error("%s", error)
        self._has_changed()
        routes = self._published()
        if routes is None:
            routes = self._good or NO_ROUTES
            log.error("going on with the last good routes, number %d", routes.number)
        await self._take_over(routes)
        await self._report()

    async def run(self) -> None:
        """Look, take over and report until cancelled. A newer snapshot does not wait for one that is still loading."""
        clock = asyncio.get_running_loop().time
        applying: asyncio.Task[None] | None = None
        reported = 0.0
        try:
            while True:
                await asyncio.sleep(LOOK_EVERY)
                if self._has_changed() or clock() > self._retry_at:
                    reported = 0.0
                    routes = self._published()
                    if routes is not None:
                        await _cancel(applying)
                        applying = asyncio.create_task(self._take_over(routes))
                if applying is not None and applying.done():
                    applying, reported = None, 0.0
                if clock() - reported >= REPORT_EVERY:
                    await self._report()
                    reported = clock()
        finally:
            await _cancel(applying)

    def _has_changed(self) -> bool:
        try:
            return self._desk.changed()
        except OSError as error:
            self._trouble = f"routes.json can't be looked at: {error}"
            return False

    def _published(self) -> Routes | None:
        try:
            routes = self._board.current()
        except (AfterfitError, OSError) as error:
            self._trouble = str(error)
            log.error("%s; going on with routes %d", error, self._fleet.number)
            return None
        self._trouble = ""
        return routes

    async def _take_over(self, routes: Routes) -> None:
        self._retry_at = float("inf")
        try:
            if await self._fleet.apply(routes, self._good):
                self._good = routes
                await asyncio.to_thread(self._desk.keep, routes)
                return
            log.error("routes %d are not in force: %s", routes.number, self._fleet.refused)
        except (AfterfitError, OSError) as error:
            log.error("routes %d: %s", routes.number, error)
            self._trouble = str(error)
        except Exception as error:  # noqa: BLE001  a defect must not close the only road of a rollback to this process
            log.error("a defect while taking over routes %d\n%s", routes.number, traceback.format_exc())
            self._trouble = f"routes {routes.number} could not be taken over: {error!r}"
        self._retry_at = asyncio.get_running_loop().time() + RETRY_EVERY

    async def _report(self) -> None:
        try:
            await asyncio.to_thread(self._desk.acknowledge, self._acknowledgement(self._trouble))
        except (AfterfitError, OSError) as error:  # a full disk: serving goes on, and the next report may pass
            log.error("could not report: %s", error)


async def _cancel(task: asyncio.Task[None] | None) -> None:
    if task is not None:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
