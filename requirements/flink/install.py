"""Makes build/flink/job-server.jar, a Beam job server with Flink in it, unless it is there already.

Apache Beam also publishes its job server as one jar, but a mirror of Maven Central need not carry it. Beam's Flink
runner and the jars that it depends on make the same server: pom.xml names them, lock.sha256 says which files they are,
and the jar made here starts them. Needs Java and Maven, and no more of Python than its standard library.
"""

from __future__ import annotations

import hashlib
import pathlib
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterable

HERE = pathlib.Path(__file__).parent
LOCK = HERE / "lock.sha256"
TARGET = HERE.parent.parent / "build" / "flink"

MAIN_CLASS = "org.apache.beam.runners.flink.FlinkJobServerDriver"
# Flink reflects on these, which Java 17 forbids unless told; the list is that of Flink's own start scripts.
OPENED = ("lang", "net", "io", "nio", "lang.reflect", "text", "time", "util")
OPENED_MODULES = [
    *(f"java.base/java.{name}" for name in OPENED),
    *(f"java.base/java.util.concurrent{name}" for name in ("", ".atomic", ".locks")),
    "java.base/sun.nio.ch",
]
# A line of a manifest has at most 72 bytes, its end not counted; a line that goes on starts with a space.
MANIFEST_WIDTH = 70


class InstallError(Exception):
    """What is missing, and how to get it."""


def fetch(directory: pathlib.Path) -> None:
    """Has Maven copy the jars of pom.xml into `directory`.

    Raises:
      InstallError: there is no Java or no Maven, or Maven failed.
    """
    for tool, package in (("java", "openjdk-17-jre-headless"), ("mvn", "maven")):
        if shutil.which(tool) is None:
            raise InstallError(f"no {tool} found; install it (on Debian: apt-get install {package})")
    command = ["mvn", "--batch-mode", "--quiet", "--strict-checksums", "--file", str(HERE / "pom.xml")]
    goal = ["dependency:copy-dependencies", "-DincludeScope=runtime", f"-DoutputDirectory={directory}"]
    result = subprocess.run([*command, *goal], capture_output=True, text=True, check=False)
    if result.returncode != 0:
        said = [line for line in result.stdout.splitlines() if "ERROR" in line]
        raise InstallError(f"Maven could not get the jars of {HERE / 'pom.xml'}: {said[0] if said else result.stderr}")


def checksums(directory: pathlib.Path) -> str:
    """The jars of a directory in the format of `sha256sum`, by name."""
    digests = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(directory.iterdir())}
    return "".join(f"{digest}  {name}\n" for name, digest in digests.items())


def require_locked(directory: pathlib.Path) -> None:
    """Raises InstallError unless a directory holds exactly the jars of the lock."""
    found, locked = set(checksums(directory).splitlines()), set(LOCK.read_text().splitlines())
    if found != locked:
        name = sorted(line.split()[1] for line in found ^ locked)[0]
        raise InstallError(f"{name} is not the file that {LOCK} names; if pom.xml was changed: make flink RELOCK=1")


def write_launcher(path: pathlib.Path, jars: Iterable[str]) -> None:
    """Writes a jar for `java -jar`: no more than a manifest, which names the `jars` beside it and the main class."""
    lines = [
        "Manifest-Version: 1.0",
        f"Main-Class: {MAIN_CLASS}",
        f"Class-Path: {' '.join(jars)}",
        f"Add-Opens: {' '.join(OPENED_MODULES)}",
    ]
    with zipfile.ZipFile(path, "w") as jar:
        jar.writestr("META-INF/MANIFEST.MF", "".join(_folded(line) for line in lines) + "\r\n")


def _folded(line: str) -> str:
    parts = [line[start : start + MANIFEST_WIDTH] for start in range(0, len(line), MANIFEST_WIDTH)]
    return "\r\n ".join(parts) + "\r\n"


def is_installed() -> bool:
    """Whether the job server is there, made of the jars of today's lock."""
    stamp = TARGET / LOCK.name
    return stamp.is_file() and LOCK.is_file() and stamp.read_bytes() == LOCK.read_bytes()


def install(relock: bool) -> None:
    """Makes build/flink anew; `relock` makes the lock anew from what Maven gives.

    Raises:
      InstallError: see `fetch` and `require_locked`.
    """
    TARGET.parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="flink-", dir=TARGET.parent) as scratch:
        made = pathlib.Path(scratch) / TARGET.name
        fetch(made / "lib")
        if relock:
            LOCK.write_text(checksums(made / "lib"))
        require_locked(made / "lib")
        write_launcher(made / "job-server.jar", [f"lib/{path.name}" for path in sorted((made / "lib").iterdir())])
        shutil.copyfile(LOCK, made / LOCK.name)
        shutil.rmtree(TARGET, ignore_errors=True)
        made.rename(TARGET)


def main(argv: list[str]) -> None:
    """Installs, unless that is done; `--relock` does it in any case."""
    relock = argv == ["--relock"]
    if not relock and is_installed():
        return
    print("getting the Flink job server (some 150 MB, once) ...", file=sys.stderr)
    try:
        install(relock)
    except InstallError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main(sys.argv[1:])
