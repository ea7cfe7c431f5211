"""The last thing before a server: become its account, tie its life to the owner's, and turn into the server.

Run as a script by the owner, in a fresh interpreter: between fork and exec no Python may run in a process with threads.
The server keeps the pid of the launcher. On Linux the kernel signals it when the owner dies, kill -9 included; on other
systems it stays, and the next owner ends it.
"""

import ctypes
import os
import sys

PR_SET_PDEATHSIG = 1
OWNER_GONE = 70
"""Exit status when the owner died before the server was tied to it."""


def main(owner: int, farewell: int, uid: int, gid: int, *command: str) -> int:
    """Turn into a command.

    Args:
        owner: pid of the process that ran this script; strictly, of its thread that did.
        farewell: number of the signal the command gets when the owner dies.
        uid: the account to become, with `gid`; negative to stay who we are.
    """
    if uid >= 0:
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, farewell, 0, 0, 0)
        if os.getppid() != owner:
            return OWNER_GONE
    os.execv(command[0], command)


if __name__ == "__main__":
    owner, farewell, uid, gid = map(int, sys.argv[1:5])
    sys.exit(main(owner, farewell, uid, gid, *sys.argv[5:]))
