"""Make the three images of the lab: Python, Redis and the worker. Run it with ``make images``.

An image that is here is used; one that a registry offers is pulled. In a room without a registry
the first two are built from Debian's packages, and the Python one carries the wheels of
``requirements/worker.txt``, so that an ordinary Dockerfile (FROM python:3.11-slim, pip install)
builds unchanged.
"""

import hashlib
import os
import platform
import re
import select
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pip._vendor.packaging.markers import default_environment
from pip._vendor.packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parent.parent
LOCK = ROOT / "requirements" / "worker.txt"
DOCKERFILE = ROOT / "docker" / "Dockerfile.worker"
WHEELHOUSE = ROOT / "wheelhouse"
RELEASE = "bookworm"
LABEL = "labkit.inputs"  # on images we built: a digest of what they were built from
REGISTRY_WAIT_S = 8.0

PIP_CONF = """\
[global]
no-index = true
find-links = /opt/wheels
break-system-packages = true
root-user-action = ignore
no-cache-dir = true
disable-pip-version-check = true
"""

# What a container never reads; everything else stays as Debian has it.
DROPPED = ["usr/share/doc", "usr/share/man", "usr/share/info", "usr/share/locale",
           "usr/share/lintian", "usr/share/bash-completion", "usr/share/zoneinfo/right",
           "usr/share/zoneinfo/posix", "var/cache/apt", "var/lib/apt/lists", "var/log",
           "etc/apt/sources.list.d", "etc/apt/sources.list"]  # fmt: skip


def main() -> int:
    if run("docker", "version", check=False).returncode:
        return fail("Docker does not answer. Start it, or see that `docker version` works.")
    try:
        for base in (PYTHON, REDIS):
            ensure(base)
        build_worker()
    except subprocess.CalledProcessError as error:
        tail = "\n".join((error.stdout or "").splitlines()[-20:])
        return fail(f"{tail}\n`{' '.join(map(str, error.cmd))}` failed.")
    return 0


@dataclass(frozen=True)
class Base:
    """An image that a registry offers and that Debian's packages can stand in for."""

    tag: str
    upstream: str
    packages: str
    changes: tuple[str, ...]  # Dockerfile instructions for `docker import`
    finish: Callable[[Path], None]
    files: tuple[Path, ...] = ()  # what else goes in, beside this recipe


def ensure(base: Base) -> None:
    """Use the image that is here, else the registry's, else build it."""
    started = time.monotonic()
    inputs = digest(Path(__file__), *base.files)
    if inputs_of(base.tag) in ("", inputs):
        how = "already here"
    elif pull(base.upstream):
        run("docker", "tag", base.upstream, base.tag)
        how = f"pulled as {base.upstream}"
    else:
        build_from_debian(base, inputs)
        how = "built from Debian's packages"
    report(base.tag, how, started)


def build_from_debian(base: Base, inputs: str) -> None:
    if shutil.which("debootstrap") is None or os.geteuid() != 0:
        sys.exit(fail(f"No registry offers {base.upstream}, and building it from Debian's packages "
                      "needs debootstrap and root.\nRun this once with a registry in reach, "
                      "or on Debian: apt-get install debootstrap; sudo make images"))  # fmt: skip
    print(f"{base.tag}: no registry in reach; building from Debian's packages (a minute)...")
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        run("debootstrap", "--variant=minbase", f"--include={base.packages}", RELEASE, root,
            *debian_mirror())  # fmt: skip
        for dropped in DROPPED:  # the folders stay: apt-get wants them
            for path in [root / dropped, *(root / dropped).rglob("*")]:
                if path.is_symlink() or path.is_file():
                    path.unlink()
        base.finish(root)
        changes = [*base.changes, f"LABEL {LABEL}={inputs}"]
        tar = subprocess.Popen(
            ["tar", "-C", folder, "--exclude=./dev/*", "--exclude=./proc/*", "-c", "."],
            stdout=subprocess.PIPE,
        )
        run("docker", "import", *(f"--change={change}" for change in changes), "-", base.tag,
            stdin=tar.stdout)  # fmt: skip
        if tar.wait():
            raise subprocess.CalledProcessError(tar.returncode, "tar")


def finish_python(root: Path) -> None:
    """Name things as the official image does, and bring the wheels."""
    (root / "usr/bin/python").symlink_to("python3")
    (root / "etc/pip.conf").write_text(PIP_CONF)
    version = run("chroot", root, "python3", "-V").stdout.split()[1]
    collect_wheels(root / "opt/wheels", version)


def finish_redis(root: Path) -> None:
    (root / "data").mkdir()
    run("chroot", root, "chown", "redis:redis", "/data")


