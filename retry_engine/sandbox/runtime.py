"""A sandbox while it runs: its accounts, and the time, mail, webhooks and faults they share."""

import asyncio
from collections.abc import Callable
from datetime import datetime
from random import Random

from retry_engine.sandbox import objects
from retry_engine.sandbox.accounts.account import Account, Terms
from retry_engine.sandbox.billing import clocks
from retry_engine.sandbox.errors import invalid
from retry_engine.sandbox.objects import Obj
from retry_engine.sandbox.transport.faults import Faults
from retry_engine.sandbox.transport.mailboxes import Post
from retry_engine.sandbox.transport.webhooks import BACKOFF, WebhookDelivery

PLATFORM = "acct_1Sandbox000000000"

# After so many happenings a clock on its way lets others speak.
_BREATH = 20


class Sandbox:
    """All accounts behind one door, and what they share.

    Example:
        sandbox = Sandbox(now=lambda: datetime.now(UTC), seed=1)
        app = create_app(sandbox)
    """

    def __init__(
        self,
        *,
        now: Callable[[], datetime],
        seed: int = 0,
        retry_days: tuple[float, ...] = (3, 5, 7),
        backoff: tuple[float, ...] = BACKOFF,
        public_url: str | None = None,
        smtp_host: str = "127.0.0.1",
        smtp_port: int | None = None,
    ) -> None:
        self.now = now
        self.public_url = public_url
        self.seed = seed
        self.rng = Random(f"{seed} door")  # noqa: S311 -- ids and dice of a simulation
        self.faults = Faults(Random(f"{seed} faults"))  # noqa: S311
        self.deliveries = WebhookDelivery(
            now=now, rng=self.rng, faults=self.faults, backoff=backoff
        )
        self.retry_days = retry_days
        self.accounts: dict[str, Account] = {}
        self.advancing = 0
        self.tasks: set[asyncio.Task[None]] = set()
        # None: no mail is taken; 0: any free port
        self.smtp_host, self.smtp_port = smtp_host, smtp_port
        self.post = Post(self.accounts, now=now)
        self.platform = self.account(PLATFORM)

    def account(self, account_id: str) -> Account:
        """The account, made when it is first spoken of."""
        if account_id not in self.accounts:
            rng = Random(f"{self.seed} {account_id}")  # noqa: S311
            terms = Terms(retry_days=self.retry_days)
            if self.public_url:
                terms.pages_at = self.public_url
            made = Account(account_id, now=self.now, rng=rng, terms=terms)
            made.listeners.append(lambda event: self._tell(made, event))
            self.accounts[account_id] = made
        return self.accounts[account_id]

    def withdraw(self, account: Account) -> None:
        """The account's owner takes the platform's access back: the last that is heard of it."""
        if account is self.platform:
            raise invalid("The platform's own account cannot withdraw.", param="account")
        if not account.withdrawn:
            application = objects.application(id="ca_sandbox", name="Sandbox")
            account.emit("account.application.deauthorized", application)
            account.withdrawn = True

    def _tell(self, account: Account, event: Obj) -> None:
        if account.withdrawn:
            return
        if account is not self.platform:
            event["account"] = account.id
        self.deliveries.accept(account, event, self.platform)

    @property
    def pending(self) -> int:
        """Deliveries nobody has acknowledged, and clocks that are on their way."""
        return self.deliveries.pending + self.advancing

    async def open_post(self) -> asyncio.Server | None:
        """Take mail, where that is wanted; `smtp_port` is the real port from then on."""
        if self.smtp_port is None:
            return None
        server = await self.post.open(self.smtp_host, self.smtp_port)
        self.smtp_port = int(server.sockets[0].getsockname()[1])
        return server

    def set_out(self, account: Account, clock: Obj, frozen_time: int) -> None:
        """Play a clock's advance in the background."""
        self.advancing += 1
        task = asyncio.create_task(self._advance(account, clock, frozen_time))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def _advance(self, account: Account, clock: Obj, frozen_time: int) -> None:
        try:
            for step, _ in enumerate(clocks.advance_steps(account, clock, frozen_time)):
                await self._let_visit(account, clock)
                if step % _BREATH == 0:
                    await asyncio.sleep(0)
        finally:
            self.advancing -= 1

    async def _let_visit(self, account: Account, clock: Obj) -> None:
        """People go where they wanted to; the clock stands still for them, and can be worked on.

        Nobody is told that it is ready: it is only for as long as they are there.
        """
        if not account.visits:
            return
        target = clock["status_details"]
        frozen = account.clock_now(clock["id"])
        clock.update(frozen_time=frozen, status="ready", status_details={})
        try:
            while account.visits:
                await account.visits.popleft()()
        finally:
            clock.update(status="advancing", status_details=target)

    async def keep_real_time(self) -> None:
        """Let what is due on real time happen."""
        while True:
            for account in list(self.accounts.values()):
                while account.play_next(None, account.real_now()):
                    await asyncio.sleep(0)
                while account.visits and not self.advancing:
                    await account.visits.popleft()()
            await asyncio.sleep(0.5)
