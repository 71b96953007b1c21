"""A folder with a file system of its own, which can be filled to the last byte.

It is a file with ext4 in it, mounted through a loop device; that needs the right to mount. Where
that is missing, the folder is a plain one and `problem` says why.
"""

import os
import shutil
import subprocess

TOOLS_PATH = os.environ.get("PATH", os.defpath) + ":/usr/sbin:/sbin"
LEAST_PIECE_BYTES = 4096


class Disk:
    def __init__(self, folder, size):
        """Mounts a new file system of at most that many bytes; they are taken when used."""
        self.folder = folder
        self.image = folder.with_suffix(".disk")
        self.filler = folder / "filler"
        folder.mkdir(parents=True)
        self.problem = self.make(size) or self.mount()

    def make(self, size):
        with open(self.image, "wb") as image:
            image.truncate(size)
        return problem("mkfs.ext4", "-q", "-F", "-m", "0", self.image)

    def mount(self):
        return problem("mount", "-o", "loop", self.image, self.folder)

    def fill(self):
        """Takes every free block. The file system hands them out without writing them."""
        with open(self.filler, "wb") as filler:
            size = 1 << 30
            while size >= LEAST_PIECE_BYTES:
                end = filler.seek(0, os.SEEK_END)
                try:
                    os.posix_fallocate(filler.fileno(), end, size)
                except OSError:
                    size //= 2

    def free(self):
        self.filler.unlink(missing_ok=True)

    def close(self):
        if not self.problem:
            problem("umount", "-l", self.folder)


def problem(program, *arguments):
    """Runs a program; what it says if it fails, in one line."""
    path = shutil.which(program, path=TOOLS_PATH)
    if not path:
        return f"there is no {program}"
    done = subprocess.run([path, *map(str, arguments)], capture_output=True, text=True, check=False)
    return " ".join(done.stderr.split()) if done.returncode else ""
