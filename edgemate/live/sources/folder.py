"""Images in a folder: those that are there, and with `watch` those that come."""

from __future__ import annotations

import contextlib
import errno
import threading
import time
from collections.abc import Iterator
from functools import partial
from itertools import count
from pathlib import Path

from edgemate.core.image_search import check_no_root, find_images
from edgemate.durable import hidden_name, make_folder
from edgemate.errors import DataError, UsageError
from edgemate.limits import SOURCE_FILES
from edgemate.live.frame import Frame
from edgemate.live.sources.base import Source
from edgemate.output_place import bundle_around
from edgemate.swapping import move_to_new_name
from edgemate.wording import counted

POLL_SECONDS = 0.2
Identity = tuple[int, int, int]


class Folder(Source):
    """The images below a folder, sorted by path, each once; or one image file.

    An image should be renamed into the folder, so that it is complete when it is seen. One that is written in place is
    answered again whenever it has changed.

    Args:
        path: the folder, or an image file.
        watch: wait for new images when all are answered.
        done: a folder outside of `path`, to which images are moved once they are answered. A process that is killed
            between an answer and the move answers that image once more.

    Raises:
        DataError: without `watch`, the folder has no image; or it has more than `SOURCE_FILES`.
        UsageError: `done` lies in the folder or in a bundle, or images cannot be moved there; or the folder is the
            root of the file system.
    """

    def __init__(self, path: Path, *, watch: bool = False, done: Path | None = None) -> None:
        self.name = str(path)
        self._path = path
        self._watch = watch
        self._done = done
        self._given: dict[int, Identity] = {}  # index of a frame that is being answered → its file's
        self._is_file = not path.is_dir()
        self._closed = threading.Event()
        if done is not None:
            _check_done(done, path)
        if self._is_file:
            return
        check_no_root(path)
        if done is not None:
            _check_moving(path, done)
        found = self._found()
        if not watch and not found:
            raise DataError(f"{path}: has no images")
        if found and all(file.parent != path for file in found):
            self.remark = f"{path}: has no images itself; {counted(len(found), 'image')} in folders below it"

    def frames(self) -> Iterator[Frame]:
        """The images; with `watch` it ends by `close` only."""
        index, seen = 0, set[tuple[Path, Identity]]()
        while not self._closed.is_set():
            found = [(file, identity) for file in self._found() if (identity := _identity(file)) is not None]
            for file, identity in found:
                if (file, identity) not in seen and not self._closed.is_set():
                    if self._done is not None:
                        self._given[index] = identity
                    yield Frame(index, partial(_itself, file), None, time.monotonic(), file)
                    index += 1
            if not self._watch:
                return
            seen = set(found)  # those that have left are forgotten, so that it does not grow
            self._closed.wait(POLL_SECONDS)

    def answered(self, frame: Frame) -> None:
        """Move the image, with a number in its name where that name is taken.

        One that has taken the place of the image meanwhile stays, since it has not been answered.
        """
        if self._done is None or frame.file is None:
            return
        given = self._given.pop(frame.index, None)
        if given is None or _identity(frame.file) != given:
            return
        make_folder(self._done)
        names = (f"{frame.file.stem}{f'-{number}' if number else ''}{frame.file.suffix}" for number in count())
        for name in names:
            try:
                move_to_new_name(frame.file, self._done / name)
            except FileExistsError:
                continue
            except FileNotFoundError:  # somebody else has moved it
                pass
            except OSError as error:
                raise DataError(f"{frame.file}: cannot be moved to {self._done}: {error.strerror}") from error
            return

    def close(self) -> None:
        """End it."""
        self._closed.set()

    def _found(self) -> list[Path]:
        if self._is_file:
            return [self._path]
        try:
            return find_images(self._path, SOURCE_FILES)
        except OSError as error:
            raise DataError(f"{self._path}: cannot be read: {error.strerror}") from error


def _check_done(done: Path, path: Path) -> None:
    place = done.resolve()
    if place.is_relative_to(path.resolve()):
        raise UsageError(f"done {done}: must not lie in the folder of the images, {path}")
    bundle = bundle_around(place)
    if bundle is not None:
        raise UsageError(f"done {done}: is inside the bundle {bundle}; name a folder outside")


def _check_moving(path: Path, done: Path) -> None:
    """Move an empty hidden file from one to the other, which no other look foretells for certain."""
    above = done
    while not above.exists() and above != above.parent:
        above = above.parent
    file, moved = hidden_name(path / "moving", "part"), hidden_name(above / "moving", "part")
    try:
        file.touch(exist_ok=False)
        move_to_new_name(file, moved)
    except OSError as error:
        reason = "it is on another file system" if error.errno == errno.EXDEV else error.strerror
        raise UsageError(f"done {done}: images of {path} cannot be moved there: {reason}") from error
    finally:
        for left in (file, moved):
            with contextlib.suppress(OSError):
                left.unlink(missing_ok=True)


def _identity(file: Path) -> Identity | None:
    """Tells a new file from the one of that name before it; None for one that has left since it was found.

    Zeros where there is none to be had, so that reading it says why. The inode alone does not tell: file systems give
    that of a file that was removed to the next one.
    """
    try:
        status = file.stat()
    except FileNotFoundError:
        return None
    except OSError:
        return 0, 0, 0
    return status.st_ino, status.st_mtime_ns, status.st_size


def _itself(file: Path) -> Path:
    return file
