"""Whose doing it is when an engine refuses to make or start a container, as far as its words tell. Pure.

The words are kept, because a renter mends an image by them. What fits nothing here is the machine's: nobody
else is blamed for what cannot be known.
"""

from __future__ import annotations

import re

# Where an engine has a container's disk on this machine: nothing that a renter needs to read.
_OF_THE_HOST = re.compile(r"/\S*?/merged(?=/)")

# The first word already says that it is about the image, whatever a renter has named in it.
_IMAGE_BEGINS = re.compile(
    r"unable to find (?:user|group) |"
    r"no command specified|"
    r"the working directory '|"
    r"cannot mkdir: "
)
_QUOTED = re.compile(r'"[^"]*"')
_HARDWARE = re.compile(r"nvidia|select device driver|gathering device information|\bcdi\b")
_MACHINE = re.compile(
    r'exec: "(?:/sbin/)?docker-init"|'
    r"no space left on device|quota exceeded|cannot allocate memory|input/output error"
)
# Of the command that was named, or of what somebody did inside before it was stopped.
_IMAGE = re.compile(
    r"exec format error|"
    r"container process[^:]*: exec: |"
    r"chdir to cwd|"
    r"^lstat [^:]*: not a directory|"
    r'to rootfs at "/etc/dcompute/[^:]*: .*not a directory'
)


def refused(words: str) -> tuple[str, str]:
    """Return code and words for what an engine said when it refused to make or start a container."""
    said = words.lower()
    # What stands in quotes is a renter's: a command may be called like the machine's own parts.
    bare = _QUOTED.sub('""', said)
    # What is the machine's own is looked for before what may only quote a renter's words.
    if _IMAGE_BEGINS.match(said):
        code = "image_cannot_start"
    elif _HARDWARE.search(bare):
        code = "hardware_failed"
    elif _IMAGE.search(said) and not _MACHINE.search(said):
        code = "image_cannot_start"
    else:
        code = "container_start_failed"
    return code, _OF_THE_HOST.sub("", words)
