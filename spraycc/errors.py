"""The error tree: everything that a user or a peer can cause.

An internal bug is an assertion or a plain exception and stays outside this tree, so that nothing catches it by mistake.
"""

from __future__ import annotations

import enum

#: Exit status for errors in the command line or the configuration.
USAGE_STATUS = 2


class SprayccError(Exception):
    """Base of all expected errors. ``str()`` names the thing, the cause and the next step, in one or two lines."""


class ConfigError(SprayccError):
    """A setting is wrong; the text names the file (or variable, or flag), the key and the allowed values."""


class ConfigUnreadable(ConfigError):
    """A file of the configuration can't be read. The text names the file and the cause."""


class WorkspaceError(ConfigError):
    """The working directory is in no directory that may be a workspace."""


class ProtocolError(SprayccError):
    """The peer sent bytes that are not in the grammar of docs/reference/protocol.md. Only the connection is closed."""


class VersionMismatch(SprayccError):
    """The peer speaks another version of the protocol."""


class RuntimeDirError(SprayccError):
    """A directory or socket of the server belongs to another user, or is open to others; it can't be trusted."""


class ServerUnavailable(SprayccError):
    """No server could be reached or started."""


class CaptureRefusal(enum.Enum):
    """Why an attempt's outputs can't be captured; the task then runs on the submit host."""

    HOST = "host"  #: the executor's host can't mount the overlay at all
    ROOT = "root"  #: a required directory can't be captured (a mount below it, or it contains the scratch directory)
    COPY_UP = "copy-up"  #: the command met EOVERFLOW, EXDEV, EROFS or EACCES inside the capture
    DESCRIPTOR = "descriptor"  #: the command used a descriptor that only its caller on the submit host has
    DIFFERENT = "different"  #: the executor's host has another compiler or CPU than the submit host: try another
    STALE = "stale"  #: the executor's host sees other files than the submit host: refresh and try again once
    NO_SPACE = "no-space"  #: the executor's disk is full
    UNSUPPORTED = "unsupported"  #: the command produced an entry that can't be sent (a device, a socket)


class CaptureError(SprayccError):
    """The outputs of an attempt can't be captured. Carries the kind; the text is for the log."""

    def __init__(self, kind: CaptureRefusal, text: str) -> None:
        super().__init__(text)
        self.kind = kind


class WriteBackError(SprayccError):
    """A produced file could not be written on the submit host (disk full, quota, no permission)."""

    def __init__(self, path: bytes, cause: OSError) -> None:
        super().__init__(f"{path.decode(errors='backslashreplace')}: {cause.strerror}")
        self.path = path
        self.cause = cause
