"""How much one network, or one person, may ask of what is open to everyone; counted by this process.

Asking Redis would cost more than most of these answers do.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, ClassVar

from django.http import HttpRequest, HttpResponse
from rest_framework.request import Request
from rest_framework.views import APIView

from core.api import AnonThrottle
from core.errors import RateLimited

MOST_ADDRESSES = 100_000


class NearThrottle(AnonThrottle):
    """The limit of one network, whether or not somebody has signed in."""

    # What the library reads from the rate: how many in how many seconds.
    num_requests: int
    duration: int
    counted: ClassVar[tuple[int, dict[str, int]]] = (0, {})

    def allow_request(self, request: Request, view: APIView) -> bool:
        return self.allow(self.get_ident(request))

    def allow(self, who: str) -> bool:
        """Count one more of theirs, and return whether it is within the limit."""
        window, counts = self.counted
        now = int(self.timer() // self.duration)
        if now != window or len(counts) > MOST_ADDRESSES:
            counts = {}
            type(self).counted = (now, counts)
        counts[who] = asked = counts.get(who, 0) + 1
        return asked <= self.num_requests

    def wait(self) -> float:
        return self.duration - float(self.timer()) % self.duration


class PagesOfNetwork(NearThrottle):
    """The limit of open pages for those who have not signed in: as many as the API allows them, beside those."""

    counted: ClassVar[tuple[int, dict[str, int]]] = (0, {})


class PagesOfPerson(NearThrottle):
    """The limit of open pages for one who has signed in, from whatever network."""

    scope = "user"
    counted: ClassVar[tuple[int, dict[str, int]]] = (0, {})


def limited(view: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
    """Let a page be asked for as often as the API may be; beyond, it raises RateLimited `rate_limited`."""

    @wraps(view)
    def page(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        throttle: NearThrottle
        if request.user.is_authenticated:
            throttle, who = PagesOfPerson(), str(request.user.pk)
        else:
            throttle = PagesOfNetwork()
            who = throttle.get_ident(Request(request))
        if not throttle.allow(who):
            seconds = int(throttle.wait()) + 1
            raise RateLimited(
                "rate_limited",
                f"That is more than {throttle.num_requests} pages a minute from one place. Try again in {seconds} s.",
                retry_after=seconds,
            )
        return view(request, *args, **kwargs)

    return page
