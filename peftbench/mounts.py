"""Determine the file system of a path from `/proc/self/mountinfo` (proc(5))."""

from __future__ import annotations

import re
from pathlib import Path, PurePath

# Network and cluster file systems, and those shared between a host and its guests. SQLite needs locks and shared
# memory across all processes that open the file, which these do not guarantee.
_NETWORK = (
    "9p afs afp beegfs ceph cifs coda davfs drvfs gfs2 glusterfs gpfs lustre ncpfs nfs nfs3 nfs4 ocfs2 openafs "
    "orangefs panfs pvfs2 smb smb2 smb3 smbfs vboxsf virtiofs vmhgfs wekafs"
)
_NETWORK_FUSE = (
    "alluxio beegfs blobfuse blobfuse2 ceph ceph-fuse cephfs curlftpfs davfs2 gcsfuse glusterfs goofys grpcfuse "
    "juicefs lustre mountpoint-s3 osxfs quobyte rclone s3fs seaweedfs smbnetfs sshfs vmhgfs-fuse"
)
NETWORK = frozenset(_NETWORK.split(" ")) | frozenset(f"fuse.{name}" for name in _NETWORK_FUSE.split(" "))
VOLATILE = frozenset({"tmpfs", "ramfs"})
MOUNTINFO = Path("/proc/self/mountinfo")


def system_under(path: PurePath, mountinfo: Path = MOUNTINFO) -> tuple[str, PurePath] | None:
    """Return the type of the file system that contains a path, and its mount point.

    Raises:
        OSError: the list of mounts cannot be read.
    """
    return file_system(mountinfo.read_text("utf-8", "surrogateescape"), path)


def file_system(mountinfo: str, path: PurePath) -> tuple[str, PurePath] | None:
    """Return the type and mount point of the file system that contains a path (absolute, links resolved).

    The longest mount point above the path is used and, of several mounts there, the last, which hides the others.
    None if no mount matches.
    """
    mount: tuple[str, PurePath] | None = None
    for line in mountinfo.splitlines():
        words = line.split(" ")
        if "-" not in words[6:] or len(words) < 10:
            continue
        kind, point = words[words.index("-", 6) + 1], PurePath(_unescaped(words[4]))
        under = path == point or point in path.parents
        if under and (mount is None or len(point.parts) >= len(mount[1].parts)):
            mount = (kind, point)
    return mount


def _unescaped(text: str) -> str:
    """Decode the kernel's octal escapes of white space and backslashes."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), text)
