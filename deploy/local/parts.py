"""Fetch the parts of the cluster that no Python package holds: a Java runtime, the broker's jars, Spark's jars.

Jars come through Maven, in the versions that a pom in `jars/` pins, and must have the hashes of the list beside it.
What is there already is checked against that list and not fetched again.
"""

import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

JARS = Path(__file__).parent / "jars"
OLDEST_JAVA = 17
FETCHED_WITHIN = 900.0
"""Seconds Maven may take."""


class PartMissingError(Exception):
    """A part is not there and cannot be fetched; the text says what to do."""


def say(text: str) -> None:
    """Tell the person at the terminal."""
    print(text, file=sys.stderr, flush=True)  # noqa: T201  # for the person at the terminal


def kept_folder() -> Path:
    """Return where tests and benchmarks keep what they fetch: a folder for each set of versions that is pinned."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    pinned = b"".join(pins.read_bytes() for pins in sorted(JARS.glob("*.sha256")))
    return cache / "tapehouse" / f"cluster-{hashlib.sha256(pinned).hexdigest()[:12]}"


def fetch_all(root: Path) -> None:
    """Have everything that a cluster in `root` needs."""
    java()
    fetch_kafka(root / "kafka-jars")
    fetch_spark_jars(root / "spark-jars")


def fetch_kafka(folder: Path) -> Path:
    """Have the jars of a Kafka broker in `folder`, and return it."""
    return fetch_jars("kafka", folder)


def fetch_spark_jars(folder: Path) -> Path:
    """Have the jars that pyspark lacks (Kafka, Delta Lake, S3) in `folder`, and return it."""
    return fetch_jars("spark", folder)


def fetch_jars(name: str, folder: Path) -> Path:
    """Have exactly the pinned jars of `jars/NAME.xml` in `folder`, and return it; several processes may ask at once.

    Raises PartMissingError where Maven cannot fetch them, or a jar is not the one that was pinned.
    """
    pinned = read_hashes(name)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with one_at_a_time(folder.with_suffix(".lock")):
        if hashes(folder) == pinned:
            return folder
        say(f"Fetching {len(pinned)} jars for {name.capitalize()} through Maven")
        with downloaded(name, folder.parent) as jars:
            wrong = {jar for jar, _ in hashes(jars).items() ^ pinned.items()}
            if wrong:
                raise PartMissingError(
                    f"What Maven brought is not what jars/{name}.sha256 pins: {', '.join(sorted(wrong))}"
                )
            shutil.rmtree(folder, ignore_errors=True)
            jars.rename(folder)
    return folder


def pin_jars(name: str) -> None:
    """Write the hashes of what `jars/NAME.xml` brings now, in the form `sha256sum --check` reads."""
    with tempfile.TemporaryDirectory() as scratch, downloaded(name, Path(scratch)) as jars:
        lines = [f"{digest}  {jar}\n" for jar, digest in hashes(jars).items()]
    (JARS / f"{name}.sha256").write_text("".join(lines))


def read_hashes(name: str) -> dict[str, str]:
    """Return the pinned SHA-256 of each jar by its file name."""
    lines = (JARS / f"{name}.sha256").read_text().splitlines()
    return {jar: digest for digest, jar in (line.split() for line in lines)}


def hashes(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of each file of a folder by its name; nothing where there is no folder."""
    files = sorted(folder.iterdir()) if folder.is_dir() else []
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


@contextlib.contextmanager
def downloaded(name: str, beside: Path) -> Iterator[Path]:
    """Give a folder with what the pom asks for; Maven's settings (mirrors, proxies) hold, its cache is left alone."""
    with tempfile.TemporaryDirectory(
        prefix=f".{name}-", dir=beside.absolute()
    ) as scratch:  # Maven takes the pom's folder
        jars = Path(scratch) / "jars"
        command = [
            *(str(maven()), "--batch-mode", "--quiet", "--strict-checksums", "--file", str(JARS / f"{name}.xml")),
            *("dependency:copy-dependencies", "-DincludeScope=runtime", f"-DoutputDirectory={jars}"),
            f"-Dmaven.repo.local={scratch}/repository",
        ]
        try:
            ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=FETCHED_WITHIN)  # noqa: S603
        except subprocess.TimeoutExpired:
            raise PartMissingError(f"Maven did not bring the jars for {name} in {FETCHED_WITHIN:.0f} s") from None
        if ended.returncode:
            raise PartMissingError(f"Maven could not bring the jars for {name}:\n{ended.stdout[-2000:]}")
        yield jars


@contextlib.contextmanager
def one_at_a_time(path: Path) -> Iterator[None]:
    """Keep other processes that ask for the same thing waiting."""
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def java() -> Path:
    """Return a Java runtime that is new enough: of JAVA_HOME, else of the PATH, else installed now where it can be."""
    found = _usable_java() or (_install("default-jre-headless") and _usable_java())
    if not found:
        raise PartMissingError(
            f"The cluster needs Java {OLDEST_JAVA} or newer. On Debian or Ubuntu: sudo apt-get install "
            "default-jre-headless; elsewhere install one and set JAVA_HOME."
        )
    return found


def maven() -> Path:
    """Return Maven: of the PATH, else installed now where it can be."""
    java()
    found = shutil.which("mvn") or (_install("maven") and shutil.which("mvn"))
    if not found:
        raise PartMissingError("Fetching jars needs Maven (mvn). On Debian or Ubuntu: sudo apt-get install maven")
    return Path(found)


def _usable_java() -> Path | None:
    home = os.environ.get("JAVA_HOME")
    found = shutil.which("java", path=f"{home}/bin") if home else shutil.which("java")
    if found is None:
        return None
    told = subprocess.run([found, "-version"], capture_output=True, text=True, check=False)  # noqa: S603
    version = re.search(r'version "(\d+)', told.stderr)
    return Path(found) if version and int(version[1]) >= OLDEST_JAVA else None


def _install(package: str) -> bool:
    """Install a Debian package where that needs nobody's password; return whether it was tried."""
    apt_get = shutil.which("apt-get")
    if apt_get is None or os.geteuid() != 0:
        return False
    say(f"Installing {package}")
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    for arguments in (["update"], ["install", "--yes", "--no-install-recommends", package]):
        subprocess.run([apt_get, "-qq", *arguments], env=environment, stdout=subprocess.DEVNULL, check=False)  # noqa: S603
    return True


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["pin"]:
            pin_jars("kafka")
            pin_jars("spark")
        case ["fetch", root]:
            try:
                fetch_all(Path(root))
            except PartMissingError as error:
                sys.exit(str(error))
