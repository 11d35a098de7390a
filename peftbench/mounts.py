"""Which file system a path lies on, read from the text of `/proc/self/mountinfo` (proc(5))."""

from __future__ import annotations

import re
from pathlib import Path, PurePath

# Networks', clusters', and hosts' shared with their guests. SQLite needs locks and shared memory that hold for every
# process that opens the file; over these they need not.
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
    """Return the kind of file system that a path lies on here, and where it is mounted.

    Raises:
        OSError: the list of mounts cannot be read.
    """
    return file_system(mountinfo.read_text("utf-8", "surrogateescape"), path)


def file_system(mountinfo: str, path: PurePath) -> tuple[str, PurePath] | None:
    """Return the kind of file system that a path (absolute, links resolved) lies on, and where that is mounted.

    The longest mount point that the path lies under decides, and of several mounts there the last, which hides the
    others. None where the text names none.
    """
    found: tuple[str, PurePath] | None = None
    for line in mountinfo.splitlines():
        words = line.split(" ")
        if "-" not in words[6:] or len(words) < 10:
            continue
        kind, point = words[words.index("-", 6) + 1], PurePath(_unescaped(words[4]))
        under = path == point or point in path.parents
        if under and (found is None or len(point.parts) >= len(found[1].parts)):
            found = (kind, point)
    return found


def _unescaped(text: str) -> str:
    """Undo the kernel's octal escapes of blanks and backslashes."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), text)
