"""Bounds on how long something takes, which do not count what the machine withheld meanwhile."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_STEP_S = 0.005
_GRAIN_S = 0.01
"""Lateness up to this is a thread's own doing: Python lets the next one run after 5 ms (`sys.getswitchinterval`)."""
MARGIN_S = 0.1


class Watch:
    """Around a block: the seconds it took, and how many of them the machine kept to itself.

    Those are by how much a thread woke late that only sleeps in small steps, doubled, since a process on the other side
    may have waited as long; or what this thread waited for a processor, if that is more. What overstays by waiting or
    by working makes neither of them late, and gains nothing.
    """

    spent: float = 0.0
    """All of them."""
    withheld: float = 0.0

    @property
    def net(self) -> float:
        """Without what was withheld."""
        return self.spent - self.withheld

    def __enter__(self) -> Watch:
        self._over = threading.Event()
        self._sleeper = threading.Thread(target=self._sleep, name="watch", daemon=True)
        self._sleeper.start()
        self._waited, self._began = _waited_for_processor(), time.monotonic()
        return self

    def __exit__(self, *_: object) -> None:
        self.spent = time.monotonic() - self._began
        waited = _waited_for_processor() - self._waited
        self._over.set()
        self._sleeper.join()
        self.withheld = max(self.withheld, waited)

    def _sleep(self) -> None:
        over = False
        while not over:
            due = time.monotonic() + _STEP_S
            over = self._over.wait(_STEP_S)
            late = time.monotonic() - due
            self.withheld += 2 * late if late > _GRAIN_S else 0.0


@contextmanager
def on_time(seconds: float, *, least: float = 0.0) -> Iterator[None]:
    """The block takes `least` seconds or more, and `seconds` and a tenth at most.

    A busy machine may take another tenth of a second to wake a thread; what it withheld beyond is not counted.
    """
    with Watch() as watch:
        yield
    assert watch.spent >= least, f"{watch.spent:.3f} s of at least {least:.3f} s"
    told = f"{watch.spent:.3f} s for {seconds} s, {watch.withheld:.3f} s withheld"
    assert watch.net <= 1.1 * seconds + MARGIN_S, told


def _waited_for_processor() -> float:
    """Seconds that this thread was ready to run and did not (Documentation/scheduler/sched-stats.rst)."""
    return int(Path("/proc/thread-self/schedstat").read_text().split()[1]) / 1e9
