"""SprayCC: builds C and C++ on the CPUs of a batch cluster."""

__version__ = "0.1.0"
