"""Published archives: fetched whole or not at all, checked by md5, and only the files asked for taken out of them."""

import http.client
import os
import posixpath
import tarfile
import tempfile
import urllib.request
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from torchvision.datasets import utils

from dcd_utils import files

_DAMAGE = (OSError, http.client.HTTPException, EOFError, RuntimeError, tarfile.TarError, zipfile.BadZipFile, zlib.error)


@contextmanager
def advice(name: str, root: Path, filename: str, md5: str) -> Iterator[None]:
    """Turn what goes wrong with a data set's files, or the network, into one RuntimeError that says what to do."""
    try:
        yield
    except _DAMAGE as error:
        line = (str(error).splitlines() or [type(error).__name__])[0]
        problem = f'{name} is not complete in "{root}" ({line}). Load with download=True on a machine with a network'
        ways = f"pass url= of a mirror, put {filename} (md5 {md5}) there by hand, or use images of your own"
        raise RuntimeError(f'{problem}, {ways} through load("folder", root=...)') from error


def fetch(url: str, root: Path, filename: str, md5: str, download: bool = True) -> Path:
    """The archive `root/filename`, downloaded if absent or damaged; it appears under its name only when it is whole."""
    archive = root / filename
    if utils.check_integrity(archive, md5):
        return archive
    if not download:
        raise FileNotFoundError(f"{filename} is {'damaged' if archive.exists() else 'absent'}, and download=False")
    root.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f"{filename}.partial-", dir=root) as folder:
        partial = Path(folder) / filename
        if url.startswith("http"):
            utils.download_url(url, folder, filename)
        else:  # file:///..., which torchvision cannot, or a path
            urllib.request.urlretrieve(url if ":" in url else Path(url).absolute().as_uri(), partial)
        received = utils.calculate_md5(partial)
        if received != md5:
            raise RuntimeError(f"{url} sent {partial.stat().st_size:,} bytes with md5 {received}, expected {md5}")
        os.replace(partial, archive)
    return archive


def take_from_tar(archive: Path, folder: Path, names: Iterable[str]) -> None:
    """Write the named members below `folder`, each whole or not at all; nothing else of the archive is unpacked."""
    missing = set(names)
    with tarfile.open(archive) as tar:
        for member in tar:
            name = posixpath.normpath(member.name)
            if name in missing and member.isfile():
                files.write_whole(folder / name, tar.extractfile(member).read())
                missing.remove(name)
            if not missing:
                return
    raise RuntimeError(f"{archive.name} lacks {', '.join(sorted(missing))}")
