"""The client of DistributedCompute: `Client` for programs, `dcompute` for people. Installed as `dcompute`."""

from .client import ApiError, Client

__version__ = "0.1.0"
__all__ = ["ApiError", "Client", "__version__"]