def collect_wheels(folder: Path, version: str) -> None:
    """Copy the locked wheels to ``folder``: from the wheelhouse, topped up from the index."""
    machine = platform.machine()
    target = default_environment() | {
        "python_full_version": version,
        "python_version": version.rpartition(".")[0],
        "sys_platform": "linux",
        "platform_system": "Linux",
    }
    # pip reads markers for the Python it runs on; the image has another, so they are read here.
    blocks = re.split(r"\n(?=\S)", LOCK.read_text())
    wanted = []
    for block in blocks:
        name, *rest = block.splitlines()
        requirement = Requirement(name.rstrip(" \\"))
        if requirement.marker is None or requirement.marker.evaluate(target):
            pinned = f"{requirement.name}{requirement.specifier} \\"
            wanted += [pinned, *rest]
    folder.mkdir(parents=True)
    lock = folder / "lock.txt"
    lock.write_text("\n".join(wanted) + "\n")
    download = [
        sys.executable, "-m", "pip", "download", "--require-hashes", "--no-deps",
        "--only-binary=:all:", f"--python-version={version}", "--implementation=cp",
        *(f"--platform=manylinux_2_{minor}_{machine}" for minor in range(36, 16, -1)),
        f"--platform=manylinux2014_{machine}", "--quiet", f"--requirement={lock}",
    ]  # fmt: skip
    offline = ["--no-index", f"--find-links={WHEELHOUSE}", f"--dest={folder}"]
    WHEELHOUSE.mkdir(exist_ok=True)
    if run(*download, *offline, check=False).returncode:
        run(*download, f"--dest={WHEELHOUSE}")
        run(*download, *offline)
    lock.unlink()


def build_worker() -> None:
    started = time.monotonic()
    base_id = run("docker", "inspect", "--format={{.Id}}", PYTHON.tag).stdout
    code = [path for path in sorted((ROOT / "labkit").rglob("*"))
            if path.is_file() and "__pycache__" not in path.parts]  # fmt: skip
    inputs = digest(*code, DOCKERFILE, ROOT / ".dockerignore", LOCK, extra=base_id)
    how = "already here"
    if inputs_of(WORKER) != inputs:
        run("docker", "build", f"--file={DOCKERFILE}", f"--tag={WORKER}",
            f"--build-arg=BASE_IMAGE={PYTHON.tag}", f"--label={LABEL}={inputs}", ROOT)  # fmt: skip
        how = "built"
    report(WORKER, how, started)


def pull(image: str) -> bool:
    """Pull, unless the registry has not begun to answer within a few seconds."""
    with subprocess.Popen(["docker", "pull", image], stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL) as pulling:  # fmt: skip
        answered, _, _ = select.select([pulling.stdout], [], [], REGISTRY_WAIT_S)
        if not answered:
            pulling.kill()
            return False
        pulling.stdout.read()
    return pulling.returncode == 0


def inputs_of(image: str) -> str | None:
    """The digest an image of ours was built from; "" if somebody else built it, None if absent."""
    found = run("docker", "inspect", "--type=image", "--format={{json .Config.Labels}}", image,
                check=False)  # fmt: skip
    if found.returncode:
        return None
    match = re.search(rf'"{re.escape(LABEL)}":"(\w+)"', found.stdout)
    return match[1] if match else ""


def debian_mirror() -> list[str]:
    """The mirror that this machine's apt uses, if it has the release; else debootstrap's own."""
    if shutil.which("apt-get") is None:
        return []
    found = run("apt-get", "indextargets", "--format=$(RELEASE) $(REPO_URI)",
                "Created-By: Packages", check=False)  # fmt: skip
    sources = [line.split() for line in found.stdout.splitlines()]
    return [uri for release, uri in sources if release == RELEASE][:1]


def digest(*files: Path, extra: str = "") -> str:
    text = hashlib.sha256(extra.encode() + platform.machine().encode())
    for file in files:
        text.update(str(file.relative_to(ROOT)).encode() + b"\0" + file.read_bytes() + b"\0")
    return text.hexdigest()[:16]


def run(*command: object, check: bool = True, **options: object) -> subprocess.CompletedProcess:
    return subprocess.run(
        [str(word) for word in command], check=check, text=True, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, **options,
    )  # fmt: skip


def report(tag: str, how: str, started: float) -> None:
    size = int(run("docker", "inspect", "--format={{.Size}}", tag).stdout)
    print(f"{tag}: {how} ({size / 1e6:.0f} MB, {time.monotonic() - started:.1f} s)", flush=True)


def fail(message: str) -> int:
    print(message.strip(), file=sys.stderr)
    return 1


WORKER = "labkit-worker"
PATH = "ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
PYTHON = Base(
    tag="python:3.11-slim",
    upstream="python:3.11-slim",
    packages="python3,python3-venv,python3-pip,ca-certificates",
    changes=(PATH, "ENV LANG=C.UTF-8", 'CMD ["python3"]'),
    finish=finish_python,
    files=(LOCK,),
)
REDIS = Base(
    tag="labkit-redis",
    upstream="redis:7-alpine",
    packages="redis-server",
    # As in the official image: protected mode is off, so what may reach it is the network's say.
    changes=(PATH, "USER redis", "WORKDIR /data", "EXPOSE 6379",
             'CMD ["redis-server", "--protected-mode", "no", "--appendonly", "yes"]'),
    finish=finish_redis,
)  # fmt: skip

if __name__ == "__main__":
    sys.exit(main())
