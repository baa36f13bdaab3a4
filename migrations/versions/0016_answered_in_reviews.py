"""Beside which subscriptions an invoice is owed all the same stands in the reviews that said so.

Revision ID: 0016
Revises: 0015
"""

from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

UP = "alter table cases drop column owed_beside;"

DOWN = "alter table cases add column owed_beside text;"


def upgrade() -> None:
    op.execute("set lock_timeout = '5s'")
    op.execute(UP)


def downgrade() -> None:
    op.execute("set lock_timeout = '5s'")
    op.execute(DOWN)
