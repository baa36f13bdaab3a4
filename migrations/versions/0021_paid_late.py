"""When an invoice was paid after its case had ended otherwise: the comparison counts it.

Revision ID: 0021
Revises: 0020
"""

from alembic import op

revision = "0021"
down_revision = "0020"


def upgrade() -> None:
    op.execute("set lock_timeout = '5s'")
    op.execute("alter table cases add column paid_late_at timestamptz")


def downgrade() -> None:
    op.execute("set lock_timeout = '5s'")
    op.execute("alter table cases drop column paid_late_at")
