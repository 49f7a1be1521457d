"""The host agent: runs rented containers on one machine and tells the platform the truth about it.

Its own wheel: no Django, nothing of the platform. `hostagent.protocol` is the shared wire contract.
"""

__version__ = "0.1.0"
