"""Shell lines that make, change, move and remove files: the trees are the same, plainly and by an executor."""

from __future__ import annotations

import stat
from dataclasses import dataclass

import pytest

from tests.system.capture.bench import Bench, Contents

pytestmark = [pytest.mark.e2e, pytest.mark.overlay]

FILES: Contents = {
    "a": "a\n", "b": "b\n", "c": "c\n", "run": "#!/bin/sh\necho run\n",
    "d/x": "x\n", "d/y": "y\n", "d/deep/er/z": "z\n", "empty/": None, "e/w": "w\n",
    "link": "-> a", "dirlink": "-> d", "dangling": "-> nowhere", "h1": "one\n", "h2": "= h1",
}  # fmt: skip


@dataclass(frozen=True)
class Line:
    text: str
    #: names whose modification times must be the same, too
    times: tuple[str, ...] = ()
    #: the permitted places of the tasks; "here" if docs/explanation/capture.md requires the submit host
    ran: str = "remote"
    umask: int = 0o022


LINES = {
    "new": Line("echo n > n; : > zero"),
    "new-below-new": Line("mkdir -p n/m/o && echo 1 > n/m/o/f"),
    "change": Line("echo more > a"),
    "append": Line("echo more >> a; echo more >> d/x"),
    "truncate": Line(": > a"),
    "write-in-the-middle": Line("printf X | dd of=a bs=1 seek=0 conv=notrunc 2>/dev/null"),
    "write-through-a-link": Line("echo through > link; echo new > dirlink/n"),
    "replace-a-link": Line("ln -sfn b link; ln -sfn e dirlink"),
    "link-becomes-file": Line("rm link; echo file > link"),
    "file-becomes-link": Line("rm a; ln -s b a"),
    "file-becomes-directory": Line("rm a; mkdir a; echo in > a/in"),
    "directory-becomes-file": Line("rm -r d; echo file > d"),
    "directory-becomes-link": Line("rm -r d; ln -s e d"),
    "delete": Line("rm a d/x"),
    "delete-a-directory": Line("rm -r d"),
    "delete-an-empty-directory": Line("rmdir empty"),
    "delete-a-link": Line("rm link dirlink dangling"),
    "delete-and-make-again": Line("rm a; echo again > a"),
    "recreate-a-directory": Line("rm -rf d; mkdir d"),
    "recreate-and-fill": Line("rm -rf d; mkdir d; echo new > d/x; mkdir d/deep; echo n > d/deep/n"),
    "recreate-below": Line("rm -rf d/deep; mkdir d/deep; echo n > d/deep/n"),
    "empty-a-directory": Line("rm -r d/*"),
    "rename": Line("mv a n; mv d/x d/n; mv b e/b"),
    "rename-over": Line("mv a b; mv c d/x"),
    "rename-a-link": Line("mv link e/link"),
    "rename-2-a-directory": Line("python3 -c 'import os; os.rename(\"d\", \"n\")' || echo failed", ran="here"),
    "rename-2-a-file": Line("python3 -c 'import os; os.rename(\"a\", \"d/n\"); os.replace(\"b\", \"c\")'"),
    "unnamed-file": Line("python3 -c 'import os; fd = os.open(\".\", os.O_TMPFILE | os.O_RDWR); os.write(fd, b\"x\"); "
                         "os.link(f\"/proc/self/fd/{fd}\", \"n\", src_dir_fd=fd, follow_symlinks=True)'"),
    "mapped": Line("python3 -c 'import mmap; f = open(\"a\", \"r+\"); m = mmap.mmap(f.fileno(), 0); m[0:1] = b\"Z\"'"),
    "swap": Line("mv a t; mv b a; mv t b"),
    "rename-a-directory": Line("mv d n"),
    "rename-a-directory-into": Line("mv e d/e"),
    "rename-a-new-directory": Line("mkdir n; echo > n/f; mv n m; echo > m/g"),
    "chmod": Line("chmod 600 a; chmod 711 run; chmod 444 b; chmod 700 d"),
    "setuid": Line("chmod 4755 run", ran="here"),
    "chgrp": Line("cp a n; chgrp $(stat -c %g .) n; mkdir m; chgrp $(stat -c %g .) m"),
    # It works for root, and fails for others. Only the submit host may decide.
    "chown": Line("chown 65534:65534 a", ran="here"),
    "chown-directory": Line("chown 65534 d; mkdir m; chown 65534 m", ran="here"),
    "chown-link": Line("chown -h 65534 link", ran="here"),
    "attribute": Line("python3 -c 'import os; os.setxattr(\"a\", \"user.x\", b\"1\"); print(os.listxattr(\"a\"))'", ran="here"),
    "attribute-of-a-directory": Line("mkdir m; python3 -c 'import os; os.setxattr(\"m\", \"user.x\", b\"1\")'", ran="here"),
    "archive-of-hard-links": Line("tar cf n.tar h1 h2; mkdir m; tar xf n.tar -C m; rm n.tar", ran="here"),
    "remove-the-working-directory": Line("cd ..; rm -rf t; mkdir t; echo > t/n"),
    "rename-the-working-directory": Line("cd ..; mv t t3; mkdir t; mv t3/a t/a; rm -rf t3"),
    "kinds-in-turn": Line("rm a; mkdir a; touch a/x; rm -r a; ln -s b a; rm a; echo z > a"),
    "through-a-new-link": Line("rm -r e; ln -s d e; echo > e/new; rm e/x; mv d dd; ln -s dd d; echo > d/n"),
    "old-and-new": Line("mv d d.old; mkdir d; mv d.old/x d/x; rm -r d.old; cp -r e m && rm -r e && mv m e"),
    "sqlite": Line("python3 -c 'import sqlite3; c = sqlite3.connect(\"n.db\"); c.execute(\"create table t(x)\"); c.commit()'"),
    "git": Line("git init -q r; cd r; cp ../a .; git add a; git -c user.name=x -c user.email=x@y commit -qm m; git log --format=%s; git gc -q; rm -rf .git"),
    "holes-punched": Line("fallocate -l 100000 n; fallocate -p -o 4096 -l 8192 n; truncate -s 1 d/x; truncate -s 100 b"),
    "names-of-255-bytes": Line("n=$(printf '%0255d' 0); echo > $n; mkdir d/$n; ln -s $n l; mv a d/$n/; ln -s $(printf '%04000d' 0) m"),
    "deep": Line("i=0; while [ $i -lt 14 ]; do d=$(printf '%0240d' $i); mkdir $d; cd $d; i=$((i+1)); done; echo > n; ls"),
    "large-output": Line("seq 1 300000; echo end >&2; printf 'a\\000b\\377'"),
    "killed": Line("echo x > n; kill -9 $$", ran="here"),
    "times-far-away": Line("touch -d @4000000000 a; touch -d '1960-01-01Z' b; touch -d @0 c; mkdir m; touch -d @1 m; echo > m/n; touch -d @2 m", times=("a", "b", "c", "m")),
    "umask-777": Line("umask 777; echo > n; mkdir m; ls"),
    "many": Line("for i in 1 2 3 4 5; do mkdir -p m$i/n/o; ln -s ../o m$i/n/l; seq $i > m$i/n/o/f; done; rm -r m3; mv m4 m5/n"),
    "written-after-removal": Line("exec 3>>a; rm a; echo y >&3; exec 3>&-; exec 4<>n; rm n; echo y >&4; exec 4>&-"),
    "hard-link": Line("ln a n; echo more >> a", ran="here"),
    "hard-link-new": Line("echo > n; ln n d/n", ran="here"),
    "change-one-of-two-names": Line("echo more >> h1", ran="here"),
    "remove-one-of-two-names": Line("rm h1"),
    "hard-link-for-a-moment": Line("echo > n; ln n m; rm n"),
    "fifo": Line("mkfifo p; echo > n", ran="here"),
    "outside": Line("echo > ../../elsewhere/n; echo > n", ran="here"),
    "shared-memory": Line("echo > /dev/shm/spraycc-row && rm /dev/shm/spraycc-row; echo $?"),
    "chmod-directory-sticky": Line("chmod 1777 empty; chmod 755 e"),
    "no-permission-at-all": Line("chmod 000 a; mkdir shut; echo > shut/f; chmod 000 shut; chmod 711 e"),
    "umask-0": Line("echo > n; mkdir m", umask=0),
    "umask-77": Line("echo > n; mkdir m; echo > m/f", umask=0o77),
    "symlinks": Line("ln -s a n1; ln -s /etc/passwd n2; ln -s '' n3 2>/dev/null; ln -s 'no where' n4; ln -s .. d/up"),
    "times-of-files": Line("touch -d @1000000000.5 a n; touch -r b d/x", times=("a", "n", "d/x", "b")),
    "times-of-directories": Line("mkdir m; echo > m/f; touch -d @7 m; touch -d @1000000001.25 d; touch -d @8 e/w; touch -d @9 e",
                                 times=("m", "d", "e", "e/w")),
    "times-of-links": Line("touch -h -d @1000000000.5 link; ln -s a n; touch -h -d @9 n", times=("link", "n")),
    "cp-a": Line("cp -a d n; cp -p a m", times=("n", "n/x", "n/deep", "n/deep/er", "n/deep/er/z", "m")),
    "archive": Line("tar cf n.tar --sort=name d; mkdir x; tar xf n.tar -C x; rm n.tar", times=("x/d", "x/d/x", "x/d/deep")),
    "lock": Line("flock n sh -c 'echo > m'"),
    "sparse": Line("truncate -s 5M n; printf end | dd of=n bs=1 seek=3000000 conv=notrunc 2>/dev/null"),
    "sed-i": Line("sed -i s/a/A/ a; sed -i s/x/X/ d/x"),
    "install": Line("install -m 750 a n; install -D -m 644 b p/q/r"),
    "spaces-and-more": Line("echo > 'a b'; echo > '%s'; echo > 'x:y'; echo > 'q\"'; mkdir '$HOME'; echo > \"$(printf 'new\\nline')\""),
    "not-utf-8": Line("n=$(printf 'f\\377\\376'); echo > $n; mkdir d$n; echo > d$n/$n; ln -s $n l$n"),
    "names-like-ours": Line("echo > .wh.a; echo > .spraycc-x; mkdir .wh..opq"),
    "dotfiles": Line("echo > .x; mkdir .y; echo > ...; rm -r .y"),
    "long-name": Line("n=$(printf '%0250d' 0); echo > $n; mkdir d/$n; echo > d/$n/$n"),
    "status-3": Line("echo partial > n; echo out; echo err >&2; exit 3"),
    "not-found": Line("no-such-command"),
    "output": Line("echo out; echo err >&2; printf 'no newline'"),
    "nothing": Line("cat a d/x > /dev/null; ls d > /dev/null"),
    "touched-only": Line("touch a d; test a -nt b"),
    "access-times": Line("test -r a && test -w a && test ! -x a && test -x run && ./run"),
    "background": Line("echo 1 > n & wait; (echo 2 > m)"),
    "devices": Line("echo gone > /dev/null; head -c 4 /dev/zero > n"),
    "here-document": Line("cat > n <<E\ntext\nE\n"),
    "find-delete": Line("find d -name y -delete; find . -type l -delete"),
    "open-unlinked": Line("exec 3<>n; rm n; echo > m; exec 3>&-"),
}  # fmt: skip


