"""The processes of one build: the recipe that a runner belongs to, the top-level tools, and the slots in use."""

from __future__ import annotations

import logging
from collections.abc import Callable

import trio

from spraycc.jobserver.events import Event, ToolEnded, ToolStarted
from spraycc.model import BuildId, TaskId
from spraycc.server.host.process_end import HostProcesses
from spraycc.server.host.process_tree import Use, slots_in_use

log = logging.getLogger(__name__)


class BuildProcesses:
    """Reads the processes of one build. Belongs to the pool's trio thread."""

    def __init__(
        self, build: BuildId, host: HostProcesses, starts_recipes: bool, tell: Callable[[Event], None]
    ) -> None:
        """
        Args:
            build: the build's id.
            host: the submit host's processes.
            starts_recipes: the build's tool is make or ninja. False: it is a script that may start them.
            tell: told of each further top-level tool, and of its end. The governor counts the first one from the start.
        """
        self._build = build
        self._host = host
        self._starts_recipes = starts_recipes
        self._tell = tell
        #: runs the coroutines that wait for the end of tools; None: no further tool is counted
        self.nursery: trio.Nursery | None = None
        #: process id of the build's tool; 0 until it is known
        self._build_tool = 0
        #: the uppermost make or ninja of each tree that a script has started; known once a runner below it registers
        self._script_tools: set[int] = set()
        #: any make or ninja below a script -> the uppermost one above it
        self._uppermost: dict[int, int] = {}

    def tool_started(self, pid: int) -> None:
        """The build's tool runs as this process."""
        self._build_tool = pid

    def recipe_of(self, task: TaskId, pid: int, foreign: bool) -> str:
        """A key of the recipe that the runner ``pid`` belongs to. Without a tool above it, a runner has its own key.

        ``foreign``: the runner's make has a jobserver of its own. All runners below that make share a key, because the
        make holds one token of this build.
        """
        recipe = self._host.recipe_of(pid, self._build_tool if self._starts_recipes else 0)
        if recipe.tool and not self._starts_recipes:
            self._note_tool(recipe.tool)
        if foreign:
            return f"pool of {recipe.tool}"
        return recipe.key if recipe.tool else f"task {task}"

    async def slots_in_use(self) -> Use:
        """The slots that the build's processes use. If the host has no free descriptor, no process is counted."""
        try:
            processes = await self._host.read_all()
        except OSError as exc:
            log.warning("build %s: its processes can't be counted: %s", self._build, exc)
            processes = {}
        return slots_in_use(processes, {self._build_tool, *self._script_tools} - {0})

    def _note_tool(self, tool: int) -> None:
        """Count the uppermost make or ninja above ``tool``. Not told of the first: the governor counts it already."""
        top = self._uppermost.get(tool)
        if top is None:
            top = self._uppermost[tool] = self._host.top_tool(tool, self._build_tool)
        if top in self._script_tools or self.nursery is None:
            return
        self._script_tools.add(top)
        if len(self._script_tools) > 1:
            self._tell(ToolStarted())
        self.nursery.start_soon(self._wait_ended, top)

    async def _wait_ended(self, top: int) -> None:
        await self._host.wait_ended(top)
        self._script_tools.discard(top)
        self._uppermost = {tool: above for tool, above in self._uppermost.items() if above != top}
        if self._script_tools:
            self._tell(ToolEnded())
