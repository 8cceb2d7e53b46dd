"""SprayCC: builds C and C++ on the CPUs of a batch cluster."""

import resource
import sys

__version__ = "0.2.0"

# Under a limit of file sizes, Python 3.11 keeps a .pyc of which it could write only a part, and no later run can import
# that module. This file's own .pyc is short enough. -1: no limit.
sys.dont_write_bytecode |= resource.getrlimit(resource.RLIMIT_FSIZE)[0] != -1
