"""How far the reading of Stripe's past has come.

Revision ID: 0003
Revises: 0002
"""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """One row a backfill: written with the rows of each page, so that a killed one carries on."""
    op.execute(
        """
        create table backfills (
          account text not null default '',
          since timestamptz not null,
          cursor text,
          reached timestamptz,
          charges bigint not null default 0,
          invoices bigint not null default 0,
          new bigint not null default 0,
          changed bigint not null default 0,
          started_at timestamptz not null,
          finished_at timestamptz,
          primary key (account, since)
        );
        """
    )


def downgrade() -> None:
    """Drop it; the rows stay in the log, and a backfill begins anew."""
    op.execute("drop table backfills;")
