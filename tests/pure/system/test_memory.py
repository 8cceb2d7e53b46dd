"""The memory of a host or a control group: both versions of control groups, and hosts without these files."""

import pytest

from spraycc.system.memory import Memory

MEMINFO = "MemTotal:       16000 kB\nMemFree:         1000 kB\nMemAvailable:    8000 kB\n"
V2 = {"proc/self/cgroup": "0::/slurm/job_7/step\n", "sys/fs/cgroup/slurm/job_7/step/memory.max": "max\n"}
V2_JOB = V2 | {
    "sys/fs/cgroup/slurm/job_7/memory.max": "4096000\n",
    "sys/fs/cgroup/slurm/job_7/memory.current": "3000000\n",
    "sys/fs/cgroup/slurm/job_7/memory.stat": "anon 1\ninactive_file 500000\n",
    "sys/fs/cgroup/slurm/job_7/memory.events": "low 0\noom 3\noom_kill 2\n",
}
V2_NESTED = {
    "proc/self/cgroup": "0::/user/shell\n",
    "sys/fs/cgroup/user/shell/memory.max": "4096000\n",
    "sys/fs/cgroup/user/shell/memory.current": "1000000\n",
    "sys/fs/cgroup/user/memory.max": "8000000\n",
    "sys/fs/cgroup/user/memory.current": "7900000\n",
}
V1_JOB = {
    "proc/self/cgroup": "9:name=systemd:/x\n4:cpu,memory:/job\n0::/\n",
    "sys/fs/cgroup/memory/job/memory.limit_in_bytes": "2000000\n",
    "sys/fs/cgroup/memory/job/memory.usage_in_bytes": "1500000\n",
    "sys/fs/cgroup/memory/job/memory.stat": "inactive_file 1\ntotal_inactive_file 100000\n",
    "sys/fs/cgroup/memory/job/memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 5\n",
}
V1_CONTAINER = {
    "proc/self/cgroup": "4:memory:/outside/of/it\n",
    "sys/fs/cgroup/memory/memory.limit_in_bytes": "1000000\n",
    "sys/fs/cgroup/memory/memory.usage_in_bytes": "400000\n",
}
NO_LIMIT = {
    "proc/self/cgroup": "4:memory:/job\n",
    "sys/fs/cgroup/memory/job/memory.limit_in_bytes": "9223372036854771712\n",
    "proc/vmstat": "nr_free_pages 5\noom_kill 9\n",
}


@pytest.mark.parametrize(
    ("files", "part", "total", "available", "kills"),
    [
        ({"proc/meminfo": MEMINFO}, "", 16_384_000, 8_192_000, 0),
        ({"proc/meminfo": MEMINFO, **V2}, "", 16_384_000, 8_192_000, 0),
        ({"proc/meminfo": MEMINFO, **V2_JOB}, "/slurm/job_7", 4_096_000, 1_596_000, 2),
        ({"proc/meminfo": MEMINFO, **V1_JOB}, "/job", 2_000_000, 600_000, 5),
        ({"proc/meminfo": MEMINFO, **V1_CONTAINER}, "/", 1_000_000, 600_000, 0),
        ({"proc/meminfo": MEMINFO, **NO_LIMIT}, "", 16_384_000, 8_192_000, 9),
        ({"proc/meminfo": MEMINFO, **V2_NESTED}, "/user/shell", 4_096_000, 100_000, 0),
        (V2_JOB, "/slurm/job_7", 4_096_000, 1_596_000, 2),
        ({}, "", 0, None, 0),
        ({"proc/meminfo": "garbage\n\xff: x y\n", "proc/self/cgroup": "nonsense\n::\n"}, "", 0, None, 0),
    ],
    ids=[
        "host",
        "v2 without limit",
        "v2",
        "v1",
        "v1 in a container",
        "v1 without limit",
        "v2, the group above is full",
        "v2 alone",
        "nothing",
        "garbage",
    ],
)
def test_memory(tmp_path, files, part, total, available, kills):
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode("latin-1"))
    memory = Memory.explore(str(tmp_path))
    found = (memory.part, memory.total_bytes, memory.available_bytes(), memory.kills())
    assert found == (part, total, available, kills)


def test_this_host():
    memory = Memory.explore()
    available = memory.available_bytes()
    assert available is not None
    assert 0 < available <= memory.total_bytes
