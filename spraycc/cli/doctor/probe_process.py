"""The build of a probe of ``spraycc doctor``: ``python -m spraycc.cli.doctor.probe_process FLAGS COMMAND...``.

A module of its own, because users have no use for such a build: it leaves no record, so that `spraycc why` and
`spraycc builds` still show the user's last build, and the server that it starts ends with it.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence

from spraycc.cli.build import build
from spraycc.cli.messages import inform
from spraycc.cli.without_spraycc import reason
from spraycc.errors import USAGE_STATUS


def _main(words: Sequence[str]) -> int:
    flags, *command = words
    try:
        return build(command, json.loads(flags), probe=True)
    except Exception as exc:  # not `after`: a probe without a server shows nothing
        inform(reason(exc))
        return USAGE_STATUS


if __name__ == "__main__":
    sys.exit(_main(sys.argv[1:]))
