"""The modules that an interpreter loads to read the configuration."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from tests import measured


def test_without_configuration_pydantic_is_not_imported(tmp_path: Path) -> None:
    code = (
        "import sys, json; from spraycc.config import load; load(None, {}, {}, files=[sys.argv[1]]);"
        "print(json.dumps(sorted({'pydantic', 'tomllib', 'click', 'rich', 'trio'} & set(sys.modules))))"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "none")]
    done = subprocess.run(command, env=os.environ | measured.WITHOUT, capture_output=True, check=True)
    assert json.loads(done.stdout) == []
