"""Builds the native part: one plain shared library, compiled from C by CC or by the `ziglang` package.

Nothing in it touches Python's C interface, so one build serves every Python version.
"""

from __future__ import annotations

import os
import platform
import shlex
import subprocess
import sys
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

SOURCES = sorted(str(path) for path in Path("src/wirespeak/_native").glob("*.c"))
FLAGS = [
    "-std=c11",
    "-O3",
    "-flto",  # functions are small and call each other across files
    "-g0",
    "-s",
    "-fPIC",
    "-shared",
    "-fvisibility=hidden",
    "-fno-strict-aliasing",
    "-Wall",
    "-Wextra",
]


def compiler() -> list[str]:
    """The command that compiles C for any machine of this architecture."""
    if "CC" in os.environ:
        return shlex.split(os.environ["CC"])
    machine = "x86_64_v2" if platform.machine().lower() in ("x86_64", "amd64") else "baseline"
    # Without its own run-time library, memcpy is the C library's, which knows the processor it runs on.
    libraries = ["-rtlib=none", "-Wl,-z,defs"]
    return [sys.executable, "-m", "ziglang", "cc", f"-mcpu={machine}", "-fno-sanitize=undefined", *libraries]


class BuildLibrary(build_ext):
    """Compiles the sources in one command; the library keeps the same name everywhere."""

    def get_ext_filename(self, fullname: str) -> str:
        return str(Path(*fullname.split("."))) + ".so"

    def build_extension(self, ext: Extension) -> None:
        library = Path(self.get_ext_fullpath(ext.name))
        library.parent.mkdir(parents=True, exist_ok=True)
        # A running program keeps the old library mapped: replace the file, never write into it.
        fresh = library.with_suffix(".new")
        subprocess.run([*compiler(), *FLAGS, *ext.sources, "-lm", "-o", str(fresh)], check=True)
        os.replace(fresh, library)


setup(
    ext_modules=[
        Extension(
            "wirespeak._native.library",
            SOURCES,
            depends=sorted(str(path) for path in Path("src/wirespeak/_native").glob("*.h")),
        )
    ],
    cmdclass={"build_ext": BuildLibrary},
)
