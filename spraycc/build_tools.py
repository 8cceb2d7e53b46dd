"""The names of build tools, and the environment variables of make and cargo. Every other module takes them from here.

``native/runner/build_tool.c`` and ``runner/fallback.py`` import nothing and repeat SHIMMED;
tests/pure/test_build_tools.py compares them.
"""

from __future__ import annotations

MAKES = ("make", "gmake")
NINJAS = ("ninja", "ninja-build")
#: They find their own files beside argv[0], and search PATH for a bare name. There they would find a shim (seen: 3.25).
CMAKES = ("cmake", "ctest")
#: samurai reads the files of ninja. No release of samurai uses a jobserver, so samurai gets no shim and keeps its -j.
SAMURAI = ("samu",)

#: Tools that a runner starts inside a build: it opens the jobserver for them again, and takes their -j away.
JOBSERVER_TOOLS = (*MAKES, *NINJAS, "ctest", "cargo")
#: Subcommands of spraycc: `spraycc make` is short for `spraycc build -- make`.
SUBCOMMANDS = (*JOBSERVER_TOOLS, "cmake")
#: Tools with shims in a shell that `spraycc env` has prepared. The subcommands open builds, cmake only if it builds.
#: meson has a shim so that `meson setup` does not find that of ninja.
SHIMMED = (*SUBCOMMANDS, "meson")
#: Tools that start recipes: in the process tree, each child of such a tool is one recipe.
RECIPE_STARTERS = (*JOBSERVER_TOOLS, *SAMURAI)

#: The variables that name a jobserver. Recipes pass the old MFLAGS on by hand. make reads GNUMAKEFLAGS before
#: MAKEFLAGS. cargo prefers CARGO_MAKEFLAGS.
JOBSERVER_VARIABLES = ("MAKEFLAGS", "MFLAGS", "GNUMAKEFLAGS", "CARGO_MAKEFLAGS")
#: All variables that belong to the make around us, and not into a process that outlives the build.
MAKE_VARIABLES = (*JOBSERVER_VARIABLES, "MAKELEVEL")
