"""What was owed when a case opened, and what came in since, beside what is owed now.

Revision ID: 0022
Revises: 0021
"""

from alembic import op

revision = "0022"
down_revision = "0021"

_PAID = "('recovered_by_engine', 'recovered_elsewhere')"


def upgrade() -> None:
    op.execute("set lock_timeout = '5s'")
    op.execute(
        """
        alter table cases
          add column amount_at_open bigint not null default 0,
          add column amount_recovered bigint not null default 0,
          add column amount_paid_at_open bigint not null default 0
        """
    )
    op.execute(
        """
        update cases c set amount_at_open = coalesce(
          (select a.amount from attempts a where a.case_id = c.id order by a.at, a.id limit 1),
          c.amount_remaining)
        """
    )
    op.execute(
        f"""
        update cases set amount_recovered = amount_remaining, amount_remaining = 0
          where close_reason in {_PAID}
        """  # noqa: S608  # words of our own
    )
    op.execute("update cases set amount_remaining = 0 where close_reason = 'voided'")


def downgrade() -> None:
    op.execute("set lock_timeout = '5s'")
    op.execute(
        f"""
        update cases set amount_remaining = amount_recovered
          where close_reason in {_PAID}
        """  # noqa: S608  # words of our own
    )
    op.execute(
        """
        alter table cases
          drop column amount_at_open,
          drop column amount_recovered,
          drop column amount_paid_at_open
        """
    )
