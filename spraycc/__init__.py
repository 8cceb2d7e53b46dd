"""SprayCC: builds C and C++ on the CPUs of a batch cluster."""

import resource
import sys

__version__ = "0.1.0"

if resource.getrlimit(resource.RLIMIT_FSIZE)[0] != resource.RLIM_INFINITY:
    # Python 3.11 keeps a .pyc that it could write in part only. No later run could import that module.
    sys.dont_write_bytecode = True
