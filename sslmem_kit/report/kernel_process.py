"""The kernel of a notebook that is rendered: it ends as soon as the process that executes the notebook has, at whatever moment that is.

IPython's kernels watch their parent too, but from the end of their start on, and where an orphan's new parent is not process 1 in vain.
"""

import os
import runpy
import threading
import time
from pathlib import Path

PID = "SSLMEM_KERNEL_PID"
"""The variable that names the file for this process's number."""
_SECONDS = 0.2


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_SECONDS)
    os._exit(1)


if __name__ == "__main__":
    Path(os.environ[PID]).write_text(str(os.getpid()), encoding="utf-8")
    if os.name == "posix":
        threading.Thread(target=_watch, args=(int(os.environ["JPY_PARENT_PID"]),), daemon=True).start()
    runpy.run_module("ipykernel_launcher", run_name="__main__", alter_sys=True)
