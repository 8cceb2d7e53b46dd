"""Makes launches: how executors are started in one way. Imported for the first executor: a host alone needs none.

With all that it imports, this module takes a tenth of the server's start.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from spraycc.allocation import Allocation
from spraycc.cluster.executor_command import executor_command
from spraycc.cluster.registry import BATCH
from spraycc.landmarks import Landmarks
from spraycc.model import ExecutorId
from spraycc.server.fleet.batch_launcher import BatchLauncher
from spraycc.server.fleet.connection import ExecutorLink, Registry, Results
from spraycc.server.fleet.credentials import make_credentials, write_session_file
from spraycc.server.fleet.launcher import Failed, Launcher
from spraycc.server.fleet.listener import ExecutorListener, NoPort, TcpAcceptor
from spraycc.server.fleet.pack import packs_dir, ready_pack
from spraycc.server.fleet.process_launcher import ProcessLauncher
from spraycc.server.fleet.ways import see_other_files, step_allocation, way_of
from spraycc.server.host.addresses import listening_host, reachable
from spraycc.settings import Settings
from spraycc.system.threads import run_in_thread
from spraycc.wire.session_file import Session


@dataclass(frozen=True, slots=True)
class Launch:
    """Executors that are started in one way, from the first build whose settings ask for it until it is idle."""

    #: the settings that decide the way
    way: tuple[object, ...]
    #: executors must see these files of the workspace as the server does; None: they run on the submit host
    landmarks: Landmarks | None
    listener: ExecutorListener
    launcher: Launcher
    #: an executor that starts later needs it
    session_file: Path
    #: the allocation in which the executors run
    allocation: Allocation | None

    @property
    def is_idle(self) -> bool:
        """True if no executor is connected or may come."""
        return self.launcher.is_idle and not self.listener.connections


@dataclass(frozen=True, slots=True)
class Maker:
    """Makes launches for a fleet, with the parts of the fleet that each launch shares."""

    registry: Registry
    results: Results
    #: see ``Fleet``
    proved: dict[ExecutorId, ExecutorLink]
    state_dir: Path
    workspace: bytes
    say: Callable[[str], None]
    #: whether the newest launch's pending executors may be of use
    wants_executors: Callable[[Launcher], bool]

    async def make(self, settings: Settings, failed: Failed, earlier: Sequence[Launch]) -> Launch:
        """A launch with its own certificate, secret, listener, session file and launcher.

        Made when the first executor is asked for, and again if new settings start executors in another way.

        Args:
            settings: those of the present build.
            failed: told of executors that will not connect.
            earlier: the launches so far.
        """
        credentials = await run_in_thread(make_credentials)
        is_local = settings.cluster == "local"
        landmarks = await run_in_thread(Landmarks, self.workspace) if see_other_files(settings) else None
        bound = listening_host(settings.listen, local=is_local)
        acceptor = _acceptor(bound, settings, earlier)
        listener = ExecutorListener(
            self.registry, self.results, credentials, acceptor, self.proved, landmarks, settings.cluster
        )
        session_file = None
        try:
            for launch in earlier:
                launch.session_file.unlink(missing_ok=True)
            session = Session(
                addresses=tuple((address, listener.address[1]) for address in reachable(bound)),
                certificate=credentials.certificate,
                secret=credentials.secret,
                workspace=self.workspace,
                scratch_dir=settings.scratch_dir,
                heartbeat_s=settings.heartbeat_s,
                lost_after_s=settings.lost_after_s,
                log_dir=str(self.state_dir),
                landmarks=() if landmarks is None else landmarks.lookups,
            )
            session_file = write_session_file(session, self.state_dir)
            pack = None if is_local else await ready_pack(packs_dir(self.state_dir))
            launcher = self._launcher(settings, failed, session_file, pack)
        except BaseException:
            listener.close()
            if session_file is not None:
                session_file.unlink(missing_ok=True)
            raise
        return Launch(way_of(settings), landmarks, listener, launcher, session_file, step_allocation(settings))

    def _launcher(self, settings: Settings, failed: Failed, session_file: Path, pack: Path | None) -> Launcher:
        environ = None if settings.cluster == "local" else os.environ
        command = executor_command(session_file, settings.executor_prefix, environ, pack, settings.scratch_dir)
        if settings.cluster not in BATCH:
            log_path = self.state_dir / "executors.log"
            return ProcessLauncher(settings, command, log_path, failed)
        launcher = BatchLauncher(
            settings,
            command,
            self.state_dir,
            failed=failed,
            say=self.say,
            wanted=lambda: self.wants_executors(launcher),
        )
        return launcher


def _acceptor(host: str, settings: Settings, earlier: Sequence[Launch]) -> TcpAcceptor:
    try:
        return TcpAcceptor(host, settings.ports_for_executors)
    except NoPort:
        # Perhaps earlier launches have the ports. Their session files are removed now, so no executor needs them.
        if not earlier:
            raise
        for launch in earlier:
            launch.listener.close()
        return TcpAcceptor(host, settings.ports_for_executors)
