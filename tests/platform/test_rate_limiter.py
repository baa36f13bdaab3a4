"""The pace that all workers keep together."""

from retry_engine.adapters.rate_limiter import Pace


class Queue:
    """The row that all workers share, with a clock that moves only by sleeping."""

    def __init__(self, *, per_second: float) -> None:
        self.now = 100.0
        self.gap = 1.0 / per_second
        self.last = 0.0
        self.asked: list[int] = []

    def reserve(self, _: str, count: int) -> float:
        self.asked.append(count)
        first = max(self.last + self.gap, self.now - 0.05)
        self.last = first + self.gap * (count - 1)
        return first - self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def worker(self) -> Pace:
        return Pace(
            reserve=self.reserve,
            per_second=1.0 / self.gap,
            clock=lambda: self.now,
            sleep=self.sleep,
        )


def test_workers_that_call_without_pause_keep_the_rate_together() -> None:
    queue = Queue(per_second=100)
    workers = [queue.worker() for _ in range(3)]
    made = []
    for number in range(600):
        workers[number % 3]("invoices.pay")
        made.append(queue.now)
    for start in range(0, 600, 50):
        within = [at for at in made if made[start] <= at < made[start] + 1.0]
        assert len(within) <= 100 + 10 + 1


def test_a_busy_worker_takes_many_places_at_once_and_a_rare_caller_one() -> None:
    busy, rare = Queue(per_second=100_000), Queue(per_second=100_000)
    pace = busy.worker()
    for _ in range(200):
        pace("invoices.read")
        busy.now += 0.002
    assert len(busy.asked) < 40
    pace = rare.worker()
    for _ in range(20):
        pace("invoices.read")
        rare.now += 0.3
    assert rare.asked == [1] * 20


def test_a_place_that_was_not_used_in_time_is_left() -> None:
    queue = Queue(per_second=1000)
    pace = queue.worker()
    for _ in range(10):
        pace("invoices.read")
    asked = len(queue.asked)
    queue.now += 1.0
    pace("invoices.read")
    assert len(queue.asked) == asked + 1