@pytest.mark.parametrize("name", LINES)
def test_shell_line(overlay: Bench, name: str) -> None:
    line = LINES[name]
    compared = overlay.compare(line.text, FILES, remote=True, times=line.times, umask=line.umask).same()
    # In a tree of another group existing files can't be copied up: many lines run on the submit host in the end.
    if overlay.sandbox.account.group is None:
        assert compared.ran() == [line.ran], str(compared.tasks)


@pytest.mark.parametrize("name", ["new", "recreate-a-directory", "status-3", "hard-link"])
def test_shell_line_is_never_predicted(predict: Bench, name: str) -> None:
    compared = predict.compare(LINES[name].text, FILES, remote=True).same()
    assert compared.ran() == ["here"]


def test_another_mode_of_the_workspace_costs_no_executor(overlay: Bench) -> None:
    """The server changes only what is inside the workspace, so the command runs on the submit host, at once."""
    workspace = overlay.sandbox.workspace
    before = stat.S_IMODE(workspace.stat().st_mode)
    try:
        workspace.chmod(0o755)
        # Both runs change the mode.
        other = 'if [ "$(stat -c %a ..)" = 755 ]; then chmod 711 ..; else chmod 755 ..; fi'
        compared = overlay.compare(other, FILES, remote=True).same()
        assert stat.S_IMODE(workspace.stat().st_mode) == 0o755
    finally:
        workspace.chmod(before)
    [task] = compared.tasks
    assert (task["ran"], task["attempts"]) == ("here", 1), str(task)
