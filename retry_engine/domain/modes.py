"""Who retries: the engine, or Stripe."""

from retry_engine.domain.vocabulary import Mode

__all__ = ["Mode"]
