"""`python -m MODULE ...` as the image's does it: with what its folder of packages has Python import at its start.

A Python of this machine is started without that (`-S`), since its own folder would lead to the checkout; the image's is
the first of PYTHONPATH.
"""

import os
import runpy
import site
import sys

site.addsitedir(os.environ["PYTHONPATH"].partition(os.pathsep)[0])
# In place of this script's folder, as -m has it.
sys.path[0] = os.getcwd()  # noqa: PTH109
# This script, -m, the module, and what it is told.
module = sys.argv[2]
sys.argv = sys.argv[2:]
runpy.run_module(module, run_name="__main__", alter_sys=True)
